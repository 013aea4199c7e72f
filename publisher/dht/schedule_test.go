package dht

import (
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

func hash(n int) infohash.T { return infohash.T{byte(n), byte(n >> 8), byte(n >> 16)} }

func hashes(n int) []infohash.T {
	all := make([]infohash.T, n)
	for i := range all {
		all[i] = hash(i)
	}
	return all
}

// run lets a schedule announce every step for a while, and returns how often each
// release was and the longest that it waited after its first.
func run(s *schedule, from time.Time, step, total time.Duration, isActive func(infohash.T) bool) (count map[infohash.T]int, longest map[infohash.T]time.Duration) {
	count, longest = make(map[infohash.T]int), make(map[infohash.T]time.Duration)
	last := make(map[infohash.T]time.Time)
	for now := from; now.Before(from.Add(total)); now = now.Add(step) {
		e, _ := s.next(now)
		if e == nil {
			continue
		}
		if count[e.hash]++; count[e.hash] > 1 {
			longest[e.hash] = max(longest[e.hash], now.Sub(last[e.hash]))
		}
		last[e.hash] = now
		s.done(e, isActive(e.hash), true, now)
	}
	return count, longest
}

func TestEveryReleaseIsAnnouncedInTime(t *testing.T) {
	var s schedule
	now := time.Unix(0, 0)
	s.set(hashes(100), now)
	count, longest := run(&s, now, time.Second, 3*time.Hour, func(ih infohash.T) bool { return ih[0] < 10 })
	for i := range 100 {
		every := idleEvery
		if i < 10 {
			every = activeEvery
		}
		if n := count[hash(i)]; n < int(3*time.Hour/every)-1 || longest[hash(i)] > every+2*time.Minute {
			t.Errorf("release %d was announced %d times, after %v at most", i, n, longest[hash(i)])
		}
	}
}

// 100,000 releases at two a second take half a day for a round. Active ones come
// in time all the same, new ones at once, and every idle one has its turn.
func TestActiveAndNewReleasesComeFirstInALargeCatalog(t *testing.T) {
	const all, busy = 100_000, 500
	var s schedule
	now := time.Unix(0, 0)
	s.set(hashes(all), now)
	isActive := func(ih infohash.T) bool { return int(ih[0])|int(ih[1])<<8|int(ih[2])<<16 < busy }
	run(&s, now, 500*time.Millisecond, 15*time.Hour, isActive)
	now = now.Add(15 * time.Hour)
	count, longest := run(&s, now, 500*time.Millisecond, 20*time.Hour, isActive)
	for i := range all {
		if i < busy && longest[hash(i)] > activeEvery+5*time.Minute {
			t.Fatalf("the active release %d waited for %v", i, longest[hash(i)])
		}
		if count[hash(i)] == 0 {
			t.Fatalf("release %d was not announced in 20 h", i)
		}
	}
	now = now.Add(20 * time.Hour)
	s.set(append(hashes(all), hash(all+1)), now)
	for n := 0; ; n++ {
		e, _ := s.next(now)
		if e.hash == hash(all+1) {
			break
		}
		s.done(e, true, true, now)
		if n > 2*busy {
			t.Fatal("the new release waits behind all")
		}
	}
}

func TestRetiredReleasesAreNotAnnounced(t *testing.T) {
	var s schedule
	now := time.Unix(0, 0)
	s.set(hashes(3), now)
	e, _ := s.next(now)
	s.set(nil, now)
	s.done(e, true, true, now)
	if e, due := s.next(now.Add(time.Hour)); e != nil || !due.IsZero() {
		t.Errorf("next: %v, %v", e, due)
	}
	if len(s.entries) != 0 {
		t.Errorf("entries: %v", s.entries)
	}
}

func TestReleasesThatGetPeersAreHurried(t *testing.T) {
	var s schedule
	now := time.Unix(0, 0)
	s.set(hashes(1), now)
	e, _ := s.next(now)
	s.hurry(e.hash) // while it is announced: nothing to do
	s.done(e, false, true, now)
	s.hurry(e.hash)
	s.hurry(hash(99))
	if _, due := s.next(now.Add(time.Second)); due != now.Add(activeEvery) {
		t.Errorf("due after %v", due.Sub(now))
	}
}

func TestWhatNobodyTookIsTriedAgainSoon(t *testing.T) {
	var s schedule
	now := time.Unix(0, 0)
	s.set(hashes(1), now)
	e, _ := s.next(now)
	s.done(e, false, false, now)
	if _, due := s.next(now); due != now.Add(retryAfter) {
		t.Errorf("due after %v", due.Sub(now))
	}
}

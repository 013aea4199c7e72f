package history

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// world is what a History under test is told.
type world struct {
	path  string
	sizes map[infohash.T]int64
	log   bytes.Buffer

	mu     sync.Mutex // guards the fields below
	now    map[infohash.T]Reading
	offset time.Duration // of the time of day
}

func newWorld(tb testing.TB) *world {
	return &world{path: filepath.Join(tb.TempDir(), "history"), now: make(map[infohash.T]Reading), sizes: make(map[infohash.T]int64)}
}

func (w *world) open() *History {
	return Open(Options{
		Path: w.path,
		Active: func() iter.Seq[Reading] {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Values(slices.Collect(maps.Values(w.now)))
		},
		Size: func(ih infohash.T) (int64, bool) {
			size, ok := w.sizes[ih]
			return size, ok
		},
		Clock: w.clock,
		Log:   slog.New(slog.NewTextHandler(&w.log, nil)),
	})
}

// restart is what a new process finds: a file, and counters at zero.
func (w *world) restart() *History {
	w.quiet()
	return w.open()
}

// set is what a release counts now.
func (w *world) set(ih infohash.T, c Counters, s Swarm) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now[ih] = Reading{ih, c, s}
}

// quiet has nothing go on any more.
func (w *world) quiet() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = make(map[infohash.T]Reading)
}

// jump sets the clock to be off by so much.
func (w *world) jump(offset time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset = offset
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func release(n int) (ih infohash.T) {
	binary.BigEndian.PutUint64(ih[:], uint64(n))
	return ih
}

// run runs a History in the bubble for a time, which is a little beyond its points.
func run(t *testing.T, h *History, times ...time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	for _, d := range times {
		time.Sleep(d)
	}
	synctest.Wait()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Run: %v", err)
	}
}

// tail returns the last n points of a series: "-" for one that is not known.
func tail(s Series, name string, n int) string {
	var out []string
	values := s.Of[slices.Index(Names[:], name)]
	for _, v := range values[len(values)-n:] {
		if math.IsNaN(float64(v)) {
			out = append(out, "-")
		} else {
			out = append(out, fmt.Sprint(math.Round(float64(v)*100)/100))
		}
	}
	return strings.Join(out, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestPointsOfTheHourAndTheDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := release(1), release(2)
		w.sizes[a], w.sizes[b] = 1000, 500
		time.Sleep(3 * time.Second) // between two points
		h := w.open()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		began := time.Now()

		time.Sleep(7*time.Second + time.Millisecond) // beyond the first point
		w.set(a, Counters{Peers: 700, Gained: 700}, Swarm{Leechers: 2, Connected: 1})
		time.Sleep(10 * time.Second)
		w.set(a, Counters{Peers: 800, Webseed: 50, Direct: 30, Gained: 1850, Completed: 1}, Swarm{Seeders: 1, Leechers: 1, Connected: 2})
		w.set(b, Counters{Direct: 500}, Swarm{})
		time.Sleep(10 * time.Second)
		w.quiet() // nothing changes any more
		time.Sleep(10 * time.Second)

		s := h.Series(Hour)
		want(t, "peers", tail(s, "peers", 5), "- 0 70 10 0")
		want(t, "webseed", tail(s, "webseed", 5), "- 0 0 5 0")
		want(t, "direct", tail(s, "direct", 5), "- 0 0 53 0")
		want(t, "carried", tail(s, "carried", 5), "- 0 0 100 0")
		want(t, "seeders", tail(s, "seeders", 5), "- 0 0 1 0")
		want(t, "leechers", tail(s, "leechers", 5), "- 0 2 1 0")
		want(t, "connected", tail(s, "connected", 5), "- 0 1 2 0")
		if got := s.From.Add(359 * s.Step); !got.Equal(began.Truncate(10 * time.Second).Add(30 * time.Second)) {
			t.Errorf("the last point is of %v, begun at %v", got, began)
		}
		want(t, "direct of a", tail(h.Release(Hour, a), "direct", 4), "- 0 3 0")
		want(t, "peers of a", tail(h.Release(Hour, a), "peers", 4), "- 70 10 0")
		want(t, "direct of b", tail(h.Release(Hour, b), "direct", 4), "- - 50 0")
		want(t, "leechers of another", tail(h.Release(Hour, release(3)), "leechers", 360), strings.TrimSpace(strings.Repeat("- ", 360)))
		want(t, "the day", tail(h.Series(Day), "direct", 2), "- 13.25")

		n := h.Now()
		if n.Sent != (Counters{800, 50, 530, 1850, 1}) || n.Copies != 1380./1500 || n.PeersShare != 1000./2380 {
			t.Errorf("%+v", n)
		}
		time.Sleep(2 * time.Hour)
		want(t, "an hour later", tail(h.Series(Hour), "peers", 360), strings.TrimSpace(strings.Repeat("0 ", 360)))
		want(t, "the day then", tail(h.Series(Day), "direct", 33), "- - 2.21"+strings.Repeat(" 0", 30))
		cancel()
		<-done
	})
}

func TestRatesAreOfTheLastSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1000
		h := w.open()
		if r := h.Now().Rates; r != (Rates{}) {
			t.Errorf("at the start: %+v", r)
		}
		for i := range 20 {
			time.Sleep(2 * time.Second)
			w.set(release(1), Counters{Peers: 2000 * int64(i+1), Gained: 6000 * int64(i+1)}, Swarm{Connected: 1})
			if r := h.Now().Rates; i >= 3 && (r.Peers != 1000 || r.Carried != 2000) {
				t.Fatalf("after %d looks: %+v", i+1, r)
			}
		}
		looks := len(h.marks)
		for range 10 {
			h.Now() // of which the first is fresh enough for the others
		}
		if len(h.marks) != looks || looks > marksMost {
			t.Errorf("%d looks, then %d", looks, len(h.marks))
		}
		time.Sleep(time.Minute)
		if r := h.Now().Rates; r.Peers != 0 {
			t.Errorf("when it is over: %+v", r)
		}
	})
}

// What is looked at between two points is in the next one.
func TestLooksBetweenPointsLoseNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1000
		h := w.open()
		time.Sleep(4 * time.Second)
		w.set(release(1), Counters{Direct: 100}, Swarm{})
		h.Now()
		w.quiet() // it is told of once
		time.Sleep(6 * time.Second)
		h.sample()
		want(t, "the whole", tail(h.Series(Hour), "direct", 1), "10")
		want(t, "the release", tail(h.Release(Hour, release(1)), "direct", 1), "10")
	})
}

func TestFiguresSurviveRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b, gone := release(1), release(2), release(3)
		w.sizes[a], w.sizes[b], w.sizes[gone] = 1000, 500, 100
		h := w.open()
		w.set(a, Counters{Peers: 1000, Gained: 3000, Completed: 2}, Swarm{Leechers: 1})
		w.set(b, Counters{}, Swarm{Leechers: 1})
		w.set(gone, Counters{Direct: 100}, Swarm{})
		run(t, h, 20*time.Second+time.Millisecond)
		w.set(a, Counters{Peers: 2000, Gained: 6000, Completed: 3}, Swarm{Leechers: 1}) // after the last point
		time.Sleep(4 * time.Second)
		h.Close()

		delete(w.sizes, gone)
		time.Sleep(36 * time.Second) // off
		h = w.restart()
		if got, want := h.Before(a), (Counters{Peers: 2000, Gained: 6000, Completed: 3}); got != want {
			t.Errorf("before: %+v, want %+v", got, want)
		}
		if got := h.Before(gone); got != (Counters{}) {
			t.Errorf("of the forgotten release: %+v", got)
		}
		n := h.Now()
		if n.Sent != (Counters{Peers: 2000, Direct: 100, Gained: 6000, Completed: 3}) || n.Copies != 2 || n.PeersShare != 4000./6100 || n.Rates != (Rates{}) {
			t.Errorf("%+v", n)
		}
		w.set(a, Counters{Peers: 100, Gained: 100}, Swarm{})
		run(t, h, 20*time.Second+time.Millisecond)
		if n := h.Now(); n.Sent.Peers != 2100 || n.Copies != 2.1 || n.PeersShare != 4000./6200 {
			t.Errorf("after more: %+v", n)
		}
		want(t, "the whole", tail(h.Series(Hour), "peers", 9), "- 100 0 249.94 - - - 10 0")
		want(t, "a", tail(h.Release(Hour, a), "peers", 9), "- 100 0 249.94 - - - 10 0")
		want(t, "b", tail(h.Release(Hour, b), "leechers", 9), "- 1 1 1 - - - 0 0")
		want(t, "the forgotten release", tail(h.Release(Hour, gone), "direct", 9), "- - - - - - - - -")
		h.Close()

		time.Sleep(48 * time.Hour)
		h = w.restart()
		run(t, h, 10*time.Second+time.Millisecond)
		want(t, "after two days", tail(h.Series(Day), "peers", 360), strings.Repeat("- ", 359)+"0")
		if n := h.Now(); n.Sent.Peers != 2100 {
			t.Errorf("after two days: %+v", n)
		}
	})
	entries, _ := os.ReadDir(t.TempDir())
	if len(entries) > 0 {
		t.Errorf("%v is left", entries)
	}
}

// What peers carried is not counted twice when it was hidden, at a restart, by what
// was sent since.
func TestCarriedSurvivesRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ih := release(1)
	w.sizes[ih] = 1000
	h := w.open()
	w.set(ih, Counters{Peers: 50, Webseed: 50, Gained: 200}, Swarm{})
	h.look(0)
	w.set(ih, Counters{Peers: 50, Webseed: 130, Gained: 200}, Swarm{})
	h.Close()
	for range 2 { // the second time it is the file's that was restored
		h = w.restart()
		h.Close()
	}
	w.set(ih, Counters{Gained: 80}, Swarm{}) // 280 in all, of which 180 came from here
	h = w.open()
	if n := h.Now(); n.PeersShare != 100./280 {
		t.Errorf("peers carried %v of all, want %v", n.PeersShare, 100./280)
	}
}

// It is written soon while something is sent and the file is small, else every minute.
func TestSavesInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1
		h := w.open()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		saved := func() time.Time {
			info, err := os.Stat(w.path)
			if err != nil {
				return time.Time{}
			}
			return info.ModTime()
		}
		time.Sleep(45 * time.Second)
		if !saved().IsZero() {
			t.Error("saved although nothing has happened")
		}
		w.set(release(1), Counters{Direct: 5}, Swarm{})
		time.Sleep(10 * time.Second)
		if saved().IsZero() {
			t.Fatal("not saved soon")
		}
		if again := w.restart(); again.Before(release(1)).Direct != 5 {
			t.Error("what was sent is not in the file")
		}
		os.Remove(w.path)
		time.Sleep(50 * time.Second)
		if !saved().IsZero() {
			t.Error("saved although nothing is sent any more")
		}
		time.Sleep(10 * time.Second)
		if saved().IsZero() {
			t.Error("not saved after a minute")
		}
		cancel()
		<-done
	})
}

func TestClockJumps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1000
		h := w.open()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		var sent int64
		step := func(n int) {
			for range n {
				sent += 100
				w.set(release(1), Counters{Direct: sent}, Swarm{})
				time.Sleep(10 * time.Second)
				synctest.Wait()
			}
		}
		ends := func() time.Duration { // behind the time of day
			s := h.Series(Hour)
			return w.clock().Sub(s.From.Add(360 * s.Step))
		}
		time.Sleep(time.Millisecond)
		step(4)
		want(t, "steady", tail(h.Series(Hour), "direct", 5), "- 10 10 10 10")
		w.jump(-time.Hour)
		step(2)
		want(t, "an hour back", tail(h.Series(Hour), "direct", 6), "- 10 10 10 10 10")
		if d := ends(); d < 0 || d >= 10*time.Second {
			t.Errorf("an hour back: the newest point ends %v ago", d)
		}
		w.jump(time.Minute)
		step(2)
		want(t, "forward", tail(h.Series(Hour), "direct", 3), "- 10 10")
		w.jump(365 * 24 * time.Hour)
		step(2)
		want(t, "a year forward", tail(h.Series(Hour), "direct", 3), "- 10 10")
		w.jump(-365 * 24 * time.Hour)
		step(3)
		if d := ends(); d < 0 || d >= 10*time.Second {
			t.Errorf("two years back: the newest point ends %v ago", d)
		}
		want(t, "two years back", tail(h.Series(Hour), "direct", 3), "10 10 10")
		w.jump(-365*24*time.Hour + 3*time.Second) // a little, as when it is adjusted
		step(3)
		w.jump(-365*24*time.Hour - time.Second)
		step(3)
		if got := tail(h.Series(Hour), "direct", 7); strings.Contains(got, "-") {
			t.Errorf("adjusted: %s", got)
		}
		cancel()
		<-done
		if n := h.Now(); n.Sent.Direct != sent {
			t.Errorf("%d bytes, want %d", n.Sent.Direct, sent)
		}
		h.Close()

		w.jump(-366 * 24 * time.Hour) // while it is off
		h = w.restart()
		run(t, h, 20*time.Second)
		want(t, "back while it was off", tail(h.Series(Hour), "direct", 1), "0")
		if d := ends(); d < 0 || d >= 20*time.Second {
			t.Errorf("back while it was off: the newest point ends %v ago", d)
		}
	})
}

// A process that was stopped for a while knows what it sent on average.
func TestLatePointsLeaveNoGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1000
		h := w.open()
		time.Sleep(10 * time.Second)
		h.sample()
		time.Sleep(30 * time.Second)
		w.set(release(1), Counters{Direct: 300}, Swarm{})
		h.sample()
		time.Sleep(10 * time.Second)
		h.sample()
		want(t, "points", tail(h.Series(Hour), "direct", 6), "- 0 10 10 10 0")
	})
}

func TestCountersThatBeginAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1000
		h := w.open()
		for _, c := range []Counters{{Peers: 10, Completed: 5}, {Peers: 20, Completed: 1}, {Peers: 20, Completed: 3}} {
			w.set(release(1), c, Swarm{})
			time.Sleep(2 * time.Second)
			h.Now()
		}
		if n := h.Now(); n.Sent != (Counters{Peers: 20, Completed: 8}) {
			t.Errorf("%+v", n.Sent)
		}
	})
}

func TestUnusableFilesAreSetAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ih := release(1)
	w.sizes[ih] = 1
	h := w.open()
	w.set(ih, Counters{Direct: 7}, Swarm{})
	h.sample()
	h.Close()
	good, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	older := w.restart()
	older.mu.Lock()
	older.rings.Fine.Head = -1
	older.mu.Unlock()
	older.save()
	bad, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	var other bytes.Buffer
	z := gzip.NewWriter(&other)
	if err := errors.Join(gob.NewEncoder(z).Encode(fileHead{Format: fileFormat + 1}), z.Close()); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{
		"cut":              good[:len(good)/2],
		"empty":            nil,
		"flipped":          flipped,
		"text":             []byte("hello"),
		"impossible":       bad,
		"another format":   other.Bytes(),
		"without checksum": good[:len(good)-8],
	} {
		if err := os.WriteFile(w.path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		w.log.Reset()
		h := w.restart()
		if h.Before(ih) != (Counters{}) || h.Now().Sent != (Counters{}) {
			t.Errorf("%s: figures were taken from it", name)
		}
		if !strings.Contains(w.log.String(), "set aside") {
			t.Errorf("%s: no warning: %s", name, &w.log)
		}
		h.Close()
		if h := w.restart(); h.Now().Sent != (Counters{}) {
			t.Errorf("%s: what came after it cannot be read", name)
		}
	}
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(w.path), "set-aside"))
	if err != nil || len(entries) != 7 {
		t.Errorf("set aside: %v, %v", entries, err)
	}
	if err := os.WriteFile(w.path, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path+".new", good[:10], 0o644); err != nil { // of a write that was interrupted
		t.Fatal(err)
	}
	if h := w.restart(); h.Before(ih).Direct != 7 {
		t.Error("the good file was not read")
	}
}

func TestAFolderThatCannotBeWrittenIsNoEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.path = filepath.Join(w.path, "missing", "history")
	w.open().Close()
	if !strings.Contains(w.log.String(), "cannot be saved") {
		t.Errorf("log: %s", &w.log)
	}
}

func TestALargeFileIsNotSavedSoonAfterItCouldNotBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sizes[release(1)] = 1
		w.path = filepath.Join(w.path, "missing", "history")
		h := w.open()
		h.written = smallFile // when it could be saved last
		for i := range 30 {
			time.Sleep(10 * time.Second)
			w.set(release(1), Counters{Direct: int64(i)}, Swarm{})
			if h.sample(); h.saveDue() {
				h.save()
			}
		}
		if n := strings.Count(w.log.String(), "cannot be saved"); n != 5 {
			t.Errorf("tried %d times in five minutes", n)
		}
	})
}

func TestRingsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 3 * ringsMost {
			w.sizes[release(i)] = 1
		}
		h := w.open()
		point := func(from, to int) {
			t.Helper()
			w.quiet()
			for i := from; i < to; i++ {
				w.set(release(i), Counters{}, Swarm{Leechers: 1})
			}
			time.Sleep(10 * time.Second)
			h.sample()
			if n := len(h.subjects); n > ringsMost {
				t.Fatalf("%d releases have rings", n)
			}
		}
		has := func(i int) bool { return h.subjects[release(i)] != nil }
		point(0, 600)
		point(600, 900)
		point(900, 1200)
		if has(0) && has(100) && has(300) && has(599) || !has(600) || !has(899) || !has(1199) {
			t.Error("others than those that were idle the longest gave way")
		}
		kept := 0
		for i := range 600 {
			if has(i) {
				kept++
			}
		}
		if kept != 400 {
			t.Errorf("%d of the oldest are kept, want 400", kept)
		}
		point(0, 2*ringsMost) // more than there is room for, all at the same time
		for range 2 {
			before := make(map[infohash.T]*subject)
			for ih, s := range h.subjects {
				before[ih] = s
			}
			point(0, 2*ringsMost)
			for ih, s := range h.subjects {
				if before[ih] != s {
					t.Fatal("a release with something going on gave way")
				}
			}
		}
		h.Close()
		if again := w.restart(); len(again.subjects) != ringsMost {
			t.Errorf("%d rings were saved", len(again.subjects))
		}
	})
}

func TestForgottenReleasesAreDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := release(1), release(2)
	w.sizes[a], w.sizes[b] = 100, 100
	h := w.open()
	w.set(a, Counters{Direct: 300}, Swarm{})
	w.set(b, Counters{Direct: 100}, Swarm{})
	h.sample()
	if n := h.Now(); n.Copies != 2 {
		t.Errorf("%+v", n)
	}
	w.quiet()
	delete(w.sizes, a)
	h.save()
	h.sample()
	if n := h.Now(); n.Copies != 1 || n.Sent.Direct != 400 {
		t.Errorf("%+v", n)
	}
	if len(h.accounts) != 1 || len(h.subjects) != 1 {
		t.Errorf("%d accounts and %d rings are left", len(h.accounts), len(h.subjects))
	}
}

// during is a file at whose first write something happens.
type during struct {
	bytes.Buffer
	do func()
}

func (d *during) Write(b []byte) (int, error) {
	if d.Len() == 0 {
		d.do()
	}
	return d.Buffer.Write(b)
}

// What is counted while the file is written is in it for the whole and for its
// release, or for neither.
func TestTheFileIsOfOneMoment(t *testing.T) {
	t.Parallel()
	w, h := large(t, 100)
	before := h.Now().Sent.Peers
	f := during{do: func() {
		for ih := range w.sizes {
			w.set(ih, Counters{Peers: 1 << 40}, Swarm{})
		}
		h.look(0)
	}}
	if err := h.encode(&f); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.path, f.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	h = w.restart()
	sum := int64(0)
	for ih := range w.sizes {
		sum += h.Before(ih).Peers
	}
	if whole := h.Now().Sent.Peers; whole != sum || whole != before {
		t.Errorf("sent %d in all and %d of the releases, want %d", whole, sum, before)
	}
}

// large is a History of so many releases of which something was sent, of which
// as many as can have rings.
func large(b testing.TB, releases int) (*world, *History) {
	w := newWorld(b)
	for i := range releases {
		w.sizes[release(i)] = 1 << 30
		w.set(release(i), Counters{Peers: rand.Int64N(1 << 40), Gained: rand.Int64N(1 << 40)}, Swarm{})
	}
	h := w.open()
	h.sample()
	for _, s := range h.subjects {
		for i := range ringLen {
			s.Fine.Points[i] = point{rand.Float32(), 0, 0, rand.Float32(), 1, 2, 3}
			s.Coarse.Points[i] = s.Fine.Points[i]
		}
	}
	w.quiet()
	return w, h
}

// BenchmarkLook is of 100,000 releases of which something was sent, and ten in
// which something goes on.
func BenchmarkLook(b *testing.B) {
	w, h := large(b, 100_000)
	b.ReportAllocs()
	for i := int64(1 << 41); b.Loop(); i++ {
		for n := range 10 {
			w.set(release(n), Counters{Peers: i}, Swarm{Leechers: 1})
		}
		h.look(0)
	}
}

func BenchmarkSample(b *testing.B) {
	w, h := large(b, 100_000)
	b.ReportAllocs()
	for i := int64(1 << 41); b.Loop(); i++ {
		for n := range 10 {
			w.set(release(n), Counters{Peers: i}, Swarm{Leechers: 1})
		}
		h.sample()
	}
}

func BenchmarkSave(b *testing.B) {
	_, h := large(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		h.save()
	}
	b.ReportMetric(float64(h.written), "file-bytes")
}

func BenchmarkOpen(b *testing.B) {
	w, h := large(b, 100_000)
	h.save()
	b.ReportAllocs()
	for b.Loop() {
		w.restart()
	}
}

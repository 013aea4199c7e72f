package dht

import (
	"container/heap"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// How often a release is announced. Nodes forget what was announced to them after
// half an hour or more.
const (
	activeEvery = 15 * time.Minute // with peers
	idleEvery   = 25 * time.Minute // without; less often where there are very many
	retryAfter  = 2 * time.Minute  // when nobody took the announce
)

// schedule says which release is announced next: new ones first, then those with
// peers, then the rest, each by how long they have waited. Every fourth place goes
// to the rest, so that many active ones never keep them out. It is for one
// goroutine.
type schedule struct {
	entries map[infohash.T]*entry
	waiting [2]dues // idle and active
	turn    int
}

const (
	idle = iota
	active
)

// entry is a release that is to be announced.
type entry struct {
	hash  infohash.T
	due   time.Time
	class int // where it waits
	place int // there; -1 while it is announced
	gone  bool
}

// set replaces what is scheduled. New releases are due at once.
func (s *schedule) set(hashes []infohash.T, now time.Time) {
	if s.entries == nil {
		s.entries = make(map[infohash.T]*entry)
	}
	known := make(map[infohash.T]bool, len(hashes))
	for _, ih := range hashes {
		known[ih] = true
		if s.entries[ih] == nil {
			e := &entry{hash: ih, due: now, class: active}
			s.entries[ih] = e
			heap.Push(&s.waiting[active], e)
		}
	}
	for ih, e := range s.entries {
		if known[ih] {
			continue
		}
		e.gone = true
		delete(s.entries, ih)
		if e.place >= 0 {
			heap.Remove(&s.waiting[e.class], e.place)
		}
	}
}

// next returns the release whose turn it is, or nil and when one is due; the zero
// time if there are none. done must be called with it.
func (s *schedule) next(now time.Time) (*entry, time.Time) {
	s.turn++
	order := [2]int{active, idle}
	if s.turn%4 == 0 {
		order = [2]int{idle, active}
	}
	var soonest time.Time
	for _, class := range order {
		q := &s.waiting[class]
		if len(*q) == 0 {
			continue
		}
		e := (*q)[0]
		if !e.due.After(now) {
			heap.Pop(q)
			return e, now
		}
		if soonest.IsZero() || e.due.Before(soonest) {
			soonest = e.due
		}
	}
	return nil, soonest
}

// done schedules a release again that next returned.
func (s *schedule) done(e *entry, isActive, announced bool, now time.Time) {
	if e.gone {
		return
	}
	e.class, e.due = idle, now.Add(idleEvery)
	if isActive {
		e.class, e.due = active, now.Add(activeEvery)
	}
	if !announced {
		e.due = now.Add(retryAfter)
	}
	heap.Push(&s.waiting[e.class], e)
}

// hurry makes a release that waits among the idle ones an active one, due as such.
func (s *schedule) hurry(ih infohash.T) {
	e := s.entries[ih]
	if e == nil || e.place < 0 || e.class == active {
		return
	}
	heap.Remove(&s.waiting[idle], e.place)
	e.class, e.due = active, e.due.Add(activeEvery-idleEvery)
	heap.Push(&s.waiting[active], e)
}

// dues is a heap of entries by when they are due.
type dues []*entry

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}
func (d *dues) Push(x any) {
	e := x.(*entry)
	e.place = len(*d)
	*d = append(*d, e)
}
func (d *dues) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	e.place = -1
	return e
}

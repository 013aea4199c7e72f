package watcher

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// maxGrace bounds how long a tree must be missing before it is Gone: enough for
// whoever replaces it by removing it first.
const maxGrace = 2 * time.Second

// Reason is why a tree is pending.
type Reason string

const (
	Settling Reason = "settling" // changed lately; Since is the last change seen
	Blocked  Reason = "problem"  // Path and Err say why it cannot be published
	Vanished Reason = "vanished" // not listed any more; Gone if it does not come back at once
)

// Pending is a tree whose present state has not been reported.
type Pending struct {
	Source string    `json:"source"`
	Name   string    `json:"name"`
	Reason Reason    `json:"reason"`
	Since  time.Time `json:"since"`           // when this state was first seen
	Path   string    `json:"path,omitempty"`  // of a problem: what it is about; may be invalid UTF-8
	Err    string    `json:"error,omitempty"` // of a problem: what it is
	Files  int       `json:"files"`           // publishable ones seen so far
	Size   int64     `json:"size"`            // their bytes
}

// tree is what is known of a tree that needs attention. A tree that is as it
// was reported and was not hinted at has none.
type tree struct {
	name     string
	hinted   bool      // list it again
	inFlight bool      // it is being listed
	rest     time.Time // do not list it before
	failures int       // listings in a row that failed

	reason Reason // "" = it is as it was reported, or never existed
	since  time.Time
	seen   sighting
	told   bool // of a problem: it was logged

	at    time.Time // its place in the queue: when something is to be done
	index int       // in the queue; -1 = not in it
}

// attend returns the record of the tree called name. w.mu is held.
func (w *Watcher) attend(name string) *tree {
	t := w.active[name]
	if t == nil {
		t = &tree{name: name, index: -1}
		w.active[name] = t
	}
	return t
}

// observe takes down what a listing said. w.mu is held.
func (w *Watcher) observe(t *tree, s sighting, now time.Time) {
	reported, known := w.reported[t.name]
	reason := Settling
	switch {
	case s.problem != nil:
		reason = Blocked
	case s.absent() && known:
		reason = Vanished
	case s.absent(), known && s.digest == reported:
		t.reason, t.seen = "", sighting{}
		return
	}
	if reason != t.reason || !s.same(t.seen) {
		t.since, t.told = now, false
	}
	t.reason, t.seen = reason, s
}

// ripe reports whether the listing that started at the given time, and showed
// the tree as it is recorded, is the one to act on.
func (w *Watcher) ripe(t *tree, started time.Time) bool {
	return t.reason != "" && !t.told && !started.Before(t.since.Add(w.quiet(t.reason)))
}

// quiet is how long a tree must stay as it is before something is concluded.
func (w *Watcher) quiet(r Reason) time.Duration {
	if r == Vanished {
		return min(w.o.Settle, maxGrace)
	}
	return w.o.Settle
}

// schedule puts the tree into the queue for the next thing to do about it, if
// any. w.mu is held.
func (w *Watcher) schedule(t *tree) {
	waits := t.inFlight
	t.at = t.rest
	if !t.hinted && t.reason != "" {
		waits = waits || t.told
		if due := t.since.Add(w.quiet(t.reason)); due.After(t.at) {
			t.at = due
		}
	}
	switch {
	case waits && t.index >= 0:
		heap.Remove(&w.queue, t.index)
	case waits:
	case t.index >= 0:
		heap.Fix(&w.queue, t.index)
	default:
		heap.Push(&w.queue, t)
	}
}

// Pending returns the trees whose present state has not been reported, sorted
// by name. It is safe for concurrent use.
func (w *Watcher) Pending() []Pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []Pending{}
	for _, t := range w.active {
		if t.reason == "" {
			continue
		}
		p := Pending{
			Source: w.o.Source, Name: t.name, Reason: t.reason, Since: t.since,
			Files: t.seen.files, Size: t.seen.size,
		}
		if t.seen.problem != nil {
			p.Path, p.Err = t.seen.problem.Path, t.seen.problem.Err.Error()
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Pending) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// queue is a heap of trees by the time at which something is to be done.
type queue []*tree

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	t := x.(*tree)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *queue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	t.index = -1
	return t
}

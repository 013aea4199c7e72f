package watcher

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxLooks    = 4                     // trees being listed at a time, beside a full listing
	minRest     = 50 * time.Millisecond // between two listings of the same thing
	restFactor  = 2                     // ... and this many times what the last one took
	minBackoff  = time.Second           // after a listing that failed; doubles
	maxHints    = 10_000                // names waiting to be looked at; beyond that, all are
	maxMessages = 64                    // distinct failures logged until listings work again
)

// Options are a Watcher's settings. The zero value of each is usable.
type Options struct {
	Source string            // name put into every Tree
	Settle time.Duration     // a tree is reported after it was unchanged this long; 0 = 5 s
	Rescan time.Duration     // everything is listed this often, whatever the hints say; 0 = 30 s
	Known  map[string]Digest // trees reported in earlier runs, by name: reported only once they differ or are gone
	Log    *slog.Logger      // nil = none
}

// Watcher reports the trees of one Source once they have settled.
//
// A tree is reported when a listing shows it as it was Settle ago or longer,
// with the files of that very listing. The time counts from the last change
// that was seen; it is seen at once where the source gives hints, else at the
// next rescan. A tree without files does not exist.
//
// A tree that is not listed any more is Gone when a second look, Settle or two
// seconds later (whichever is less), does not find it either; if it is back by
// then, it has merely changed. Only listings that end without an error say that
// something is missing: while they fail nothing is Gone, and they are retried
// at growing intervals.
//
// A tree with a Problem is pending until the problem is solved, and what was
// reported of it before stands. The problem is logged once it has lasted for
// Settle (a link that is copied before its target is none), and again only if
// it changes.
type Watcher struct {
	src    Source
	o      Options
	ready  chan struct{} // closed after the first complete listing
	wake   chan struct{} // holds a token while there are hints
	ran    atomic.Bool
	counts counters

	hintMu  sync.Mutex // guards the fields below
	hints   map[string]struct{}
	hintAll bool

	mu       sync.Mutex // guards the fields below, and the trees
	reported map[string]Digest
	active   map[string]*tree
	queue    queue
}

// New returns a Watcher of src. Nothing happens before Run.
func New(src Source, o Options) *Watcher {
	o.Settle = cmp.Or(max(o.Settle, 0), 5*time.Second)
	o.Rescan = cmp.Or(max(o.Rescan, 0), 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{
		src: src, o: o,
		ready:    make(chan struct{}),
		wake:     make(chan struct{}, 1),
		hints:    make(map[string]struct{}),
		reported: maps.Clone(o.Known),
		active:   make(map[string]*tree),
	}
	w.o.Known = nil
	if w.reported == nil {
		w.reported = make(map[string]Digest)
	}
	return w
}

// Ready is closed after the first listing of everything has ended without an
// error: from then on Pending is complete.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Look has the tree called name listed again, or all for "". Who found that
// content differs from what was reported calls it; what a tree is now is
// reported again only if its Digest differs. It is safe for concurrent use, at
// any time, and does not block.
func (w *Watcher) Look(name string) {
	name, _, _ = strings.Cut(name, "/")
	w.hintMu.Lock()
	if name == "" || len(w.hints) >= maxHints {
		w.hintAll = true
	} else {
		w.hints[name] = struct{}{}
	}
	w.hintMu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends, and then returns nil. It calls report from one
// goroutine, one event at a time; report must not block. Run can be called once.
func (w *Watcher) Run(ctx context.Context, report func(Event)) error {
	if w.ran.Swap(true) {
		return errors.New("watch: Run was called twice")
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{
		Watcher: w,
		results: make(chan result, maxLooks+1),
		full:    tree{hinted: true, rest: time.Now()},
		logged:  make(map[string]struct{}),
	}
	defer l.wg.Wait()
	defer cancel()
	l.wg.Go(func() { w.listen(ctx) })

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.start(ctx)
		if at := l.next(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			l.takeHints()
		case <-timer.C:
		case r := <-l.results:
			if e, ok := l.finish(r); ok && ctx.Err() == nil {
				report(e)
			}
		}
	}
}

// listen turns the source's hints into looks.
func (w *Watcher) listen(ctx context.Context) {
	for {
		name, err := w.src.Wait(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.o.Log.Warn("the source gives no hints; changes are found by rescans alone",
				"source", w.o.Source, "rescan", w.o.Rescan, "err", err)
			return
		}
		w.Look(name)
	}
}

// loop is the state of Run. Its methods are called by Run's goroutine alone.
type loop struct {
	*Watcher
	wg      sync.WaitGroup
	results chan result // holds one from every listing in flight, so that none ever blocks
	looks   int         // trees being listed

	full   tree                // the listing of everything: hinted, inFlight, rest and failures
	ended  time.Time           // when the last one ended
	raced  map[string]struct{} // trees that were listed by themselves meanwhile: newer than what it says of them
	logged map[string]struct{} // failures that were logged, by message
}

// result is a listing that ended: of a tree, or of everything if tree is nil.
type result struct {
	tree    *tree
	files   []File
	seen    sighting
	all     map[string]sighting
	err     error
	started time.Time
	took    time.Duration
}

// start begins the listings that are due.
func (l *loop) start(ctx context.Context) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.looks < maxLooks && len(l.queue) > 0 && !l.queue[0].at.After(now) {
		t := l.queue[0]
		if !t.hinted && t.reason == "" { // has rested, and nothing came up
			heap.Pop(&l.queue)
			delete(l.active, t.name)
			continue
		}
		t.hinted, t.inFlight = false, true
		l.schedule(t)
		l.looks++
		if l.full.inFlight {
			l.raced[t.name] = struct{}{}
		}
		l.wg.Go(func() {
			r := result{tree: t, started: time.Now()}
			r.files, r.seen, r.err = listTree(ctx, l.src, t.name)
			r.took = time.Since(r.started)
			l.results <- r
		})
	}
	if at := l.fullAt(); at.IsZero() || at.After(now) {
		return
	}
	l.full.hinted, l.full.inFlight = false, true
	l.raced = make(map[string]struct{})
	for _, t := range l.active {
		if t.inFlight {
			l.raced[t.name] = struct{}{}
		}
	}
	l.wg.Go(func() {
		r := result{started: time.Now()}
		r.all, r.err = listAll(ctx, l.src)
		r.took = time.Since(r.started)
		l.results <- r
	})
}

// fullAt returns when everything is to be listed; zero = not before an event.
func (l *loop) fullAt() time.Time {
	at := l.full.rest
	if l.full.inFlight {
		return time.Time{}
	}
	if due := l.ended.Add(l.o.Rescan); !l.full.hinted && due.After(at) {
		return due
	}
	return at
}

// next returns when start is to be called, if nothing happens; zero = not.
func (l *loop) next() time.Time {
	at := l.fullAt()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looks < maxLooks && len(l.queue) > 0 && (at.IsZero() || l.queue[0].at.Before(at)) {
		at = l.queue[0].at
		if at.IsZero() {
			at = time.Now()
		}
	}
	return at
}

func (l *loop) takeHints() {
	l.hintMu.Lock()
	names := l.hints
	l.hints = make(map[string]struct{})
	l.full.hinted = l.full.hinted || l.hintAll
	l.hintAll = false
	l.hintMu.Unlock()

	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range names {
		t := l.attend(name)
		t.hinted = true
		l.schedule(t)
	}
}

// finish takes down what a listing said, and returns the event that follows
// from it, if one does.
func (l *loop) finish(r result) (Event, bool) {
	l.counts.listed(r)
	if r.err != nil {
		l.complain(r.err)
	}
	if r.tree == nil {
		l.finishAll(r)
		return Event{}, false
	}
	l.mu.Lock()
	t := r.tree
	l.looks--
	t.inFlight = false
	l.after(t, r)
	var e Event
	conclude := false
	if r.err == nil {
		l.observe(t, r.seen, time.Now())
		if conclude = l.ripe(t, r.started); conclude {
			e = l.conclude(t, r)
		}
	}
	l.schedule(t)
	l.mu.Unlock()

	if conclude && r.seen.problem != nil {
		l.o.Log.Warn("a tree is not published until this is solved", "release", t.name, "source", l.o.Source,
			"path", r.seen.problem.Path, "err", r.seen.problem.Err)
		return Event{}, false
	}
	return e, conclude
}

// conclude acts on a tree's state as final. w.mu is held.
func (l *loop) conclude(t *tree, r result) Event {
	e := Event{Tree: Tree{Source: l.o.Source, Name: t.name}}
	switch t.reason {
	case Blocked:
		t.told = true
		return Event{}
	case Vanished:
		delete(l.reported, t.name)
		e.Gone = true
	case Settling:
		l.reported[t.name] = r.seen.digest
		e.Tree.Files = r.files
	}
	t.reason, t.seen = "", sighting{}
	return e
}

// finishAll takes down what a listing of everything said.
func (l *loop) finishAll(r result) {
	raced := l.raced
	l.raced = nil
	l.full.inFlight = false
	l.ended = time.Now()
	l.after(&l.full, r)
	if r.err != nil {
		return
	}
	l.mu.Lock()
	for name, s := range r.all {
		if _, ok := raced[name]; ok {
			continue
		}
		_, active := l.active[name]
		if d, known := l.reported[name]; known && !active && s.problem == nil && !s.torn && s.digest == d {
			continue // the usual case costs nothing
		}
		t := l.attend(name)
		if s.torn {
			t.hinted = true
		} else {
			l.observe(t, s, l.ended)
		}
		l.schedule(t)
	}
	missing := func(name string) {
		_, listed := r.all[name]
		if _, newer := raced[name]; !listed && !newer {
			t := l.attend(name)
			l.observe(t, sighting{}, l.ended)
			l.schedule(t)
		}
	}
	for name := range l.reported {
		missing(name)
	}
	for name := range l.active {
		missing(name)
	}
	failing := false
	for _, t := range l.active {
		failing = failing || t.failures > 0
	}
	l.mu.Unlock()

	if len(l.logged) > 0 && !failing {
		clear(l.logged)
		l.o.Log.Info("listing works again", "source", l.o.Source)
	}
	select {
	case <-l.ready:
	default:
		close(l.ready)
	}
}

// after says when what was listed may be listed again, and has a failed
// listing repeated.
func (l *loop) after(t *tree, r result) {
	pause := max(minRest, restFactor*r.took)
	if r.err == nil {
		t.failures = 0
	} else {
		pause = max(pause, min(minBackoff<<min(t.failures, 16), max(l.o.Rescan, minBackoff)))
		t.failures++
		t.hinted = true
	}
	t.rest = time.Now().Add(pause)
}

// complain logs a failure once until listings work again.
func (l *loop) complain(err error) {
	msg := err.Error()
	if _, ok := l.logged[msg]; ok || len(l.logged) >= maxMessages || errors.Is(err, context.Canceled) {
		return
	}
	l.logged[msg] = struct{}{}
	l.o.Log.Warn("a listing failed; nothing is concluded from it, and it is tried again",
		"source", l.o.Source, "err", err)
}

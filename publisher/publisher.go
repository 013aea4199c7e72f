// Package publisher is the pipeline from settled trees to releases: it makes the
// torrent of each tree that a watcher reports and commits it to the catalog.
//
// A [Publisher] keeps one record per tree that is not as it was reported. Each
// goes through two stages: a quick one, which retires, revives, refuses or finds
// that nothing is to be done, and hashing, the smallest tree first. After
// hashing, the tree is listed once more, and only what is still the same is
// committed. The commit point is [catalog.Catalog.Put]: whatever is lost before
// it is done again after the next start, and whatever was committed is not.
//
// It does not decide when a tree has settled, and serves nothing. It stores
// nothing but what it gives to the catalog.
package publisher

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"dropseed/publisher/catalog"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
)

// Lister lists a tree anew; see watcher.Source.
type Lister interface {
	List(ctx context.Context, name string) iter.Seq2[watcher.File, error]
}

// Source is where trees come from.
type Source struct {
	Opener watcher.Opener
	Lister Lister
	// Look has the watcher of the source list a tree again, whose content turned
	// out not to be what was reported.
	Look func(name string)
	// Torrent says how torrents of this source's trees are made from now on;
	// those that are published stay as they are. CreationDate, Workers, Turns
	// and Progress are the Publisher's.
	Torrent torrentfile.Options
}

// Options are a Publisher's settings.
type Options struct {
	Catalog *catalog.Catalog
	Sources map[string]Source // by the name that is in watcher.Tree.Source
	// Concurrency is how many trees of each source are hashed at once; 0 = 8. Of
	// those of 1 GiB or more, it is a quarter of that, and at least one. All
	// trees of a source together are read by GOMAXPROCS goroutines at a time.
	Concurrency int
	Log         *slog.Logger // nil = none
}

// Reason is why a tree is pending.
type Reason string

const (
	Queued  Reason = "queued"     // waits for its turn
	Hashing Reason = "hashing"    // Done, Rate and Ends say how far it is
	Failed  Reason = "failed"     // Err says why; tried again at Next
	Refused Reason = "refused"    // Err says why; nothing is done until the tree changes
	Taken   Reason = "name taken" // Err says by which source; tried again when that retires its release
)

// Job is a tree that is not yet published, or not yet retired, as reported.
type Job struct {
	Source string    `json:"source"`
	Name   string    `json:"name"`
	Reason Reason    `json:"reason"`
	Since  time.Time `json:"since"` // when it was reported, or when its hashing began
	Err    string    `json:"error,omitempty"`
	Next   time.Time `json:"next,omitzero"` // when it is tried again
	Files  int       `json:"files"`
	Size   int64     `json:"size"`           // bytes
	Done   int64     `json:"done,omitempty"` // bytes hashed
	Rate   float64   `json:"rate,omitempty"` // bytes per second so far
	Ends   time.Time `json:"ends,omitzero"`  // when all is hashed, at that rate
}

// Publisher publishes and retires what it is told by Handle. It is safe for
// concurrent use.
type Publisher struct {
	o    Options
	log  *slog.Logger
	wake chan struct{} // holds a token when the loop has something to look at

	mu       sync.Mutex // guards the fields below, and what is in entries
	entries  map[key]*entry
	quick    queue               // entries for the quick stage, first come first served
	lanes    map[string]*lane    // by source
	retry    queue               // entries that failed, by when they are tried again
	taken    map[*entry]struct{} // entries that wait for their name
	claims   map[string]*entry   // by name: the entry that is in a lane, or being retired
	arrivals int64
	deciding int // entries in the quick stage
}

// lane is where the trees of one source are hashed. A source that hangs holds
// up its own trees and no others.
type lane struct {
	hash    queue               // entries, smallest first
	hashing int                 // entries that are hashed
	large   int                 // ... of which so many are large
	turns   *semaphore.Weighted // shared by all that are hashed
	counts  counters
}

// New returns a Publisher. Nothing happens before Run.
func New(o Options) *Publisher {
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Publisher{
		o: o, log: o.Log,
		wake:    make(chan struct{}, 1),
		entries: make(map[key]*entry),
		taken:   make(map[*entry]struct{}),
		claims:  make(map[string]*entry),
		lanes:   make(map[string]*lane),
	}
	for name := range o.Sources {
		p.lanes[name] = &lane{turns: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))}
	}
	return p
}

// Handle takes note of what a tree is now. It does not block. An older event
// of the same tree is void, and what is being done about it ends.
func (p *Publisher) Handle(e watcher.Event) {
	digest := e.Tree.Digest()
	p.mu.Lock()
	defer p.mu.Unlock()
	k := key{e.Tree.Source, e.Tree.Name}
	t := p.entries[k]
	if t == nil {
		t = &entry{key: k}
		p.entries[k] = t
	} else if t.event.Gone == e.Gone && t.digest == digest {
		if t.reason == Failed {
			p.enqueue(t)
		}
		return
	}
	t.event, t.digest, t.since = e, digest, time.Now()
	t.failures, t.made = 0, nil
	if t.cancel != nil {
		t.cancel()
		t.reason, t.renewed = Queued, true // the end of its stage queues it
		return
	}
	p.unclaim(t)
	p.enqueue(t)
}

// Pending returns what is not yet done, sorted by name and source.
func (p *Publisher) Pending() []Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	jobs := make([]Job, 0, len(p.entries))
	for _, t := range p.entries {
		if !t.event.Gone || t.reason == Failed { // retiring takes no time
			jobs = append(jobs, t.job())
		}
	}
	slices.SortFunc(jobs, func(a, b Job) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Source, b.Source))
	})
	return jobs
}

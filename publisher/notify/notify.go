// Package notify tells others of releases: that one was published or retired,
// and that a tree could not be. It posts to URLs, signed as the Standard Webhooks
// specification says, and runs a command.
//
// What there is to tell is the difference between the catalog and what was told
// before, which a [Notifier] keeps; what calls it is only ever a hint to look.
// Each event is written down before anybody is told of it, and its id follows
// from what it tells. Hence none is lost or made up when the process is killed,
// and some are told twice, with the same id. Each receiver has a queue, an order
// and a pace of its own; see target.go.
//
// It does not watch, and decides nothing about releases.
//
// On disk, below its folder:
//
//	journal.jsonl    what was told and what is queued, one record a line; see journal.go
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
)

const (
	tellFor    = 3 * 24 * time.Hour // what is older is given up
	queueMost  = 100_000            // events that wait for a receiver
	toldMost   = 10_000             // trees whose failure is remembered
	failAgain  = time.Minute        // between two reasons for the failure of one tree
	reasonMost = 2000               // bytes
	tidyAgain  = time.Minute        // after the journal could not be made small
	treesShare = 20                 // looking at trees takes this part of the time, at the most
)

// Options are a Notifier's settings.
type Options struct {
	Catalog *catalog.Catalog
	Folder  string // where the journal is kept; nobody else writes there

	URLs    []*url.URL // http or https
	Secret  Secret     // of the signatures
	Command []string   // a program and its arguments; empty: none
	Events  []Type     // what is told; nil = all

	// Existing has the first start tell of what is published by then. Else it
	// only takes note of it.
	Existing bool
	// Timeout is how long one request or run of the command may take; 0 = 30 s.
	Timeout time.Duration
	// Drain is how long those under way may take when Run is to end.
	Drain time.Duration

	// Links returns where a release is found.
	Links func(r catalog.Release) Links
	// Trees returns what is on its way to being a release, or failed to be one.
	// Of a source for which Listed is false, it may lack some.
	Trees  func() []Tree
	Listed func(source string) bool
	Every  time.Duration // how often Trees is called, if that does not take long; 0 = 3 s

	Queue     int               // of one receiver, events; beyond it the oldest are dropped; 0 = 100,000
	UserAgent string            // of requests
	Transport http.RoundTripper // of requests; nil = one of its own
	Log       *slog.Logger      // nil = none
}

// Links are the URLs of a release; "" is none.
type Links struct{ Page, Torrent, Magnet string }

// Tree is a tree that is not published.
type Tree struct {
	Source, Name string
	Path         string // of the file that is the reason, if it is one
	Reason       string // why it failed, for people; "": it is on its way
}

// Notifier is safe for concurrent use.
type Notifier struct {
	o       Options
	log     *slog.Logger
	wants   map[Type]bool
	targets []*target
	results chan done

	// The fields up to mu belong to Open, and then to Run.
	journal  *journal
	point    uint64 // in the catalog's changes
	mark     uint64 // serial of the newest publication that was seen
	live     map[infohash.T]publication
	told     map[treeKey]told
	suspects map[treeKey]bool // trees that failed when looked at last
	missing  map[treeKey]bool // trees in told that were not there when looked at last
	slack    int              // lines of no use that the journal may have in any case
	tidyAt   time.Time        // not before that it is made small, if that failed

	mu     sync.Mutex // guards the fields below, and those of targets
	count  map[outcome]int64
	raised uint64 // events, ever; orders them
}

// publication is a release between its being published and retired.
type publication struct {
	serial  uint64
	created int64 // Unix time, ns
}

type treeKey struct{ source, name string }

// told is the last failure of a tree that was told.
type told struct {
	reason string // a digest
	at     time.Time
}

// Open reads the journal, or begins one, and takes down what happened since. It
// is to be called before anything is published or retired. The error may be
// that the command cannot be found.
func Open(o Options) (*Notifier, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.Timeout, 30*time.Second)
	setDefault(&o.Every, 3*time.Second)
	setDefault(&o.Queue, queueMost)
	if o.Events == nil {
		o.Events = []Type{Published, Retired, Failed}
	}
	n := &Notifier{
		o: o, log: o.Log, wants: make(map[Type]bool), results: make(chan done),
		told: make(map[treeKey]told), slack: 1000, count: make(map[outcome]int64),
	}
	for _, t := range o.Events {
		n.wants[t] = true
	}
	if err := n.addTargets(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Folder, 0o755); err != nil {
		return nil, fmt.Errorf("create the folder of notifications: %w", err)
	}
	j, loaded, err := openJournal(filepath.Join(o.Folder, "journal.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("open what was told before: %w", err)
	}
	n.journal = j
	if loaded.skipped > 0 {
		n.log.Warn("what was told before is damaged; some may be told again", "path", j.path, "lines", loaded.skipped)
	}
	if err := n.begin(loaded); err != nil {
		return nil, fmt.Errorf("take down what happened: %w", err)
	}
	return n, nil
}

func setDefault[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// begin goes on from what the journal says.
func (n *Notifier) begin(l *loaded) error {
	n.mark, n.live = l.mark, make(map[infohash.T]publication, len(l.live))
	for ih, r := range l.live {
		n.live[ih] = publication{r.Serial, r.CreatedAt.UnixNano()}
	}
	for k, t := range l.told {
		n.told[k] = t
	}
	dropped, strangers := n.enqueueAll(l.events())
	b := n.newBatch()
	all, point, _ := n.o.Catalog.Since(0)
	n.point = point
	if l.fresh {
		b.baseline(all)
		b.apply()
		return n.compact() // as a whole, or the next start is the first, too
	}
	b.catchUp(all, l.live)
	if err := n.commit(b); err != nil {
		return err
	}
	if strangers || len(dropped) > 0 || l.skipped > 0 {
		return n.compact()
	}
	return nil
}

// Run tells what there is to tell until ctx ends, and then returns nil. It can
// be called once.
func (n *Notifier) Run(ctx context.Context) error {
	var targets sync.WaitGroup
	for _, t := range n.targets {
		targets.Go(func() { n.serve(ctx, t) })
	}
	go func() {
		targets.Wait()
		close(n.results)
	}()
	every := time.NewTicker(n.o.Every)
	defer every.Stop()
	said, saidOfTrees, treesAt := "", "", time.Time{}
	for ctx.Err() == nil {
		changed := n.o.Catalog.Changed() // before the look
		err := n.look()
		switch {
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			n.log.Error("what is to be told cannot be written down; it is tried again", "err", err)
		}
		if err != nil {
			changed = nil // not before the next tick
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case r := <-n.results:
			n.settle(r)
		case <-every.C:
			began := time.Now()
			if began.Before(treesAt) {
				continue // there are very many
			}
			switch err := n.lookAtTrees(began); {
			case err == nil:
				saidOfTrees = ""
			case err.Error() != saidOfTrees:
				saidOfTrees = err.Error()
				n.log.Warn("a failure is not told yet; it is tried again", "err", err)
			}
			treesAt = began.Add(treesShare * time.Since(began))
		}
	}
	for r := range n.results { // until all targets have ended
		n.settle(r)
	}
	return nil
}

// look takes down what changed in the catalog.
func (n *Notifier) look() error {
	changed, now, whole := n.o.Catalog.Since(n.point)
	if now == n.point && !whole {
		return nil
	}
	b := n.newBatch()
	if whole {
		b.catchUp(changed, nil)
	} else {
		for _, r := range changed {
			b.consider(r)
		}
	}
	if err := n.commit(b); err != nil {
		return err
	}
	n.point = now
	return nil
}

// commit makes a batch durable, and then has it told.
func (n *Notifier) commit(b *batch) error {
	if len(b.records) > 0 {
		if err := n.journal.append(b.records, flushed); err != nil { // the commit point
			return err
		}
	}
	n.settle(b.apply()...)
	return nil
}

// settle notes what came of deliveries. Losing the note repeats them.
func (n *Notifier) settle(deliveries ...done) {
	if len(deliveries) > 0 {
		var records []record
		for _, d := range deliveries {
			for ids := range slices.Chunk(d.IDs, 1000) { // a line is not too long then
				records = append(records, record{Done: &done{To: d.To, IDs: ids}})
			}
		}
		if err := n.journal.append(records, unflushed); err != nil {
			n.log.Warn("it could not be written down that somebody was told, who may be told again", "err", err)
		}
	}
	if err := n.tidy(); err != nil {
		n.log.Warn("the journal of notifications grows", "err", err)
	}
}

// tidy makes the journal small again when most of it is of no use.
func (n *Notifier) tidy() error {
	queued := 0
	n.mu.Lock()
	for _, t := range n.targets {
		queued += len(t.queue) + len(t.late)
	}
	n.mu.Unlock()
	if n.journal.lines <= 2*(len(n.live)+queued+len(n.told))+n.slack || time.Now().Before(n.tidyAt) {
		return nil
	}
	err := n.compact()
	if err != nil {
		n.tidyAt = time.Now().Add(tidyAgain)
	}
	return err
}

// compact writes the journal anew.
func (n *Notifier) compact() error {
	events := n.queued()
	return n.journal.rewrite(func(yield func(record) bool) {
		if !yield(record{Format: journalFormat, Mark: n.mark}) {
			return
		}
		for ih, p := range n.live {
			r, ok := n.o.Catalog.Get(ih)
			if !ok {
				continue // cannot be: the catalog forgets only when it is opened
			}
			if !yield(record{Live: &facts{
				InfoHash: ih.HexString(), Serial: p.serial, CreatedAt: time.Unix(0, p.created).UTC(),
				Name: r.Name, Source: r.Source, Size: r.Size, Files: r.Files,
			}}) {
				return
			}
		}
		for k, t := range n.told {
			if !yield(record{Told: &failure{Source: k.source, Name: k.name, Reason: t.reason, At: t.at}}) {
				return
			}
		}
		for _, e := range events {
			if !yield(record{Event: e}) {
				return
			}
		}
	})
}

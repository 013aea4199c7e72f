// Package history keeps the figures of the whole server and of its releases:
// what was sent in all, and how the last hour and day went.
//
// A [History] is told by Options.Active of the releases with something going
// on, and looks at no others, so that idle releases cost nothing. Every ten
// seconds [History.Run] adds a point to the rings (see ring) of the whole
// server and of up to 1,000 releases, those with the latest activity. In
// between [History.Now] looks again if somebody asks. Counters of other
// components start at zero in each process; the history adds what earlier
// processes counted ([History.Before]).
//
// Time of day only labels the points: durations are measured with the
// monotonic clock, so a clock that jumps moves the points and spoils nothing.
//
// Everything is kept in one file, written every minute and at the end, or
// every ten seconds while it is small and something is sent: a gzip of gob
// values, first a head, then one value per release. It is replaced by a
// rename. One that cannot be read is set aside. The package does not know how
// figures are shown.
package history

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

const (
	ringsMost  = 1000        // releases with rings
	lookAfter  = time.Second // figures younger than this are not looked up again
	rateOver   = 5 * time.Second
	saveEvery  = time.Minute
	saveSoon   = 10 * time.Second // ... while something is sent and the file is small
	smallFile  = 1 << 20          // bytes
	sampleTime = fineStep * time.Second
)

// Counters only grow.
type Counters struct {
	Peers   int64 // bytes of content sent over BitTorrent
	Webseed int64 // bytes of content sent over HTTP to BitTorrent clients
	Direct  int64 // bytes of content sent over HTTP to everybody else
	// Gained is the bytes that peers got, from us or each other, as they said or as we
	// know.
	Gained    int64
	Completed int64 // downloads that ended, as peers announced
}

// Sent returns the bytes sent from here.
func (c Counters) Sent() int64 { return c.Peers + c.Webseed + c.Direct }

// carried returns the bytes that peers got, and not from here.
func (c Counters) carried() int64 { return max(0, c.Gained-c.Peers-c.Webseed) }

func (c Counters) plus(d Counters) Counters {
	return Counters{c.Peers + d.Peers, c.Webseed + d.Webseed, c.Direct + d.Direct, c.Gained + d.Gained, c.Completed + d.Completed}
}

func (c Counters) minus(d Counters) Counters {
	return c.plus(Counters{-d.Peers, -d.Webseed, -d.Direct, -d.Gained, -d.Completed})
}

// Swarm is who is there now. Our own seeder is not counted.
type Swarm struct {
	Seeders   int // that the tracker knows
	Leechers  int // that the tracker knows
	Connected int // peers of our seeder
}

// Reading is what is known of a release at this moment.
type Reading struct {
	InfoHash infohash.T
	Counters // since the start of the process
	Swarm
}

// Options are what a History stands on.
type Options struct {
	Path string // of the file
	// Active returns a reading of every release that has anybody in its swarm,
	// or whose counters may have changed since the last call. It is not called
	// by two goroutines at once.
	Active func() iter.Seq[Reading]
	// Size returns the bytes of a release; known is false for one that is
	// forgotten, whose figures then are too.
	Size func(infohash.T) (size int64, known bool)
	// Clock is the time of day, which may jump; default time.Now.
	Clock func() time.Time
	Log   *slog.Logger
}

// History is safe for concurrent use.
type History struct {
	o Options

	looking sync.Mutex // held by who calls Options.Active; taken before mu

	mu       sync.Mutex // guards the fields below
	looked   time.Time  // when Options.Active was last asked
	accounts map[infohash.T]*account
	whole    figures
	swarm    Swarm  // of all releases
	copies   copies // of releases of which anything was sent
	marks    []mark // figures at the last few looks, oldest first
	rings    rings  // of the whole server
	sampled  mark   // the figures at the last point
	subjects map[infohash.T]*subject
	touched  map[infohash.T]figures // at the last point, of the accounts that have changed since
	points   uint64                 // added in this process

	saved   mark  // the figures in the file
	written int64 // bytes of the file; Run's and Close's
}

// figures are what rates are made of.
type figures struct {
	Counters
	Carried int64 // bytes that peers got from each other; never less than before
}

func (f figures) minus(g figures) figures {
	return figures{f.Counters.minus(g.Counters), f.Carried - g.Carried}
}

// mark is figures at a time of the monotonic clock.
type mark struct {
	at time.Time
	figures
}

// account is what is known of a release of which anything was counted.
type account struct {
	before  Counters // by earlier processes
	now     Counters // by this one, at the last look
	carried int64
	size    int64 // bytes, once any was sent; 0: not known
}

func (a *account) figures() figures { return figures{a.before.plus(a.now), a.carried} }

// copies are the bytes sent of releases, and their size.
type copies struct{ sent, size int64 }

// subject is a release with rings.
type subject struct {
	rings
	swarm  Swarm  // at the last point
	active uint64 // History.points when something last went on
}

// Open returns a History with what the file holds. A file that cannot be used
// is set aside with a warning.
func Open(o Options) *History {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	h := empty(o)
	if err := h.load(); err != nil {
		h = empty(o)
		h.setAside(err)
	}
	h.sampled = mark{time.Now(), h.whole}
	h.marks, h.saved = []mark{h.sampled}, h.sampled
	return h
}

func empty(o Options) *History {
	h := &History{
		o: o, accounts: make(map[infohash.T]*account),
		subjects: make(map[infohash.T]*subject), touched: make(map[infohash.T]figures),
	}
	h.rings.clear()
	return h
}

// Run adds points and saves until ctx ends. It returns ctx's error.
func (h *History) Run(ctx context.Context) error {
	timer := time.NewTimer(h.untilNext())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		h.sample()
		if h.saveDue() {
			h.save()
		}
		timer.Reset(h.untilNext())
	}
}

// Close adds the last point and saves, when nothing counts any more and Run
// has ended.
func (h *History) Close() {
	h.sample()
	h.save()
}

// untilNext returns how long it is until the next point is due: when the time
// of day is a multiple of the step, but not too soon.
func (h *History) untilNext() time.Duration {
	now := h.o.Clock()
	wait := sampleTime - time.Duration(now.UnixNano()%int64(sampleTime))
	if wait < sampleTime/2 {
		wait += sampleTime
	}
	return wait
}

func (h *History) saveDue() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := time.Since(h.saved.at) + sampleTime/2 // points are not exactly on time
	return since >= saveEvery || since >= saveSoon && h.whole != h.saved.figures && h.written < smallFile
}

// Before returns what earlier processes counted of a release.
func (h *History) Before(ih infohash.T) Counters {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[ih]; a != nil {
		return a.before
	}
	return Counters{}
}

// Rates are bytes per second.
type Rates struct {
	Peers, Webseed, Direct float64 // that we send
	Carried                float64 // that peers send each other
}

// Now is the figures of the whole server.
type Now struct {
	Sent       Counters // ever, of releases that are forgotten too
	Swarm      Swarm
	Carried    int64   // bytes that peers got from each other, ever
	Rates      Rates   // over the last few seconds
	Copies     float64 // bytes sent ÷ size, of the releases of which anything was sent
	PeersShare float64 // of the bytes delivered, what peers carried; 0 to 1
}

// Now returns the figures as they are, at most a second old.
func (h *History) Now() Now {
	h.look(lookAfter)
	h.mu.Lock()
	defer h.mu.Unlock()
	n := Now{Sent: h.whole.Counters, Carried: h.whole.Carried, Swarm: h.swarm, Rates: h.rates()}
	if h.copies.size > 0 {
		n.Copies = float64(h.copies.sent) / float64(h.copies.size)
	}
	if all := h.whole.Carried + h.whole.Sent(); all > 0 {
		n.PeersShare = float64(h.whole.Carried) / float64(all)
	}
	return n
}

// rates compares the figures with the newest mark that is old enough, else
// with the oldest. h.mu is held.
func (h *History) rates() Rates {
	last := h.marks[len(h.marks)-1]
	base := h.marks[0]
	for _, m := range h.marks {
		if last.at.Sub(m.at) >= rateOver {
			base = m
		}
	}
	d, over := last.figures.minus(base.figures), last.at.Sub(base.at).Seconds()
	if over <= 0 {
		return Rates{}
	}
	return Rates{float64(d.Peers) / over, float64(d.Webseed) / over, float64(d.Direct) / over, float64(d.Carried) / over}
}

// Package budget shares out one upload rate.
//
// Everything that sends content asks a [Budget] before it writes: for a kind
// (peers, webseed, direct), a release and a client. The rate is shared equally
// among the kinds that wait, within a kind among its releases, and within a
// release among its clients, however many connections each of them has; what
// one does not use the others get. A kind may have a floor, which it gets
// first, and a cap.
//
// Who was granted bytes writes them itself, in one go and however it likes, so
// sendfile and vectored writes stay what they are. The grants of all that wait
// are made in the order of virtual time (start-time fair queueing): whoever had
// the least is next.
//
// The package moves no bytes and starts no goroutine; a timer runs while
// somebody waits.
package budget

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// Kind is the way by which content is sent.
type Kind int

// The kinds.
const (
	Peers   Kind = iota // over BitTorrent
	Webseed             // over HTTP, to BitTorrent clients
	Direct              // over HTTP, to everybody else
	kinds
)

// Share bounds what a kind gets. Zero values are no bounds.
type Share struct {
	Floor float64 // bytes per second that it gets before others do, if it wants them
	Cap   float64 // bytes per second
}

// Options say what there is to share.
type Options struct {
	Rate   float64 // bytes per second of all together; 0: unlimited
	Shares [kinds]Share
}

// Grants are small enough that everybody has a turn often, and no smaller than
// a write is worth.
const (
	turns      = 8         // a second, if one alone waits
	leastChunk = 32 << 10  // bytes
	mostChunk  = 256 << 10 // bytes
	burst      = 0.1       // seconds of a rate that may be saved up
)

// Budget is safe for concurrent use.
type Budget struct {
	chunk int

	mu    sync.Mutex // guards all below
	total bucket
	caps  [kinds]bucket
	floor [kinds]bucket
	root  node // its children are the kinds, theirs the releases, theirs the clients
	timer *time.Timer
}

// New returns a Budget.
func New(o Options) *Budget {
	now := time.Now()
	b := &Budget{total: newBucket(o.Rate, now)}
	least := o.Rate
	for k, s := range o.Shares {
		b.caps[k], b.floor[k] = newBucket(s.Cap, now), newBucket(s.Floor, now)
		if s.Cap > 0 && (least == 0 || s.Cap < least) {
			least = s.Cap
		}
	}
	if least > 0 {
		b.chunk = min(max(int(least/turns), leastChunk), mostChunk)
	}
	return b
}

// Chunk returns how many bytes to ask for at once; 0: as many as one likes,
// since nothing is limited.
func (b *Budget) Chunk() int { return b.chunk }

// Rate returns the bytes per second of all together; 0: unlimited.
func (b *Budget) Rate() float64 { return b.total.rate }

// Take waits until a client may be sent n bytes of a release. It returns the
// error of ctx if that ends first; then nothing was taken.
func (b *Budget) Take(ctx context.Context, kind Kind, release infohash.T, client netip.Addr, n int) error {
	if b.chunk == 0 || n <= 0 {
		return ctx.Err()
	}
	w := &waiter{n: float64(n), path: [...]any{kind, release, network(client)}, ready: make(chan struct{})}
	b.mu.Lock()
	b.root.push(w, 0)
	b.dispatch()
	b.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.granted {
		return nil
	}
	b.root.remove(w, 0)
	return ctx.Err()
}

// dispatch grants what can be granted now, and comes again when there is more.
// b.mu is held.
func (b *Budget) dispatch() {
	for b.root.waiting > 0 {
		now := time.Now()
		wait := b.total.wait(now)
		var kind *node
		if wait == 0 {
			kind, wait = b.next(now)
		}
		if kind == nil {
			if b.timer == nil {
				b.timer = time.AfterFunc(wait, b.again)
			} else {
				b.timer.Reset(wait)
			}
			return
		}
		k := kind.key.(Kind)
		w := kind.first()
		b.root.remove(w, w.n)
		b.total.take(w.n)
		b.caps[k].take(w.n)
		b.floor[k].take(w.n)
		w.granted = true
		close(w.ready)
	}
}

func (b *Budget) again() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dispatch()
}

// next returns the kind whose turn it is, or how long until there is one.
func (b *Budget) next(now time.Time) (best *node, wait time.Duration) {
	bestUnder := false
	for _, n := range b.root.children {
		k := n.key.(Kind)
		if n.waiting == 0 {
			continue
		}
		if d := b.caps[k].wait(now); d > 0 {
			if wait == 0 || d < wait {
				wait = d
			}
			continue
		}
		under := b.floor[k].rate > 0 && b.floor[k].wait(now) == 0
		if best == nil || under && !bestUnder || under == bestUnder && n.had < best.had {
			best, bestUnder = n, under
		}
	}
	return best, wait
}

// network is what counts as one client: an IPv4 address or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() || !a.IsValid() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// waiter is one call of Take.
type waiter struct {
	n       float64
	path    [3]any // kind, release, client
	ready   chan struct{}
	granted bool
}

// node is a kind, release or client. One that comes starts where the others are,
// so that nobody saves up turns; one in which nobody waits is kept until the
// others have had as much, so that nobody gains by coming again.
type node struct {
	key      any
	had      float64 // bytes, in virtual time: comparable among siblings
	now      float64 // virtual time among the children: what the last one served had before
	children []*node // in no order
	queue    []*waiter
	waiting  int
}

func (n *node) child(key any) *node {
	i := slices.IndexFunc(n.children, func(c *node) bool { return c.key == key })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

func (n *node) push(w *waiter, depth int) {
	n.waiting++
	if depth == len(w.path) {
		n.queue = append(n.queue, w)
		return
	}
	c := n.child(w.path[depth])
	if c == nil {
		c = &node{key: w.path[depth], had: n.now}
		n.children = append(n.children, c)
	}
	c.push(w, depth+1)
}

// first returns the waiter whose turn it is.
func (n *node) first() *waiter {
	if len(n.children) == 0 {
		return n.queue[0]
	}
	var best *node
	for _, c := range n.children {
		if c.waiting > 0 && (best == nil || c.had < best.had) {
			best = c
		}
	}
	return best.first()
}

// remove takes a waiter out, who got so many bytes.
func (n *node) remove(w *waiter, got float64) {
	at := n
	for depth := 0; ; depth++ {
		at.waiting--
		if depth == len(w.path) {
			i := slices.Index(at.queue, w)
			at.queue = slices.Delete(at.queue, i, i+1)
			return
		}
		c := at.child(w.path[depth])
		if got > 0 {
			at.now = max(at.now, c.had)
			c.had += got
		}
		parent := at
		at.children = slices.DeleteFunc(at.children, func(o *node) bool {
			return o != c && o.waiting == 0 && (o.had <= parent.now || parent.waiting == 0)
		})
		at = c
	}
}

// bucket is a rate. It may be overdrawn once; then it must fill up again.
type bucket struct {
	rate   float64 // bytes per second; 0: no bound
	tokens float64 // bytes
	at     time.Time
}

func newBucket(rate float64, now time.Time) bucket { return bucket{rate: rate, at: now} }

// wait returns how long until something may be taken.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.rate, b.rate*burst)
	b.at = now
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens/b.rate*float64(time.Second)) + 1
}

func (b *bucket) take(n float64) {
	if b.rate > 0 {
		b.tokens -= n
	}
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const mbit = 1e6 / 8

// mixed are all kinds of lines, home those that send a tenth of what they receive.
var (
	mixed = []Line{{20 * mbit, 200 * mbit}, {50 * mbit, 100 * mbit}, {200 * mbit, 200 * mbit}}
	home  = []Line{{20 * mbit, 200 * mbit}}
)

// crowd returns the options of n peers that come at once.
func crowd(n int, lines []Line, size int64) Options {
	o := Options{Size: size, PieceLength: 256 << 10, Origin: 100 * mbit, Connections: 2048, Help: 1, Seed: 1}
	for i := range n {
		o.Peers = append(o.Peers, lines[i%len(lines)])
	}
	return o
}

// audit checks each chunk while it is sent, and all of them at the end.
type audit struct {
	t           *testing.T
	s           *sim
	sendFree    []time.Duration // when each node's line has sent, and received, all before
	receiveFree []time.Duration
	received    map[[2]int32][]chunk // by node and piece
	chunks      int
	sent        int64 // bytes
}

type chunk struct {
	bytes   int64
	arrived time.Duration
}

func newAudit(t *testing.T, o Options) *audit {
	a := &audit{t: t, s: newSim(o), received: make(map[[2]int32][]chunk)}
	a.sendFree = make([]time.Duration, len(a.s.nodes))
	a.receiveFree = make([]time.Duration, len(a.s.nodes))
	a.s.watch = a.watch
	return a
}

func (a *audit) watch(from, to int32, bytes int64, sent, arrived time.Duration) {
	u, d := &a.s.nodes[from], &a.s.nodes[to]
	began, beganThere := sent-took(bytes, u.up), arrived-took(bytes, d.down)
	if began < a.sendFree[from] || sent > a.s.now {
		a.t.Fatalf("node %d sends from %v to %v, and the chunk before until %v", from, began, sent, a.sendFree[from])
	}
	if beganThere < a.receiveFree[to] || beganThere < sent {
		a.t.Fatalf("node %d receives from %v to %v what was sent by %v, and the chunk before until %v", to, beganThere, arrived, sent, a.receiveFree[to])
	}
	has := int64(0)
	for _, c := range a.received[[2]int32{from, u.piece}] {
		if c.arrived+latency <= began {
			has += c.bytes
		}
	}
	if from != origin && has < a.s.length(u.piece) {
		a.t.Fatalf("at %v node %d sends piece %d, of which it can have told %d bytes", began, from, u.piece, has)
	}
	key := [2]int32{to, u.piece}
	a.received[key] = append(a.received[key], chunk{bytes, arrived})
	a.sendFree[from], a.receiveFree[to] = sent, arrived
	a.sent += bytes
	if a.chunks++; a.chunks%200 == 0 {
		a.books()
	}
}

// books compares what nodes keep up to date with what it follows from.
func (a *audit) books() {
	for u := range a.s.nodes {
		n := &a.s.nodes[u]
		links, open, busy, asked := 0, 0, 0, 0
		near := make([]int, a.s.pieces)
		for _, f := range n.flows {
			if len(f.asked) > 0 {
				busy++
			}
			if f.open {
				open++
			}
			if f.to == none || u == origin {
				continue
			}
			links++
			for i := range near {
				near[i] += count(a.s.nodes[f.to].told, i)
			}
		}
		for _, from := range n.sources {
			asked += len(a.s.nodes[from.from].flows[from.flow].asked)
		}
		if open != n.opened || busy != len(n.busy) || links != n.links || asked > n.asking {
			a.t.Fatalf("node %d has %d flows open, %d busy, %d links and asks for %d pieces; it says %d, %d, %d and %d", u, open, busy, links, asked, n.opened, len(n.busy), n.links, n.asking)
		}
		if u == origin {
			continue
		}
		if open > slots || links > linksMost {
			a.t.Fatalf("node %d has %d flows open and %d links", u, open, links)
		}
		for i := range near {
			if want := near[i] + count(n.offered, i); int(n.near[i]) != want {
				a.t.Fatalf("node %d counts %d near it that have piece %d, want %d", u, n.near[i], i, want)
			}
		}
	}
}

func count(b bitset, i int) int {
	if b.has(int32(i)) {
		return 1
	}
	return 0
}

// run plays to the end and checks the sums.
func (a *audit) run() Result {
	a.t.Helper()
	if err := a.s.run(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	r := a.s.result()
	received, size := int64(0), a.s.Size
	for i := range a.s.Peers {
		n := &a.s.nodes[i+1]
		if n.count != a.s.pieces || n.got < size || n.asking != 0 {
			a.t.Errorf("peer %d has %d of %d pieces, received %d of %d bytes, and fetches %d", i, n.count, a.s.pieces, n.got, size, n.asking)
		}
		received += n.got
	}
	if received != a.sent || a.sent != r.FromOrigin+r.FromPeers {
		a.t.Errorf("%d bytes were received, %d sent, %d by the origin and %d by peers", received, a.sent, r.FromOrigin, r.FromPeers)
	}
	if wasted := received - size*int64(len(a.s.Peers)); wasted > received/50 {
		a.t.Errorf("%d of %d bytes were wasted", wasted, received)
	}
	if r.Finished != len(a.s.Peers) || r.Last < a.s.Limit() {
		a.t.Errorf("%d of %d finished, the last after %v; the limit is %v", r.Finished, len(a.s.Peers), r.Last, a.s.Limit())
	}
	return r
}

func (r Result) copies(o Options) float64 { return float64(r.FromOrigin) / float64(o.Size) }

func TestEverybodyGetsOneCopy(t *testing.T) {
	for _, n := range []int{1, 10, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			o := crowd(n, mixed, 16<<20+5)
			if r := newAudit(t, o).run(); r.copies(o) < 1 || r.copies(o) > 1.05 {
				t.Errorf("%.3f copies, want 1 to 1.05", r.copies(o))
			}
		})
	}
}

func TestPeersThatComeAndGo(t *testing.T) {
	o := crowd(60, mixed, 8<<20)
	o.Gap, o.Leave, o.Connections = 200*time.Millisecond, true, 4
	a := newAudit(t, o)
	r := a.run()
	if a.s.seeder.joined <= o.Connections {
		t.Errorf("the origin took %d peers, and %d had left", a.s.seeder.joined, r.Finished)
	}
}

func TestSameSeedSameResult(t *testing.T) {
	course := func(seed uint64) Result {
		o := crowd(60, mixed, 8<<20)
		o.Help, o.Seed = 0, seed // with all that the policy does
		r, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		r.PolicyTime, r.PolicyMemory = 0, 0
		return r
	}
	first := course(1)
	if second := course(1); second != first {
		t.Errorf("the same seed gives %+v and %+v", first, second)
	}
	if other := course(2); other == first {
		t.Errorf("another seed gives the same: %+v", first)
	}
}

func TestHelpIsSoonerOnLinesThatSendLittle(t *testing.T) {
	o := crowd(10, home, 64<<20)
	never := newAudit(t, o).run()
	o.Help = 0.2
	some := newAudit(t, o).run()
	if some.Last >= never.Last || some.copies(o) <= never.copies(o) {
		t.Errorf("with help %v and %.2f copies, without %v and %.2f", some.Last, some.copies(o), never.Last, never.copies(o))
	}
}

func TestRunEnds(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := Run(ctx, crowd(10, mixed, 8<<20)); !errors.Is(err, cause) {
		t.Errorf("it ends with %v", err)
	}
	o := crowd(2, mixed, 8<<20)
	o.Connections = 0 // the origin takes nobody
	if r, err := Run(t.Context(), o); err == nil || r.Finished != 0 || r.Last != 0 {
		t.Errorf("%d peers had finished by %v without an origin: %v", r.Finished, r.Last, err)
	}
}

func TestLimit(t *testing.T) {
	const gigabit = 125_000_000
	for _, row := range []struct {
		name   string
		change func(*Options)
		want   time.Duration
	}{
		{"the origin's line", func(*Options) {}, 10 * time.Second},
		{"the slowest peer's line", func(o *Options) { o.Peers = []Line{{200 * mbit, 50 * mbit}, {200 * mbit, 200 * mbit}} }, 20 * time.Second},
		{"all that is sent", func(o *Options) { o.Peers = crowd(10, home, 1).Peers }, 33333333333},
		{"the last to come", func(o *Options) { o.Gap = 10 * time.Second }, 15 * time.Second},
	} {
		o := crowd(2, mixed[2:], gigabit)
		row.change(&o)
		if got := o.Limit(); got.Round(time.Microsecond) != row.want.Round(time.Microsecond) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestEventsComeInOrder(t *testing.T) {
	q := queue{seq: ^uint32(0) - 100} // wraps around on the way
	r := rand.New(rand.NewPCG(1, 2))
	before := event{node: none}
	for n := range int32(2000) {
		q.push(event{at: before.at + time.Duration(r.IntN(4)), node: n})
		if n%2 == 0 {
			continue
		}
		e := q.pop()
		if e.at < before.at || e.at == before.at && e.node < before.node {
			t.Fatalf("the event %d at %v came after %d at %v", e.node, e.at, before.node, before.at)
		}
		before = e
	}
	if len(q.events) != 1000 {
		t.Errorf("%d events are left", len(q.events))
	}
}

package tracker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// model is what a swarm should hold, kept in the simplest way: by client and
// family.
type model struct {
	peers     map[[2]int]*modelPeer // client, family (4 or 6)
	completed int
}

type modelPeer struct {
	ident          uint32
	seeder, paused bool
	counted        bool
	seen           tick
}

func (m *model) twin(client int) bool {
	p4, p6 := m.peers[[2]int{client, 4}], m.peers[[2]int{client, 6}]
	return p4 != nil && p6 != nil && p4.ident == p6.ident
}

func (m *model) announce(client, family int, p *announcement) {
	key := [2]int{client, family}
	if p.event == eventStopped {
		delete(m.peers, key)
		return
	}
	old := m.peers[key]
	now := &modelPeer{ident: p.ident, seeder: p.seeder, paused: !p.seeder && p.event == eventPaused, seen: p.now}
	wasSeeder := false
	if old != nil {
		now.counted, wasSeeder = old.counted, old.seeder
	}
	m.peers[key] = now
	if p.event == eventCompleted && p.seeder && !now.counted && !wasSeeder {
		now.counted = true
		if mate := m.peers[[2]int{client, 10 - family}]; !m.twin(client) || !mate.counted {
			m.completed++
		}
	}
	if now.counted && m.twin(client) {
		m.peers[[2]int{client, 10 - family}].counted = true
	}
}

func (m *model) counts() Counts {
	c := Counts{Completed: m.completed}
	for key, p := range m.peers {
		switch {
		case key[1] == 6 && m.twin(key[0]):
		case p.seeder:
			c.Seeders++
		default:
			c.Leechers++
			if !p.paused {
				c.Downloaders++
			}
		}
	}
	return c
}

func clientAddr(client, family int) netip.AddrPort {
	if family == 4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(client >> 3), 1}), uint16(1000+client%8))
	}
	a := [16]byte{0x20, 1, 0xd, 0xb8, 14: byte(client >> 3), 15: 1}
	return netip.AddrPortFrom(netip.AddrFrom16(a), uint16(1000+client%8))
}

// check holds a table against everything that its layout promises.
func (t *table) check() error {
	n := int(t.n)
	if len(t.data) != n*t.size() || t.keepIDs && len(t.ids) != n*idSize {
		return fmt.Errorf("%d records in %d bytes, %d bytes of ids", n, len(t.data), len(t.ids))
	}
	for i := range n {
		if (t.flags(i)&isSeeder != 0) != (i < int(t.seeders)) {
			return fmt.Errorf("record %d of %d seeders and %d in all: flags %b", i, t.seeders, n, t.flags(i))
		}
		e := endpoint{width: t.width}
		copy(e.b[:], t.compact(i))
		if pos, _, _ := t.find(&e, 0); pos != i {
			return fmt.Errorf("record %d is found at %d", i, pos)
		}
	}
	if t.index == nil {
		return nil
	}
	addrs, idents := 0, map[uint32]bool{}
	for _, s := range t.index.byAddr.slots {
		if s != 0 {
			addrs++
		}
	}
	for _, s := range t.index.byIdent.slots {
		if s == 0 {
			continue
		}
		ident := t.ident(int(s) - 1)
		if idents[ident] || t.indexedIdent(ident) != int(s)-1 {
			return fmt.Errorf("identity %x is indexed twice, or not found", ident)
		}
		idents[ident] = true
	}
	if addrs != n {
		return fmt.Errorf("%d of %d addresses are indexed", addrs, n)
	}
	return nil
}

func TestStoreHoldsWhatWasAnnounced(t *testing.T) {
	for seed := range uint64(4) {
		for _, clients := range []int{6, 40, 1500} {
			rng := rand.New(rand.NewPCG(seed, uint64(clients)))
			st := &store{maxSwarms: 10, maxPeers: 1e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 100}
			m := &model{peers: map[[2]int]*modelPeer{}}
			ih := infohash.T{1}
			now := tick(65000) // about to wrap
			stopShare := 5 + rng.IntN(40)
			for op := range 4000 {
				client, family := rng.IntN(clients), 4+2*rng.IntN(2)
				p := announcement{
					at: endpointOf(clientAddr(client, family)), now: now,
					ident:  uint32(client*2+1) + uint32(rng.IntN(8)/7), // now and then, another key
					seeder: rng.IntN(2) == 0,
					event:  event(rng.IntN(5)),
				}
				binary.LittleEndian.PutUint32(p.id[:], uint32(client))
				if p.event == eventStopped && rng.IntN(100) > stopShare {
					p.event = eventNone
				}
				st.announce(ih, true, &p, &wish{}, &choice{})
				m.announce(client, family, &p)
				if op%1000 == 999 {
					now += 10
					const life = 25
					st.expire(context.Background(), func() tick { return now }, func(int) int { return life },
						func(infohash.T) bool { return true })
					for key, q := range m.peers {
						if q.seen.before(now) > life {
							delete(m.peers, key)
						}
					}
				}
				if op%397 == 0 || clients < 10 {
					compare(t, st, ih, m)
				}
			}
			compare(t, st, ih, m)
			if t.Failed() {
				t.Fatalf("with seed %d, %d clients", seed, clients)
			}
		}
	}
}

func compare(t *testing.T, st *store, ih infohash.T, m *model) {
	t.Helper()
	if got, want := st.counts(ih), m.counts(); got != want {
		t.Fatalf("counts %+v, want %+v", got, want)
	}
	if got := int(st.peers.Load()); got != len(m.peers) {
		t.Fatalf("%d peers, want %d", got, len(m.peers))
	}
	s := st.shard(ih).swarms[ih]
	if s == nil {
		return
	}
	ids := 0
	for _, tab := range s.tables {
		if err := tab.check(); err != nil {
			t.Fatal(err)
		}
		ids += len(tab.ids) / idSize
	}
	if got := int(st.ids.Load()); got != ids {
		t.Fatalf("%d ids are accounted for, %d held", got, ids)
	}
	for key, p := range m.peers {
		e := endpointOf(clientAddr(key[0], key[1]))
		tab := s.table(e.width, public)
		i, _, _ := tab.find(&e, 0)
		if i < 0 || tab.ident(i) != p.ident || tab.seen(i) != p.seen || binary.LittleEndian.Uint32(tab.id(i)) != uint32(key[0]) {
			t.Fatalf("client %v is at %d", key, i)
		}
	}
}

// One identity at thousands of addresses is one client once all have announced
// beside its IPv4 address, and costs no more than as many clients.
func TestStoreManyAddressesOfOneIdentity(t *testing.T) {
	st := &store{maxSwarms: 10, maxPeers: 1e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 1e6}
	ih := infohash.T{1}
	const n = 20_000
	announce := func(at netip.AddrPort, event event) {
		p := announcement{at: endpointOf(at), ident: 7, event: event}
		st.announce(ih, true, &p, &wish{}, &choice{})
	}
	six := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 6881)
	}
	for range 2 {
		for i := range n {
			announce(six(i), eventNone)
		}
		announce(fillAddr(1), eventNone)
	}
	if got := st.counts(ih).Leechers; got != 1 {
		t.Errorf("%d leechers, want 1", got)
	}
	for _, tab := range st.shard(ih).swarms[ih].tables {
		if err := tab.check(); err != nil {
			t.Error(err)
		}
	}
	for i := range n {
		announce(six(i), eventStopped)
	}
	announce(fillAddr(1), eventStopped)
	if got := st.counts(ih); got != (Counts{}) {
		t.Errorf("in the end: %+v", got)
	}
}

func TestStoreGivesUpPeerIDsBeyondItsBudget(t *testing.T) {
	st := &store{maxSwarms: 10, maxPeers: 1e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 1e6}
	st.ids.Store(idBudget - 100) // held by others
	var c choice
	for i := range 150 {
		p := announcement{at: endpointOf(clientAddr(i, 4)), ident: uint32(i)}
		st.announce(infohash.T{1}, true, &p, &wish{}, &c)
		if got := st.ids.Load(); i < 100 && got != idBudget-100+int64(i)+1 || i >= 100 && got != idBudget-100 {
			t.Fatalf("after %d peers: %d ids held", i+1, got)
		}
	}
	c.reset(true)
	st.announce(infohash.T{1}, true, &announcement{at: endpointOf(clientAddr(0, 4))}, &wish{n: 200}, &c)
	if len(c.list) != 150 || c.list[0].id != nil {
		t.Errorf("%d peers, the first with id %q", len(c.list), c.list[0].id)
	}
	st.forget(infohash.T{1})
	if got := st.ids.Load(); got != idBudget-100 {
		t.Errorf("%d ids held in the end", got)
	}
}

func TestStoreMemoryComesBack(t *testing.T) {
	st := &store{maxSwarms: 10, maxPeers: 1e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 1e6}
	ih := infohash.T{1}
	for i := range 20000 {
		fill(st, ih, i, tick(i/19950))
	}
	st.expire(context.Background(), func() tick { return 2 }, func(int) int { return 1 }, func(infohash.T) bool { return true })
	tab := st.shard(ih).swarms[ih].tables[0]
	if tab.n != 50 || cap(tab.data) > 300*tab.size() || len(tab.index.byAddr.slots) > 512 {
		t.Errorf("50 peers of 20,000 are left: %d records in room for %d, index of %d",
			tab.n, cap(tab.data)/tab.size(), len(tab.index.byAddr.slots))
	}
	if err := tab.check(); err != nil {
		t.Error(err)
	}
}

// Every peer that may be named is named about as often as any other.
func TestPickIsFair(t *testing.T) {
	for _, row := range []struct{ peers, want int }{{60, 50}, {101, 50}, {1000, 50}, {1000, 3}, {7, 5}, {9, 1}} {
		st := &store{maxSwarms: 10, maxPeers: 1e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 1e6}
		ih := infohash.T{1}
		for i := range row.peers {
			fill(st, ih, i, 0)
		}
		times := map[string]int{}
		var c choice
		const rounds = 4000
		self := endpointOf(fillAddr(1)) // a leecher
		for range rounds {
			c.reset(false)
			st.pick(ih, &self, &wish{n: row.want, skip: []endpoint{self}}, &c)
			if len(c.compact) != row.want*width4 {
				t.Fatalf("%+v: %d bytes", row, len(c.compact))
			}
			for b := c.compact; len(b) > 0; b = b[width4:] {
				times[string(b[:width4])]++
			}
		}
		if len(times) != row.peers-1 || times[string(self.bytes())] != 0 {
			t.Fatalf("%+v: %d different peers were named", row, len(times))
		}
		mean := float64(rounds*row.want) / float64(row.peers-1)
		for p, n := range times {
			if far := math.Abs(float64(n) - mean); far > 0.2*mean+6*math.Sqrt(mean) {
				t.Errorf("%+v: %x was named %d times, the average is %.1f", row, p, n, mean)
			}
		}
	}
}

func TestForgetDuringAnnounces(t *testing.T) {
	st := &store{maxSwarms: 10, maxPeers: 1e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 1e6}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				fill(st, infohash.T{byte(i % 3)}, w*2000+i, 0)
				if i%50 == 0 {
					st.forget(infohash.T{byte(i % 3)})
				}
			}
		})
	}
	wg.Wait()
	for i := range byte(3) {
		st.forget(infohash.T{i})
	}
	if st.peers.Load() != 0 || st.swarms.Load() != 0 || st.ids.Load() != 0 {
		t.Errorf("left over: %d peers, %d swarms, %d ids", st.peers.Load(), st.swarms.Load(), st.ids.Load())
	}
}

func TestUDPU14SourcePortZeroIsDropped(t *testing.T) {
	w := newUDPWorker(New(Options{}))
	p := binary.BigEndian.AppendUint64(nil, protocolID)
	p = append(p, make([]byte, 8)...)
	if r := w.handle(nil, p, netip.MustParseAddrPort("198.51.100.1:0"), netip.Addr{}); r != nil {
		t.Errorf("answered %x", r)
	}
	if r := w.handle(nil, p, netip.MustParseAddrPort("198.51.100.1:1"), netip.Addr{}); len(r) != 16 {
		t.Errorf("answered %x", r)
	}
}

func fillAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + i>>22), byte(i >> 14), byte(i >> 6), byte(i << 2)}), 6881)
}

func fill(st *store, ih infohash.T, i int, seen tick) {
	p := announcement{at: endpointOf(fillAddr(i)), ident: uint32(i), now: seen, seeder: i%4 == 0}
	st.announce(ih, true, &p, &wish{}, &choice{})
}

// udpAnnounce returns a packet that w's tracker accepts from addr.
func udpAnnounce(w *udpWorker, ih infohash.T, addr netip.Addr, numWant int32) []byte {
	b := binary.BigEndian.AppendUint64(nil, w.t.conn.make(addr, w.t.opt.Now().Unix()/60, &w.scratch))
	b = append(b, 0, 0, 0, actionAnnounce, 1, 2, 3, 4)
	b = append(b, ih[:]...)
	b = append(b, bytes.Repeat([]byte("i"), idSize)...)
	b = append(b, make([]byte, 24)...)
	b[71] = 1 // left
	b = append(b, make([]byte, 12)...)
	b = binary.BigEndian.AppendUint32(b, uint32(numWant))
	return append(b, 0x1a, 0xe1)
}

func TestUDPDoesNotAllocate(t *testing.T) {
	w := newUDPWorker(New(Options{}))
	ih := infohash.T{1}
	for i := range 1000 {
		fill(&w.t.store, ih, i, 0)
	}
	from := netip.MustParseAddrPort("8.8.8.8:999")
	p := udpAnnounce(w, ih, from.Addr(), -1)
	out := make([]byte, 0, maxReply4)
	if n := testing.AllocsPerRun(100, func() {
		if r := w.handle(out, p, from, netip.Addr{}); len(r) != 20+50*width4 {
			t.Fatalf("answer of %d bytes", len(r))
		}
	}); n != 0 {
		t.Errorf("%v allocations per announce", n)
	}
}

func BenchmarkUDPAnnounce(b *testing.B) {
	for _, peers := range []int{10, 1000, 200_000} {
		b.Run(fmt.Sprintf("swarm=%d", peers), func(b *testing.B) {
			w := newUDPWorker(New(Options{}))
			ih := infohash.T{1}
			for i := range peers {
				fill(&w.t.store, ih, i, 0)
			}
			from := netip.MustParseAddrPort("8.8.8.8:999")
			p := udpAnnounce(w, ih, from.Addr(), -1)
			out := make([]byte, 0, maxReply4)
			b.ReportAllocs()
			for b.Loop() {
				w.handle(out, p, from, netip.Addr{})
			}
		})
	}
}

// BenchmarkMillionPeers reports the heap per peer, and how long an announce
// waited at most while all of them expired.
func BenchmarkMillionPeers(b *testing.B) {
	for _, swarms := range []int{5, 1000, 100_000} {
		b.Run(fmt.Sprintf("swarms=%d", swarms), func(b *testing.B) {
			for b.Loop() {
				st := &store{maxSwarms: 1e6, maxPeers: 2e6, maxPeersPerSwarm: 1e6, maxPortsPerAddress: 100}
				before := heap()
				hash := func(i int) infohash.T { return infohash.T{byte(i), byte(i >> 8), byte(i >> 16)} }
				for i := range 1_000_000 {
					fill(st, hash(i%swarms), i, 0)
				}
				b.ReportMetric(float64(heap()-before)/1e6, "B/peer")

				done := make(chan struct{})
				go func() {
					defer close(done)
					st.expire(context.Background(), func() tick { return 100 }, func(int) int { return 50 }, func(infohash.T) bool { return true })
				}()
				var worst time.Duration
				for running := true; running; {
					select {
					case <-done:
						running = false
					default:
					}
					begin := time.Now()
					fill(st, hash(rand.IntN(swarms)), 2_000_000, 100)
					worst = max(worst, time.Since(begin))
					time.Sleep(50 * time.Microsecond)
				}
				b.ReportMetric(float64(worst.Microseconds()), "µs-max-wait")
				if left := st.peers.Load(); left > int64(swarms)+1000 { // some moved meanwhile
					b.Fatalf("%d peers left", left)
				}
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

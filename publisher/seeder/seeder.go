// Package seeder uploads the catalog's releases to peers over TCP.
//
// A [Seeder] answers connections (and dials peers that it is told of), finds
// the release that each asks for in the catalog, shows the peer pieces as
// package offer decides, and sends their blocks. Each connection has one
// goroutine that reads; a second one lives only while there is something to
// send. It takes all requests that wait and answers them with one vectored
// write, straight from a mapping of the file where content is local, so that
// content is never copied in user space (encrypted connections and content
// elsewhere are read into a buffer). Open files and mappings are shared by all
// connections, bounded and closed when idle.
//
// A release costs nothing here while no peer asks for it: a swarm comes into
// being with its first connection and goes with its last (see swarm.go). The
// package does not download, and does not decide what is published.
package seeder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/peerwire"
	"dropseed/watcher"
)

// Catalog is what the seeder asks of the catalog.
type Catalog interface {
	Get(infohash.T) (catalog.Release, bool)
	Content(infohash.T) (*catalog.Content, error)
	Torrent(infohash.T) ([]byte, error)
	Live() []*catalog.Release
	Changed() <-chan struct{}
}

// Limits bound what peers can take. Zero values stand for DefaultLimits'.
type Limits struct {
	Connections int           // in all
	PerRelease  int           // connections
	PerAddress  int           // connections of one IPv4 address or IPv6 /64
	Requests    int           // blocks that wait per peer; the peer is told (BEP 10's reqq)
	Handshake   time.Duration // for a handshake to arrive
	Idle        time.Duration // without any message; peers send keep-alives every two minutes
	Write       time.Duration // for one write to be taken, 1 MiB at the most and 32 KiB for a slow peer
	Drain       time.Duration // for what was asked to be sent at the end
}

// DefaultLimits suit a server with a fast line.
var DefaultLimits = Limits{
	Connections: 8000, PerRelease: 4000, PerAddress: 100, Requests: 1000,
	Handshake: 10 * time.Second, Idle: 4 * time.Minute, Write: time.Minute, Drain: 5 * time.Second,
}

// Options say what a Seeder works with.
type Options struct {
	Catalog Catalog
	// Open opens the i-th file of a release (see watcher.Opener).
	Open func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error)
	// Changed is told of a tree whose content turned out to have changed; nil for nobody.
	Changed func(source, name string)
	// Peers returns at most n peers of a swarm that a peer may be told of, and
	// MayTell whether it may be told of an address: for peer exchange (BEP 11)
	// of what the tracker and what the seeder knows. Nil for no exchange.
	Peers   func(ih infohash.T, to netip.AddrPort, n int) []netip.AddrPort
	MayTell func(to, about netip.Addr) bool
	// DHTPort is the UDP port of our DHT node, of which peers are told (BEP 5)
	// unless a release is private; 0: there is none. Node hears of theirs; it must not
	// block.
	DHTPort uint16
	Node    func(at netip.AddrPort)
	// Offload says how the releases of a source are offered; nil: the zero Offload.
	Offload func(source string) Offload
	// SentElsewhere returns the bytes that others have sent over the same line; nil: nobody does.
	SentElsewhere func() int64
	// Seeders returns how many peers the tracker knows that have all of a
	// release, ourselves excluded; nil: unknown.
	Seeders func(ih infohash.T) int
	Limits  Limits
	// Take waits until n bytes of a release may be sent to an address, and Chunk
	// is how many to ask for at once; nil and 0: as one likes.
	Take  func(ctx context.Context, ih infohash.T, to netip.Addr, n int) error
	Chunk int
	// LineRate is what our line can do, bytes per second; 0: it is found out.
	LineRate float64
	Client   string // name and version, told to peers
	// Control sets options of sockets that dial, see [net.Dialer]; nil: none.
	Control func(network, address string, c syscall.RawConn) error
	Log     *slog.Logger
}

// Offload is how a release is offered to its peers.
type Offload struct {
	Mode Mode
	Help float64 // see offer.Options; in mode Spread
}

// Mode is to how many peers a piece is offered.
type Mode uint8

const (
	Spread Mode = iota // each piece to one peer, so that they trade (see package offer)
	Plain              // everything to everybody
)

// Seeder is safe for concurrent use.
type Seeder struct {
	o      Options
	id     peerwire.PeerID
	store  *store
	counts counters
	line   line // maintain's

	mu     sync.Mutex // guards the fields below
	swarms map[infohash.T]*swarm
	peers  map[*peer]struct{}
	from   map[netip.Addr]int    // connections by address or /64, those in their handshake included
	conns  int                   // connections, those in their handshake included
	gone   map[infohash.T]Totals // of swarms that have gone
	ended  map[infohash.T]bool   // of them, those that Active has not told of
	views  map[infohash.T]*view  // that somebody looks at

	dialing context.Context // ends when nobody is dialled any more; nil while not served
	dials   int             // under way
	dialers sync.WaitGroup

	keysMu sync.Mutex // guards the fields below
	keys   map[[20]byte]infohash.T
	stale  <-chan struct{} // closed when keys must be made again
}

// New makes a Seeder; Serve starts it.
func New(o Options) *Seeder {
	l, d := &o.Limits, DefaultLimits
	for _, n := range []struct{ v, d *int }{{&l.Connections, &d.Connections}, {&l.PerRelease, &d.PerRelease}, {&l.PerAddress, &d.PerAddress}, {&l.Requests, &d.Requests}} {
		if *n.v <= 0 {
			*n.v = *n.d
		}
	}
	for _, n := range []struct{ v, d *time.Duration }{{&l.Handshake, &d.Handshake}, {&l.Idle, &d.Idle}, {&l.Write, &d.Write}, {&l.Drain, &d.Drain}} {
		if *n.v <= 0 {
			*n.v = *n.d
		}
	}
	s := &Seeder{
		o:      o,
		store:  newStore(o.Open),
		swarms: make(map[infohash.T]*swarm),
		peers:  make(map[*peer]struct{}),
		from:   make(map[netip.Addr]int),
		gone:   make(map[infohash.T]Totals),
		ended:  make(map[infohash.T]bool),
		views:  make(map[infohash.T]*view),
	}
	if o.Offload == nil {
		s.o.Offload = func(string) Offload { return Offload{} }
	}
	s.line.limit = o.LineRate
	copy(s.id[:], "-DS0100-")
	rand.Read(s.id[8:])
	return s
}

// Serve answers connections until ctx ends; then it sends what was asked for
// already, for Limits.Drain at the most, and returns nil. It closes ln.
func (s *Seeder) Serve(ctx context.Context, ln net.Listener) error {
	conns, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	wg.Go(func() { s.maintain(conns) })
	s.mu.Lock()
	s.dialing = conns
	s.mu.Unlock()

	var err error
	for pause := time.Duration(0); ; {
		var raw net.Conn
		raw, err = ln.Accept()
		if ctx.Err() != nil {
			err = nil
			break
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = fmt.Errorf("accept peers: %w", err)
				break
			}
			// Out of descriptors or the like: what is there goes on.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.o.Log.Warn("cannot accept a peer", "err", err)
			time.Sleep(pause)
			continue
		}
		pause = 0
		addr, ok := s.admit(raw)
		if !ok {
			raw.Close()
			continue
		}
		wg.Go(func() {
			defer raw.Close()
			defer s.dismiss(addr) // first: who sees the end may come again at once
			if err := s.handle(conns, raw, addr); err != nil {
				s.o.Log.Debug("a peer's connection ended", "peer", addr, "err", err)
			}
		})
	}
	s.mu.Lock()
	s.dialing = nil
	s.mu.Unlock()
	s.drain()
	cancel()
	wg.Wait()
	s.dialers.Wait()
	s.store.closeAll()
	return err
}

// maintain does what is due from time to time, until ctx ends.
func (s *Seeder) maintain(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		changed := s.o.Catalog.Changed()
		s.dropRetired()
		select {
		case <-ctx.Done():
			return
		case <-changed:
			continue
		case <-tick.C:
		}
		if n%10 == 0 {
			s.store.sweep()
			s.dropViews()
		}
		s.reviewOffers(time.Now())
		for _, p := range s.allPeers() {
			p.keepInTouch(time.Now())
		}
	}
}

func (s *Seeder) allPeers() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.peers))
}

// drain lets every peer have what it asked for, for a while.
func (s *Seeder) drain() {
	deadline := time.Now().Add(s.o.Limits.Drain)
	for _, p := range s.allPeers() {
		p.finish()
	}
	for time.Now().Before(deadline) && len(s.allPeers()) > 0 {
		time.Sleep(20 * time.Millisecond)
	}
	for _, p := range s.allPeers() {
		p.conn.Close()
	}
}

// admit counts a new connection, or refuses it. When all places are taken the
// peer that has asked for nothing the longest gives way.
func (s *Seeder) admit(raw net.Conn) (netip.AddrPort, bool) {
	tcp, ok := raw.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	addr := tcp.AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from[network(addr.Addr())] >= s.o.Limits.PerAddress {
		s.counts.refused[ofAddress].Add(1)
		return addr, false
	}
	if s.conns >= s.o.Limits.Connections {
		s.counts.refused[overall].Add(1)
		evictIdle(maps.Keys(s.peers))
		return addr, false // it comes again, and then there is a place
	}
	s.conns++
	s.from[network(addr.Addr())]++
	return addr, true
}

func (s *Seeder) dismiss(addr netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	n := network(addr.Addr())
	if s.from[n]--; s.from[n] == 0 {
		delete(s.from, n)
	}
}

// network is what one user has of addresses: an IPv4 address or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// find returns the info-hash for an encrypted handshake's key.
func (s *Seeder) find(key [20]byte) (infohash.T, bool) {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	if ih, ok := s.keys[key]; ok {
		return ih, true
	}
	select {
	case <-s.stale:
	default:
		if s.stale != nil {
			return infohash.T{}, false
		}
	}
	s.stale = s.o.Catalog.Changed()
	live := s.o.Catalog.Live()
	s.keys = make(map[[20]byte]infohash.T, len(live))
	for _, r := range live {
		s.keys[peerwire.Key(r.InfoHash)] = r.InfoHash
	}
	ih, ok := s.keys[key]
	return ih, ok
}

// Totals returns what happened to a release since the start.
func (s *Seeder) Totals(ih infohash.T) Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.gone[ih]
	if sw := s.swarms[ih]; sw != nil {
		t = t.plus(sw.account.totals())
	}
	return t
}

// Active calls f with the number of peers connected of every release that has
// any, or has had some since the last call.
func (s *Seeder) Active(f func(ih infohash.T, connected int)) {
	s.mu.Lock()
	active := make(map[infohash.T]int, len(s.swarms)+len(s.ended))
	for ih := range s.ended {
		active[ih] = 0
	}
	s.ended = make(map[infohash.T]bool)
	for ih, sw := range s.swarms {
		active[ih] = len(sw.peers)
	}
	s.mu.Unlock()
	for ih, connected := range active {
		f(ih, connected)
	}
}

// Connected returns the number of peers connected for a release, and the share
// of it that they have on average, from 0 to 1.
func (s *Seeder) Connected(ih infohash.T) (peers int, have float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sw := s.swarms[ih]
	if sw == nil {
		return 0, 0
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.offers == nil {
		return 0, 0
	}
	return len(sw.peers), sw.offers.Progress()
}

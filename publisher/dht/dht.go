// Package dht has releases found without a tracker: by their info-hash alone, in
// the distributed hash table of BitTorrent (BEP 5, 32, 42).
//
// A [Node] is one node per address family for all releases. It goes through the
// catalog's info-hashes by a schedule that many releases can afford: new ones
// first, then those that have peers, then the rest (see schedule), so many a
// second and no more. Whoever asks this node itself for one of our releases is
// told of our seeder at once. What others announce to it is kept for a while,
// within bounds, as every node owes the table. The nodes that it knows are written
// to a file, so that after a restart it need not ask the bootstrap nodes.
//
// Private releases (BEP 27) are for the caller to leave out. The package does not
// look for peers: those come to us.
package dht

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	alog "github.com/anacrolix/log"
	"github.com/anacrolix/torrent/types/infohash"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// The library writes to standard error what it makes of strangers' packets, whatever
// logger it is given.
func init() { alog.Default.SetHandlers(alog.DiscardHandler) }

// Options are a Node's settings.
type Options struct {
	// Conns are UDP sockets, at most one of each family. Run closes them.
	Conns []*net.UDPConn
	// PublicIPs are the addresses that others see, by which node ids are checked
	// (BEP 42). Those that are missing are the sockets'.
	PublicIPs []netip.Addr
	// Port is the TCP port of our seeder, as others reach it.
	Port uint16
	// Bootstrap are nodes to begin with, "host:port".
	Bootstrap []string
	// Releases returns the info-hashes to be announced. It is asked again whenever
	// the channel of Changed is closed.
	Releases func() []infohash.T
	Changed  func() <-chan struct{}
	// Active reports whether a release has peers. It must be fast.
	Active func(ih infohash.T) bool
	// Seeds returns where our seeder is found, for somebody at an address.
	Seeds func(asker netip.Addr) []netip.AddrPort
	// Rate is how many announces begin in a second; 0 = 2. Each costs some 50
	// packets.
	Rate float64
	// NodesFile is where known nodes are kept over restarts; "" = nowhere.
	NodesFile string
	Log       *slog.Logger // nil = none
}

// Bounds of the work.
const (
	defaultRate  = 2
	atOnce       = 16               // announces under way
	announceMost = 45 * time.Second // for one
	saveEvery    = 10 * time.Minute // the known nodes
	helloMost    = 64               // nodes that peers told of, and that are being asked

	readAgainAfter = 100 * time.Millisecond // a socket that has failed
)

// Stats are figures of a Node.
type Stats struct {
	Nodes     int    // that are known and answer
	Releases  int    // scheduled
	Announced uint64 // announces that at least one node took
	Failed    uint64 // ... and that none did
}

// Node is a part of the hash table. It is safe for concurrent use.
type Node struct {
	o       Options
	log     *slog.Logger
	servers []*dht.Server
	closed  chan struct{} // when the servers are
	store   *peerStore
	hellos  *semaphore.Weighted

	announced, failed atomic.Uint64

	mu       sync.Mutex // guards the field below
	schedule schedule
}

// New returns a Node that answers already, and announces nothing before Run.
func New(o Options) (*Node, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rate <= 0 {
		o.Rate = defaultRate
	}
	n := &Node{o: o, log: o.Log, hellos: semaphore.NewWeighted(helloMost), closed: make(chan struct{})}
	n.store = newPeerStore(n.seeds)
	for _, conn := range o.Conns {
		s, err := n.serve(conn)
		if err != nil {
			n.close()
			return nil, fmt.Errorf("take part in the DHT at %s: %w", conn.LocalAddr(), err)
		}
		n.servers = append(n.servers, s)
	}
	return n, nil
}

func (n *Node) serve(conn *net.UDPConn) (*dht.Server, error) {
	c := dht.NewDefaultServerConfig()
	c.Conn = steadyConn{conn, n.closed}
	c.NoSecurity = false
	c.Store = nothing{}
	c.PeerStore = n.store
	c.Logger = alog.Default
	c.SendLimiter = rate.NewLimiter(rate.Limit(100*n.o.Rate), 200)
	c.StartingNodes = func() ([]dht.Addr, error) { return n.starting(conn) }
	c.DefaultWant = []krpc.Want{krpc.WantNodes}
	ip := conn.LocalAddr().(*net.UDPAddr).IP
	is4 := isIPv4(conn)
	if !is4 {
		c.DefaultWant = []krpc.Want{krpc.WantNodes6}
	}
	for _, a := range n.o.PublicIPs {
		if a.Unmap().Is4() == is4 {
			ip = a.AsSlice()
		}
	}
	if !ip.IsUnspecified() {
		c.PublicIP = ip
	} else {
		c.NodeId = krpc.RandomNodeID() // others may not keep it, but they answer it
	}
	return dht.NewServer(c)
}

// steadyConn is a socket that the library can rely on: it panics when one fails that it
// has not closed itself.
type steadyConn struct {
	*net.UDPConn
	closed <-chan struct{}
}

// ReadFrom implements net.PacketConn. It returns an error only when the servers are
// closed.
func (c steadyConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.UDPConn.ReadFrom(p)
		if err == nil {
			return n, from, nil
		}
		if errors.Is(err, net.ErrClosed) {
			<-c.closed
			return 0, nil, err
		}
		time.Sleep(readAgainAfter)
	}
}

func isIPv4(conn *net.UDPConn) bool { return conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil }

// starting returns nodes to begin with: those known from before, and the
// bootstrap nodes.
func (n *Node) starting(conn *net.UDPConn) ([]dht.Addr, error) {
	network := "udp6"
	if isIPv4(conn) {
		network = "udp4"
	}
	var addrs []dht.Addr
	if n.o.NodesFile != "" {
		known, err := dht.ReadNodesFromFile(n.o.NodesFile)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			n.log.Warn("the known DHT nodes cannot be read; it begins anew", "path", n.o.NodesFile, "err", err)
		}
		for _, k := range known {
			if (k.Addr.IP.To4() != nil) == isIPv4(conn) {
				addrs = append(addrs, dht.NewAddr(k.Addr.UDP()))
			}
		}
	}
	for _, b := range n.o.Bootstrap {
		a, err := net.ResolveUDPAddr(network, b)
		if err != nil {
			n.log.Debug("a DHT bootstrap node is not found", "node", b, "err", err)
			continue
		}
		addrs = append(addrs, dht.NewAddr(a))
	}
	if len(addrs) == 0 {
		return nil, errors.New("no nodes are known")
	}
	return addrs, nil
}

// seeds is what somebody who asks for a release of ours is told.
func (n *Node) seeds(ih infohash.T) []netip.AddrPort {
	n.mu.Lock()
	ours := n.schedule.entries[ih] != nil
	n.mu.Unlock()
	if !ours {
		return nil
	}
	var all []netip.AddrPort
	for _, s := range n.servers {
		local, _ := netip.AddrFromSlice(s.Addr().(*net.UDPAddr).IP)
		all = append(all, n.o.Seeds(local.Unmap())...)
	}
	return all
}

// Run announces the releases until ctx ends. It returns nil then.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range n.servers {
		go s.TableMaintainer() // ends with the server
	}
	g.Go(func() error { return n.announceAll(ctx) })
	g.Go(func() error { return n.saveNodes(ctx) })
	return g.Wait()
}

func (n *Node) close() {
	for _, s := range n.servers {
		s.Close()
	}
	close(n.closed)
}

func (n *Node) announceAll(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Limit(n.o.Rate), 1)
	var running errgroup.Group
	running.SetLimit(atOnce)
	defer running.Wait()
	changed := n.o.Changed()
	n.set(n.o.Releases())
	for {
		n.mu.Lock()
		e, due := n.schedule.next(time.Now())
		n.mu.Unlock()
		if e != nil {
			running.Go(func() error { n.announce(ctx, e); return nil })
			if limit.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		wait := time.Hour
		if !due.IsZero() {
			wait = time.Until(due)
		}
		timer := time.NewTimer(min(wait, retryAfter)) // what is announced now comes back meanwhile
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-changed:
			timer.Stop()
		}
		select {
		case <-changed:
			changed = n.o.Changed()
			n.set(n.o.Releases())
		default:
		}
	}
}

func (n *Node) set(hashes []infohash.T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.schedule.set(hashes, time.Now())
}

// announce announces one release to the nodes closest to it.
func (n *Node) announce(ctx context.Context, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, announceMost)
	defer cancel()
	took := false
	var g errgroup.Group
	var mu sync.Mutex // guards took
	for _, s := range n.servers {
		g.Go(func() error {
			if n.announceAt(ctx, s, e.hash) {
				mu.Lock()
				took = true
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait()
	if took {
		n.announced.Add(1)
	} else {
		n.failed.Add(1)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.schedule.done(e, n.o.Active(e.hash), took, time.Now())
}

// announceAt reports whether a node has taken the announce.
func (n *Node) announceAt(ctx context.Context, s *dht.Server, ih infohash.T) bool {
	a, err := s.AnnounceTraversal(ih, dht.AnnouncePeer(dht.AnnouncePeerOpts{Port: int(n.o.Port)}))
	if err != nil {
		return false // no nodes are known yet
	}
	defer a.Close()
	took := false
	for {
		select {
		case v, more := <-a.Peers: // who else has it is of no use to us
			if !more {
				return took
			}
			took = took || v.Token != nil
		case <-ctx.Done():
			return false
		}
	}
}

// Hurry has a release announced soon, since it has got peers.
func (n *Node) Hurry(ih infohash.T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.schedule.hurry(ih)
}

// Add asks a node that a peer has told of (BEP 5, PORT) to become known. It does
// not block, and drops it if many wait.
func (n *Node) Add(at netip.AddrPort) {
	if !n.hellos.TryAcquire(1) {
		return
	}
	go func() { // ends with the answer, or after a few seconds without
		defer n.hellos.Release(1)
		for _, s := range n.servers {
			if (s.Addr().(*net.UDPAddr).IP.To4() != nil) == at.Addr().Unmap().Is4() {
				s.Ping(net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Addr().Unmap(), at.Port())))
			}
		}
	}()
}

// Stats returns figures of the node.
func (n *Node) Stats() Stats {
	st := Stats{Announced: n.announced.Load(), Failed: n.failed.Load()}
	for _, s := range n.servers {
		st.Nodes += s.Stats().GoodNodes
	}
	n.mu.Lock()
	st.Releases = len(n.schedule.entries)
	n.mu.Unlock()
	return st
}

// saveNodes writes the known nodes now and then, and at the end.
func (n *Node) saveNodes(ctx context.Context) error {
	if n.o.NodesFile == "" {
		return nil
	}
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if err := n.save(); err != nil {
			n.log.Warn("the known DHT nodes cannot be kept", "path", n.o.NodesFile, "err", err)
		}
	}
	return nil
}

func (n *Node) save() error {
	var all []krpc.NodeInfo
	for _, s := range n.servers {
		all = slices.Concat(all, s.Nodes())
	}
	if len(all) == 0 {
		return nil
	}
	temp := filepath.Join(filepath.Dir(n.o.NodesFile), ".new-"+filepath.Base(n.o.NodesFile))
	if err := dht.WriteNodesToFile(all, temp); err != nil {
		return err
	}
	return os.Rename(temp, n.o.NodesFile) // a torn file costs a bootstrap only
}

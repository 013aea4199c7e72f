package dht

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2"
	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
	alog "github.com/anacrolix/log"
	"github.com/anacrolix/torrent/types/infohash"
)

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

var seed = netip.MustParseAddrPort("127.0.0.1:6881")

// newNode starts a node that announces releases.
func newNode(t *testing.T, releases []infohash.T, o Options) (*Node, string) {
	t.Helper()
	conn := listen(t)
	o.Conns, o.Port, o.Rate = []*net.UDPConn{conn}, 6881, 100
	o.Releases = func() []infohash.T { return releases }
	o.Changed = func() <-chan struct{} { return nil }
	o.Active = func(infohash.T) bool { return false }
	o.Seeds = func(netip.Addr) []netip.AddrPort { return []netip.AddrPort{seed} }
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return n, conn.LocalAddr().String()
}

// newOther starts somebody else's node, which keeps what is announced to it.
func newOther(t *testing.T, bootstrap ...string) (*dht.Server, *peerStore) {
	t.Helper()
	c := dht.NewDefaultServerConfig()
	store := newPeerStore(func(infohash.T) []netip.AddrPort { return nil })
	c.Conn, c.PeerStore, c.Logger = listen(t), store, alog.Default
	c.StartingNodes = func() (all []dht.Addr, _ error) {
		for _, b := range bootstrap {
			a, err := net.ResolveUDPAddr("udp4", b)
			if err != nil {
				return nil, err
			}
			all = append(all, dht.NewAddr(a))
		}
		return all, nil
	}
	s, err := dht.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, store
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// ask returns which peers a node that knows only one other finds for a release.
func ask(t *testing.T, ih infohash.T, at string) (found []string) {
	t.Helper()
	s, _ := newOther(t, at)
	a, err := s.AnnounceTraversal(ih)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for v := range a.Peers {
		for _, p := range v.Peers {
			found = append(found, p.String())
		}
	}
	return found
}

func TestReleasesAreAnnouncedToOthers(t *testing.T) {
	other, store := newOther(t)
	ours := hashes(5)
	n, _ := newNode(t, ours, Options{Bootstrap: []string{other.Addr().String()}})
	within(t, "all are announced", func() bool { return n.Stats().Announced >= 5 })
	for _, ih := range ours {
		within(t, "the other node has it", func() bool { return len(store.GetPeers(peer_store.InfoHash(ih))) == 1 })
		if p := store.GetPeers(peer_store.InfoHash(ih))[0]; p.Port != 6881 {
			t.Errorf("announced at %v", p)
		}
	}
}

func TestWhoAsksUsIsToldOfOurSeeder(t *testing.T) {
	n, at := newNode(t, hashes(1), Options{})
	within(t, "it is scheduled", func() bool { return n.Stats().Releases == 1 })
	if got := ask(t, hash(0), at); !slices.Contains(got, seed.String()) {
		t.Errorf("told of %v", got)
	}
	if got := ask(t, hash(9), at); len(got) != 0 {
		t.Errorf("told of %v for what is not ours", got)
	}
}

func TestNodesAreKeptOverRestarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nodes")
	other, _ := newOther(t)
	t.Run("before", func(t *testing.T) {
		n, _ := newNode(t, hashes(1), Options{Bootstrap: []string{other.Addr().String()}, NodesFile: file})
		within(t, "it is announced", func() bool { return n.Stats().Announced == 1 })
	})
	n, _ := newNode(t, hashes(1), Options{NodesFile: file})
	within(t, "it is announced again", func() bool { return n.Stats().Announced == 1 })
}

func TestPeersTellOfNodes(t *testing.T) {
	other, _ := newOther(t)
	n, _ := newNode(t, nil, Options{})
	n.Add(netip.MustParseAddrPort(other.Addr().String()))
	within(t, "it is known", func() bool { return n.Stats().Nodes == 1 })
}

func TestGarbageIsSurvived(t *testing.T) {
	n, at := newNode(t, hashes(1), Options{})
	within(t, "it is scheduled", func() bool { return n.Stats().Releases == 1 })
	conn, err := net.Dial("udp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	valid := []byte("d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe")
	for i := range 2000 {
		p := slices.Clone(valid)
		for range rand.IntN(8) {
			p[rand.IntN(len(p))] = byte(rand.IntN(256))
		}
		if i%3 == 0 {
			p = p[:rand.IntN(len(p))]
		}
		_, _ = conn.Write(p)
	}
	within(t, "it answers again", func() bool { return slices.Contains(ask(t, hash(0), at), seed.String()) })
}

func TestStoredPeersAreBounded(t *testing.T) {
	p := newPeerStore(func(infohash.T) []netip.AddrPort { return nil })
	add := func(ih infohash.T, i int) {
		p.AddPeer(peer_store.InfoHash(ih), krpc.NodeAddr{IP: net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)), Port: 1})
	}
	for i := range 3 * perHash {
		add(hash(1), i)
		add(hash(1), i)
	}
	if n := p.oldest.Len(); n != perHash {
		t.Errorf("%d peers of one release", n)
	}
	for i := range peersMost + 1000 {
		add(hash(i+2), i)
	}
	if n := p.oldest.Len(); n != peersMost || len(p.byHash) > peersMost {
		t.Errorf("%d peers of %d releases in all", n, len(p.byHash))
	}
	if n := len(p.GetPeers(peer_store.InfoHash(hash(peersMost)))); n != 1 {
		t.Errorf("%d of a late one", n)
	}
	p.AddPeer(peer_store.InfoHash(hash(0)), krpc.NodeAddr{IP: net.IP{1}, Port: 1})
	p.AddPeer(peer_store.InfoHash(hash(0)), krpc.NodeAddr{IP: net.IPv4(1, 2, 3, 4), Port: 70000})
	if n := len(p.GetPeers(peer_store.InfoHash(hash(0)))); n != 0 {
		t.Errorf("%d peers at no address", n)
	}
}

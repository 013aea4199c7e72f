package tracker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker"
)

func standing(m map[infohash.T]tracker.Standing) func(infohash.T) tracker.Standing {
	return func(ih infohash.T) tracker.Standing { return m[ih] }
}

func seeds(addrs ...string) func(netip.Addr) []netip.AddrPort {
	var list []netip.AddrPort
	for _, a := range addrs {
		list = append(list, netip.MustParseAddrPort(a))
	}
	return func(netip.Addr) []netip.AddrPort { return list }
}

// eventually waits for what Run does on its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func TestPolicyP01SilentPeersExpire(t *testing.T) {
	s := start(t, tracker.Options{Interval: 30 * time.Minute})
	for i := range 50 {
		s.announce(t, hash(1), i, leeching, "")
		s.announce(t, hash(1), 100+i, seeding, "2001:db8::1")
	}
	s.clock.Advance(40 * time.Minute)
	for i := range 10 {
		s.announce(t, hash(1), i, leeching, "")
	}
	s.clock.Advance(20 * time.Minute) // an hour: two intervals, but no slack
	time.Sleep(30 * time.Millisecond) // several sweeps
	if c := s.Swarm(hash(1)); c.Leechers != 50 || c.Seeders != 50 {
		t.Fatalf("after exactly two intervals: %+v", c)
	}
	s.clock.Advance(10 * time.Minute)
	eventually(t, "peers silent for 70 min are gone, the others are not", func() bool {
		c := s.Swarm(hash(1))
		return c.Leechers == 10 && c.Seeders == 0 && s.Stats().Peers == 10
	})
	m := s.announce(t, hash(1), 0, leeching+"&numwant=200", "")
	wantCounts(t, m, 0, 10, 0)
	if got := len(peers4(t, m)); got != 9 {
		t.Errorf("%d peers are named, want 9", got)
	}
	s.clock.Advance(3 * time.Hour)
	eventually(t, "an empty swarm is gone", func() bool { return s.Stats() == tracker.Stats{} })
}

func TestPolicyP02IntervalIsJittered(t *testing.T) {
	s := start(t, tracker.Options{Interval: 1000 * time.Second})
	seen := map[int64]bool{}
	for range 60 {
		n := s.announce(t, hash(1), 1, leeching, "")["interval"].(int64)
		if n < 900 || n > 1100 {
			t.Fatalf("interval %d, want 1000 ± 10 %%", n)
		}
		seen[n] = true
	}
	if len(seen) < 10 {
		t.Errorf("60 announces got %d different intervals", len(seen))
	}
	// A large swarm's peers come less often.
	for i := range 10_000 {
		s.udpFill(t, hash(1), i)
	}
	if n := s.announce(t, hash(1), 1, leeching, "")["interval"].(int64); n < 1350 || n > 1650 {
		t.Errorf("interval in a large swarm %d, want 1500 ± 10 %%", n)
	}
}

func TestPolicyP03Standing(t *testing.T) {
	var state atomic.Uint32 // of hash(1)
	s := start(t, tracker.Options{Standing: func(ih infohash.T) tracker.Standing {
		if ih == hash(1) {
			return tracker.Standing(state.Load())
		}
		return tracker.Unknown
	}})
	s.refused(t, "/announce?"+params(hash(1), 1, leeching))
	state.Store(uint32(tracker.Tracked)) // takes effect at once
	s.announce(t, hash(1), 1, seeding+"&event=completed", "")
	s.refused(t, "/announce?"+params(hash(2), 1, leeching))

	state.Store(uint32(tracker.Retired))
	s.refused(t, "/announce?"+params(hash(1), 2, leeching))
	if c := s.Swarm(hash(1)); c != (tracker.Counts{}) {
		t.Errorf("counts of a retired release: %+v", c)
	}
	eventually(t, "a retired release's peers are dropped", func() bool { return s.Stats().Peers == 0 && s.Stats().Swarms == 0 })

	state.Store(uint32(tracker.Tracked))
	wantCounts(t, s.announce(t, hash(1), 3, leeching, ""), 0, 1, 0)
	s.Forget(hash(1))
	if got := s.Stats(); got.Peers != 0 || got.Swarms != 0 {
		t.Errorf("after Forget: %+v", got)
	}

	open := start(t, tracker.Options{})
	open.announce(t, hash(77), 1, leeching, "")

	list := start(t, tracker.Options{
		Standing: standing(map[infohash.T]tracker.Standing{hash(1): tracker.Listed}),
		Seeds:    seeds("127.0.0.1:6881"),
	})
	m := list.announce(t, hash(1), 1, leeching, "")
	wantCounts(t, m, 0, 1, 0)
	if m["peers"] != "" {
		t.Errorf("our seeder is named for somebody else's torrent: %q", m["peers"])
	}
}

func TestPolicyP03DownloadsOutliveThePeers(t *testing.T) {
	s := start(t, tracker.Options{Standing: standing(map[infohash.T]tracker.Standing{hash(1): tracker.Tracked, hash(2): tracker.Listed})})
	for n := byte(1); n <= 2; n++ {
		s.announce(t, hash(n), 1, seeding+"&event=completed", "")
		s.announce(t, hash(n), 1, seeding+"&event=stopped", "")
	}
	if c := s.Swarm(hash(1)); c.Completed != 1 {
		t.Errorf("a release of ours: %+v", c)
	}
	if got := s.Stats().Swarms; got != 1 {
		t.Errorf("%d swarms are kept, want only our own", got)
	}
}

func TestPolicyP04OurSeederComesFirst(t *testing.T) {
	var asked sync.Map
	s := start(t, tracker.Options{
		Standing: func(infohash.T) tracker.Standing { return tracker.Tracked },
		Seeds: func(reached netip.Addr) []netip.AddrPort {
			asked.Store(reached, true)
			return []netip.AddrPort{
				netip.MustParseAddrPort("203.0.113.9:6881"),
				netip.MustParseAddrPort("[2001:db8::9]:6881"),
				netip.AddrPortFrom(reached, 6881),
			}
		},
	})
	m := s.announce(t, hash(1), 1, leeching, "198.51.100.1")
	wantCounts(t, m, 1, 1, 0)
	if got := compact(t, m["peers"], 6); fmt.Sprint(got) != "[203.0.113.9:6881]" {
		t.Errorf("the first to come is given %v", got)
	}
	if got := compact(t, m["peers6"], 18); fmt.Sprint(got) != "[[2001:db8::9]:6881]" {
		t.Errorf("the first to come is given, in IPv6, %v", got)
	}
	if got := compact(t, s.announce(t, hash(1), 2, leeching, "")["peers"], 6); got[0] != netip.MustParseAddrPort("203.0.113.9:6881") ||
		got[1] != netip.MustParseAddrPort("127.0.0.1:6881") {
		t.Errorf("somebody on this machine is given %v", got)
	}
	for i := range 300 {
		s.announce(t, hash(1), i, leeching, from(fmt.Sprintf("198.51.100.%d", i%256)))
	}
	for want := range 5 {
		got := compact(t, s.announce(t, hash(1), 1, fmt.Sprint(leeching, "&numwant=", want), "198.51.100.1")["peers"], 6)
		// One of the places is taken by the IPv6 seed from 2 on.
		if n := min(want, 1) + max(want-2, 0); len(got) != n || n > 0 && got[0].String() != "203.0.113.9:6881" {
			t.Errorf("numwant=%d: %v", want, got)
		}
	}
	m = s.announce(t, hash(1), 500, seeding, "198.51.100.1")
	if got := compact(t, m["peers"], 6); len(got) != 50 || slices.Contains(got, netip.MustParseAddrPort("203.0.113.9:6881")) {
		t.Errorf("a seeder is given %d peers, our seeder %v", len(got), slices.Contains(got, netip.MustParseAddrPort("203.0.113.9:6881")))
	}
	wantCounts(t, m, 2, 301, 0)
	// aria2 says left=0 while it has only a magnet link.
	m = s.announce(t, hash(1), 500, seeding+"&event=started", "198.51.100.1")
	if got := compact(t, m["peers"], 6); !slices.Contains(got, netip.MustParseAddrPort("203.0.113.9:6881")) {
		t.Error("a seeder that has just started is not told of our seeder")
	}

	// Never twice, though it should announce itself.
	s.get(t, "/announce?"+strings.Replace(params(hash(3), 1, seeding), "port=7001", "port=6881", 1), "203.0.113.9")
	if got := compact(t, s.announce(t, hash(3), 2, leeching, "198.51.100.1")["peers"], 6); fmt.Sprint(got) != "[203.0.113.9:6881]" {
		t.Errorf("our seeder that announced is given as %v", got)
	}

	c := dialUDP(t, s.udp6, "")
	if got := c.announce(t, udpAsk{hash: hash(1), peer: 1, left: 1}); len(got.peers) == 0 || got.peers[0].String() != "[2001:db8::9]:6881" || got.peers[1].String() != "[::1]:6881" {
		t.Errorf("over UDP and IPv6: %v", got.peers)
	}
	for _, a := range []string{"127.0.0.1", "::1"} {
		if _, ok := asked.Load(netip.MustParseAddr(a)); !ok {
			t.Errorf("nobody was said to have reached us at %s", a)
		}
	}
}

func TestPolicyP05PrivatePeersStayAmongThemselves(t *testing.T) {
	at := []from{ // peer n is at[n]
		"198.51.100.1", "203.0.113.1",
		"10.1.1.1", "192.168.1.1", "172.16.1.1",
		"100.64.1.1", "100.127.255.255",
		"169.254.1.1", "169.254.1.2",
		"127.0.0.7", "127.0.0.8",
	}
	at6 := []from{
		"2001:db8::1", "2001:db8::2",
		"fd00::1", "fdff::2",
		"fe80::1", "fe80::2",
		"::1",
	}
	s := start(t, tracker.Options{TrustedProxies: prefixes("127.0.0.1/32")})
	for i, a := range at {
		s.announce(t, hash(1), i, leeching, a)
	}
	for i, a := range at6 {
		s.announce(t, hash(1), i, leeching, a)
	}
	all := func(n int) map[int]bool {
		m := map[int]bool{}
		for i := range n {
			m[i] = true
		}
		return m
	}
	for i, may := range []map[int]bool{
		set(0, 1), set(0, 1),
		set(0, 1, 2, 3, 4), set(0, 1, 2, 3, 4), set(0, 1, 2, 3, 4),
		set(0, 1, 5, 6), set(0, 1, 5, 6),
		set(0, 1, 7, 8), set(0, 1, 7, 8),
		all(len(at)), all(len(at)),
	} {
		delete(may, i)
		if got := peers4(t, s.announce(t, hash(1), i, leeching, at[i])); !maps.Equal(got, may) {
			t.Errorf("%s is told of %v, want %v", at[i], got, may)
		}
	}
	for i, may := range []map[int]bool{
		set(0, 1), set(0, 1), set(0, 1, 2, 3), set(0, 1, 2, 3), set(0, 1, 4, 5), set(0, 1, 4, 5), all(len(at6)),
	} {
		delete(may, i)
		if got := peers6(t, s.announce(t, hash(1), i, leeching, at6[i])); !maps.Equal(got, may) {
			t.Errorf("%s is told of %v, want %v", at6[i], got, may)
		}
	}
	// The seeder's peer exchange follows the same rule, across families.
	got := s.Peers(hash(1), netip.MustParseAddrPort("10.1.1.1:7002"), 100)
	if len(got) != 4+4 || slices.Contains(got, netip.MustParseAddrPort("10.1.1.1:7002")) {
		t.Errorf("Peers: %v", got)
	}
	if got := s.Peers(hash(1), netip.MustParseAddrPort("8.8.8.8:1"), 3); len(got) != 3 {
		t.Errorf("3 Peers: %v", got)
	}

	own := start(t, tracker.Options{
		Standing: func(infohash.T) tracker.Standing { return tracker.Tracked },
		Seeds:    seeds("10.0.0.5:6881"),
	})
	if m := own.announce(t, hash(1), 1, leeching, "198.51.100.1"); m["peers"] != "" {
		t.Errorf("a public peer is told of our seeder's private address: %q", m["peers"])
	}
	m := own.announce(t, hash(1), 2, leeching, "10.0.0.6")
	if got := fmt.Sprint(compact(t, m["peers"], 6)); got != "[10.0.0.5:6881 198.51.100.1:7001]" {
		t.Errorf("a neighbour of our seeder is told of %s", got)
	}
}

func TestPolicyP05PeersForSeeder(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, seeding, "198.51.100.1")
	s.announce(t, hash(1), 2, seeding, "198.51.100.2")
	s.announce(t, hash(1), 3, leeching, "198.51.100.3")
	if got := s.Peers(hash(1), netip.MustParseAddrPort("198.51.100.1:7001"), 10); fmt.Sprint(got) != "[198.51.100.3:7003]" {
		t.Errorf("a seeder is told of %v", got)
	}
	if got := s.Peers(hash(9), netip.MustParseAddrPort("198.51.100.1:7001"), 10); len(got) != 0 {
		t.Errorf("peers of nothing: %v", got)
	}
}

func TestPolicyP08DocumentedInPackageComment(t *testing.T) {
	src, err := os.ReadFile("tracker.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(src), "\npackage tracker")
	if !strings.Contains(comment, "BEP 34") || !strings.Contains(comment, "BITTORRENT UDP:6969") {
		t.Error("the package comment does not say how to publish a tracker in DNS")
	}
}

func TestPolicyP09FamiliesListenApart(t *testing.T) {
	conns, err := tracker.ListenUDP(t.Context(), ":0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		defer c.Close()
	}
	families := make(map[bool]int) // sockets, by whether they are IPv6
	port := conns[0].LocalAddr().(*net.UDPAddr).Port
	for _, c := range conns {
		local := c.LocalAddr().(*net.UDPAddr)
		isIPv6 := local.IP.To4() == nil
		families[isIPv6]++
		if local.Port != port {
			t.Errorf("ports %d and %d differ", port, local.Port)
		}
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			v6only, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY)
			if isIPv6 && (err != nil || v6only != 1) || !isIPv6 && err == nil {
				t.Errorf("%v: IPV6_V6ONLY = %d, %v", local, v6only, err)
			}
		})
	}
	if each := runtime.GOMAXPROCS(0); families[false] != each || families[true] != each {
		t.Errorf("%d IPv4 and %d IPv6 sockets, want one for each of %d processors", families[false], families[true], each)
	}
	_, err = tracker.ListenUDP(t.Context(), fmt.Sprintf("127.0.0.1:%d", port))
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), fmt.Sprintf("127.0.0.1:%d", port)) {
		t.Errorf("port taken: %v", err)
	}
	for _, bad := range []string{"", "6969", ":http3", ":70000", "256.1.1.1:1", "192.0.2.1:0"} {
		if conns, err := tracker.ListenUDP(t.Context(), bad); err == nil {
			t.Errorf("ListenUDP(%q) opened %v", bad, conns[0].LocalAddr())
		}
	}
	one, err := tracker.ListenUDP(context.Background(), "[::1]:0")
	if err != nil || len(one) != runtime.GOMAXPROCS(0) {
		t.Fatalf("[::1]:0: %d sockets, %v", len(one), err)
	}
	for _, c := range one {
		c.Close()
	}
}

func TestPolicyP10Caps(t *testing.T) {
	t.Run("peers of a swarm", func(t *testing.T) {
		s := start(t, tracker.Options{MaxPeersPerSwarm: 10})
		for i := range 30 {
			m := s.announce(t, hash(1), i, leeching, "")
			if i >= 10 && len(peers4(t, m)) != 10 {
				t.Errorf("the %dth is given %d peers", i, len(peers4(t, m)))
			}
		}
		if got := s.Stats(); got.Peers != 10 || got.PeersRefused != 20 {
			t.Errorf("%+v", got)
		}
		wantCounts(t, s.announce(t, hash(1), 3, seeding+"&event=completed", ""), 1, 9, 1) // the known ones go on
		s.announce(t, hash(2), 1, leeching, "")
		if c := s.Swarm(hash(2)); c.Leechers != 1 {
			t.Errorf("another swarm: %+v", c)
		}
	})
	t.Run("peers in all", func(t *testing.T) {
		s := start(t, tracker.Options{MaxPeers: 10})
		for i := range 20 {
			s.announce(t, hash(byte(i)), i, leeching, "")
		}
		if got := s.Stats(); got.Peers != 10 || got.Swarms != 10 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("swarms", func(t *testing.T) {
		s := start(t, tracker.Options{MaxSwarms: 5})
		for i := range 20 {
			s.announce(t, hash(byte(i)), 1, leeching, "")
		}
		if got := s.Stats(); got.Swarms != 5 {
			t.Errorf("%+v", got)
		}
		s.announce(t, hash(0), 1, "&event=stopped", "")
		s.announce(t, hash(19), 1, leeching, "")
		if c := s.Swarm(hash(19)); c.Leechers != 1 {
			t.Errorf("after one has gone: %+v", c)
		}
	})
	t.Run("ports of an address", func(t *testing.T) {
		s := start(t, tracker.Options{MaxPortsPerAddress: 20})
		for i := range 100 {
			s.announce(t, hash(1), i, leeching, "198.51.100.1")
			s.clock.Advance(20 * time.Second)
		}
		m := s.announce(t, hash(1), 500, leeching+"&numwant=100", "198.51.100.2")
		got := peers4(t, m)
		wantCounts(t, m, 0, 21, 0)
		for i := range 100 {
			if got[i] != (i >= 80) {
				t.Errorf("port of peer %d is named: %v; the newest should be", i, got[i])
			}
		}
	})
}

func TestOnAnnounceHearsOfPeers(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	var s *server
	s = start(t, tracker.Options{OnAnnounce: func(ih infohash.T, peer netip.AddrPort, role tracker.Role) {
		mu.Lock()
		defer mu.Unlock()
		s.Swarm(ih) // no lock is held
		heard = append(heard, fmt.Sprint(peer, " ", role == tracker.Seeder))
	}})
	s.announce(t, hash(1), 1, leeching, "198.51.100.1")
	s.announce(t, hash(1), 2, seeding, "")
	s.announce(t, hash(1), 2, seeding+"&event=stopped", "")
	dialUDP(t, s.udp4, "127.0.0.3").announce(t, udpAsk{hash: hash(1), peer: 3, left: 5})
	mu.Lock()
	defer mu.Unlock()
	if want := "[198.51.100.1:7001 false 127.0.0.1:7002 true 127.0.0.3:7003 false]"; fmt.Sprint(heard) != want {
		t.Errorf("heard %v, want %v", heard, want)
	}
}

func TestConnectionKeyIsNotPrinted(t *testing.T) {
	key := tracker.ConnectionKey{'s', 'e', 'c', 'r', 'e', 't'}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if got := fmt.Sprintf(verb, key); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, tracker.Options{ConnectionKey: key}); strings.Contains(got, "115") || strings.Contains(got, "secret") {
			t.Errorf("%s of Options prints %q", verb, got)
		}
	}
	if got, err := json.Marshal(key); err != nil || string(got) != `"[redacted]"` {
		t.Errorf("as JSON: %s, %v", got, err)
	}
}

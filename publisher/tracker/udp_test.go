package tracker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker"
)

const (
	connect  = 0
	announce = 1
	scrape   = 2
	failure  = 3
)

// udpClient speaks BEP 15 byte by byte.
type udpClient struct {
	conn *net.UDPConn // connected: answers from elsewhere do not arrive
	id   uint64
	tid  uint32
}

// dialUDP connects from a local address ("" for any).
func dialUDP(t testing.TB, to netip.AddrPort, local string) *udpClient {
	t.Helper()
	var from *net.UDPAddr
	if local != "" {
		from = &net.UDPAddr{IP: net.ParseIP(local)}
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &udpClient{conn: conn}
	c.id = c.connect(t)
	return c
}

func (c *udpClient) connect(t testing.TB) uint64 {
	t.Helper()
	r := c.ask(t, c.packet(0x41727101980, connect, nil))
	if len(r) != 16 || binary.BigEndian.Uint32(r) != connect {
		t.Fatalf("answer to connect: %x", r)
	}
	return binary.BigEndian.Uint64(r[8:])
}

func (c *udpClient) packet(id uint64, action uint32, rest []byte) []byte {
	c.tid = rand.Uint32()
	p := binary.BigEndian.AppendUint64(nil, id)
	p = binary.BigEndian.AppendUint32(p, action)
	p = binary.BigEndian.AppendUint32(p, c.tid)
	return append(p, rest...)
}

func (c *udpClient) send(t testing.TB, p []byte) {
	t.Helper()
	if _, err := c.conn.Write(p); err != nil {
		t.Fatal(err)
	}
}

// ask sends p and returns its answer, which must echo the transaction id.
func (c *udpClient) ask(t testing.TB, p []byte) []byte {
	t.Helper()
	c.send(t, p)
	r := c.receive(t)
	if len(r) < 8 || string(r[4:8]) != string(p[12:16]) {
		t.Fatalf("answer %x does not echo %x", r, p[12:16])
	}
	return r
}

func (c *udpClient) receive(t testing.TB) []byte {
	t.Helper()
	var b [4096]byte
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.conn.Read(b[:])
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return slices.Clone(b[:n])
}

// silent sends p and then asks something that is answered: packets are dealt
// with in order, so p was not answered if that comes first.
func (c *udpClient) silent(t testing.TB, p []byte) {
	t.Helper()
	c.send(t, p)
	c.connect(t)
}

type udpAsk struct {
	hash    infohash.T
	peer    int
	left    uint64
	event   uint32
	key     uint32
	ip      uint32
	numWant int32 // 0 is sent as -1, -100 as 0
	port    int   // 0 is 7000+peer, -1 is 0
	more    string
}

func (a udpAsk) bytes() []byte {
	b := append([]byte(nil), a.hash[:]...)
	b = append(b, peerID(a.peer)...)
	b = append(b, make([]byte, 8)...)
	b = binary.BigEndian.AppendUint64(b, a.left)
	b = append(b, make([]byte, 8)...)
	b = binary.BigEndian.AppendUint32(b, a.event)
	b = binary.BigEndian.AppendUint32(b, a.ip)
	b = binary.BigEndian.AppendUint32(b, a.key)
	switch a.numWant {
	case 0:
		a.numWant = -1
	case -100:
		a.numWant = 0
	}
	b = binary.BigEndian.AppendUint32(b, uint32(a.numWant))
	switch a.port {
	case 0:
		a.port = 7000 + a.peer
	case -1:
		a.port = 0
	}
	b = binary.BigEndian.AppendUint16(b, uint16(a.port))
	return append(b, a.more...)
}

type udpAnswer struct {
	interval, leechers, seeders uint32
	peers                       []netip.AddrPort
	size                        int
}

func (c *udpClient) announce(t testing.TB, a udpAsk) udpAnswer {
	t.Helper()
	r := c.ask(t, c.packet(c.id, announce, a.bytes()))
	if len(r) < 20 || binary.BigEndian.Uint32(r) != announce {
		t.Fatalf("answer to announce: %q", r)
	}
	width := 6
	if c.conn.RemoteAddr().(*net.UDPAddr).IP.To4() == nil {
		width = 18
	}
	u := func(at int) uint32 { return binary.BigEndian.Uint32(r[at:]) }
	return udpAnswer{u(8), u(12), u(16), compact(t, string(r[20:]), width), len(r)}
}

func (c *udpClient) scrape(t testing.TB, hashes ...infohash.T) (figures []uint32) {
	t.Helper()
	var b []byte
	for _, ih := range hashes {
		b = append(b, ih[:]...)
	}
	r := c.ask(t, c.packet(c.id, scrape, b))
	if binary.BigEndian.Uint32(r) != scrape || (len(r)-8)%12 != 0 {
		t.Fatalf("answer to scrape: %q", r)
	}
	for r = r[8:]; len(r) > 0; r = r[4:] {
		figures = append(figures, binary.BigEndian.Uint32(r))
	}
	return figures
}

// fails sends p and returns the text of the error that it must get.
func (c *udpClient) fails(t testing.TB, p []byte) string {
	t.Helper()
	r := c.ask(t, p)
	if binary.BigEndian.Uint32(r) != failure || len(r) == 8 || !utf8.Valid(r[8:]) {
		t.Fatalf("answer %q, want an error", r)
	}
	return string(r[8:])
}

// udpFill announces peer i from one of many addresses.
func (s *server) udpFill(t testing.TB, ih infohash.T, i int) {
	t.Helper()
	if i%200 == 0 {
		s.filler = dialUDP(t, s.udp4, fmt.Sprintf("127.1.%d.1", i/200))
	}
	s.filler.announce(t, udpAsk{hash: ih, peer: i, left: 1, numWant: -100})
}

func TestUDPU01Connect(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	good := c.packet(0x41727101980, connect, nil)
	if r := c.ask(t, append(good, "and more"...)); len(r) != 16 {
		t.Errorf("answer to a long connect: %x", r)
	}
	c.silent(t, c.packet(0x41727101981, connect, nil))
	c.silent(t, c.packet(0, connect, nil))
	c.silent(t, c.packet(c.id, connect, nil))
	c.silent(t, good[:15])
}

func TestUDPU02ShortIsIgnoredLongIsNot(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	whole := c.packet(c.id, announce, udpAsk{hash: hash(1), peer: 1}.bytes())
	for n := range 16 {
		c.silent(t, whole[:n])
	}
	if got := c.announce(t, udpAsk{hash: hash(1), peer: 1, more: strings.Repeat("\x00", 3000)}); got.seeders != 1 {
		t.Errorf("long announce: %+v", got)
	}
}

func TestUDPU03BadConnectionIDIsNotAnswered(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	n := uint64(0)
	for _, action := range []uint32{announce, scrape, failure, 4, 0xffffffff} {
		for bit := range 64 {
			c.silent(t, c.packet(c.id^1<<bit, action, udpAsk{hash: hash(1), peer: 1}.bytes()))
			n++
		}
		c.silent(t, c.packet(0x41727101980, action, udpAsk{hash: hash(1), peer: 1}.bytes()))
		n++
	}
	if got := s.Stats(); got.BadConnectionIDs != n || got.Peers != 0 {
		t.Errorf("%+v, want %d bad ids", got, n)
	}
}

func TestUDPU04ConnectionIDLifetime(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "127.0.0.2")
	ask := udpAsk{hash: hash(1), peer: 1, left: 1}

	other := dialUDP(t, s.udp4, "127.0.0.2") // another port
	other.id = c.id
	other.announce(t, ask)
	other = dialUDP(t, s.udp4, "127.0.0.3") // another address
	other.silent(t, other.packet(c.id, announce, ask.bytes()))

	s.clock.Advance(2 * time.Minute)
	c.announce(t, ask)
	s.clock.Advance(8 * time.Minute) // ten in all
	c.announce(t, ask)
	s.clock.Advance(time.Minute + time.Second)
	c.silent(t, c.packet(c.id, announce, ask.bytes()))
	for range 7 { // not again, not even when the sixteen bits have come round
		s.clock.Advance(1 << 14 * time.Minute)
		c.silent(t, c.packet(c.id, announce, ask.bytes()))
	}

	id := c.connect(t)
	s.clock.Advance(-time.Minute) // made by an instance whose clock is ahead
	c.id = id
	c.announce(t, ask)
	s.clock.Advance(-time.Minute)
	c.silent(t, c.packet(id, announce, ask.bytes()))
}

func TestUDPU05ConnectionIDIsStable(t *testing.T) {
	key := tracker.ConnectionKey{1, 2, 3}
	s := start(t, tracker.Options{ConnectionKey: key})
	a, b := dialUDP(t, s.udp4, "127.0.0.2"), dialUDP(t, s.udp4, "127.0.0.3")
	if again := a.connect(t); again != a.id {
		t.Errorf("retransmitted connect: %x, then %x", a.id, again)
	}
	if a.id == b.id {
		t.Error("two addresses have one id")
	}
	restarted := start(t, tracker.Options{ConnectionKey: key})
	c := dialUDP(t, restarted.udp4, "127.0.0.2")
	c.id = a.id
	c.announce(t, udpAsk{hash: hash(1), peer: 1})
	foreign := dialUDP(t, start(t, tracker.Options{}).udp4, "127.0.0.2")
	foreign.silent(t, foreign.packet(a.id, announce, udpAsk{hash: hash(1), peer: 1}.bytes()))
}

func TestUDPU06TruncatedAnnounceIsNotAnswered(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	whole := c.packet(c.id, announce, udpAsk{hash: hash(1), peer: 1, left: 1, key: 7}.bytes())
	if len(whole) != 98 {
		t.Fatalf("an announce is %d bytes", len(whole))
	}
	for n := 16; n < 98; n++ {
		c.silent(t, whole[:n])
	}
	if n := s.Stats().Peers; n != 0 {
		t.Errorf("%d peers recorded", n)
	}
	// The offsets: what is sent over UDP is what HTTP would be told.
	c.announce(t, udpAsk{hash: hash(1), peer: 12, left: 1, key: 0x0badcafe})
	m := s.announce(t, hash(1), 3, "&compact=0", "")
	if got := fmt.Sprint(m["peers"]); got != fmt.Sprintf("[map[ip:127.0.0.1 peer id:%s port:7012]]", peerID(12)) {
		t.Errorf("HTTP is told of %s", got)
	}
	wantCounts(t, s.announce(t, hash(1), 12, leeching+"&key=0BADCAFE", "2001:db8::1"), 0, 2, 0) // one client
}

func TestUDPU07Reply(t *testing.T) {
	s := start(t, tracker.Options{})
	for _, at := range []struct {
		to     netip.AddrPort
		stride int
	}{{s.udp4, 6}, {s.udp6, 18}} {
		c := dialUDP(t, at.to, "")
		c.announce(t, udpAsk{hash: hash(1), peer: 1})
		c.announce(t, udpAsk{hash: hash(1), peer: 2, left: 1})
		got := c.announce(t, udpAsk{hash: hash(1), peer: 3, left: 1})
		if got.seeders == 0 || got.leechers != 2*got.seeders || got.interval < 1620 || got.interval > 1980 || got.size != 20+2*at.stride {
			t.Errorf("%v: %+v", at.to, got)
		}
		if !maps.Equal(ports(got.peers), set(1, 2)) {
			t.Errorf("%v: peers %v", at.to, got.peers)
		}
	}
}

func TestUDPU08NumWant(t *testing.T) {
	s := start(t, tracker.Options{MaxNumWant: 1000, MaxPortsPerAddress: 1000})
	for _, at := range []struct {
		to  netip.AddrPort
		max int
	}{{s.udp4, 242}, {s.udp6, 67}} {
		c := dialUDP(t, at.to, "")
		for i := range 300 {
			c.announce(t, udpAsk{hash: hash(1), peer: i, left: 1, numWant: -100})
		}
		for want, n := range map[int32]int{-1: 50, -2147483648: 50, -100: 0, 1: 1, 30: 30, 241: min(241, at.max), 242: at.max, 2147483647: at.max} {
			got := c.announce(t, udpAsk{hash: hash(1), peer: 0, left: 1, numWant: want})
			if len(got.peers) != n || len(ports(got.peers)) != n || got.size > 1472 || n == 67 && got.size > 1232 {
				t.Errorf("%v numwant %d: %d peers in %d bytes, want %d", at.to, want, len(got.peers), got.size, n)
			}
		}
	}
	s = start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	for i := range 250 {
		c.announce(t, udpAsk{hash: hash(1), peer: i, left: 1})
	}
	if got := c.announce(t, udpAsk{hash: hash(1), peer: 0, left: 1, numWant: 242}); len(got.peers) != 200 {
		t.Errorf("%d peers, want the default cap of 200", len(got.peers))
	}
}

func TestUDPU09OddFields(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	for _, e := range []uint32{4, 5, 0xffffffff} {
		if got := c.announce(t, udpAsk{hash: hash(1), peer: 1, left: 1, event: e, ip: 0x01020304}); got.leechers != 1 || got.seeders != 0 {
			t.Errorf("event %d: %+v", e, got)
		}
	}
	if got := c.announce(t, udpAsk{hash: hash(1), peer: 2, left: 1}); fmt.Sprint(got.peers) != "[127.0.0.1:7001]" {
		t.Errorf("peers %v; the IP field is to be ignored", got.peers)
	}
	c.fails(t, c.packet(c.id, announce, udpAsk{hash: hash(1), peer: 3, port: -1}.bytes()))
	c.announce(t, udpAsk{hash: hash(1), peer: 1, left: 0, event: 1})
	c.announce(t, udpAsk{hash: hash(1), peer: 2, left: 1, event: 3})
	if got := s.Swarm(hash(1)); got != (tracker.Counts{Seeders: 1, Completed: 1}) {
		t.Errorf("after completed and stopped: %+v", got)
	}
}

func TestUDPU10Scrape(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	c.announce(t, udpAsk{hash: hash(1), peer: 1, event: 1})
	c.announce(t, udpAsk{hash: hash(1), peer: 2, left: 1})
	c.announce(t, udpAsk{hash: hash(1), peer: 3, left: 1})
	if got := c.scrape(t, hash(9), hash(1), hash(1)); !slices.Equal(got, []uint32{0, 0, 0, 1, 1, 2, 1, 1, 2}) {
		t.Errorf("scrape: %v", got)
	}
	for _, n := range []int{74, 75, 150, 203, 204, 300} {
		if got := c.scrape(t, make([]infohash.T, n)...); len(got) != 74*3 {
			t.Errorf("scrape of %d: %d figures, want 222", n, len(got))
		}
	}
	for _, n := range []int{0, 1, 19, 21, 1999} {
		c.fails(t, c.packet(c.id, scrape, make([]byte, n)))
	}
}

func TestUDPU11UnknownAction(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	for _, action := range []uint32{failure, 5, 0x80000000, 0xffffffff} {
		c.fails(t, c.packet(c.id, action, nil))
		c.silent(t, c.packet(c.id+1, action, nil))
	}
}

func TestUDPU12Errors(t *testing.T) {
	s := start(t, tracker.Options{Standing: standing(map[infohash.T]tracker.Standing{hash(2): tracker.Retired})})
	c := dialUDP(t, s.udp4, "")
	if got := c.fails(t, c.packet(c.id, announce, udpAsk{hash: hash(1), peer: 1}.bytes())); !strings.Contains(got, "not tracked") {
		t.Errorf("unknown: %q", got)
	}
	if got := c.fails(t, c.packet(c.id, announce, udpAsk{hash: hash(2), peer: 1}.bytes())); !strings.Contains(got, "retired") {
		t.Errorf("retired: %q", got)
	}
}

func TestUDPU13OldIPv6AnnounceIsUnknown(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp6, "")
	c.fails(t, c.packet(c.id, 4, udpAsk{hash: hash(1), peer: 1}.bytes()))
	if n := s.Stats().Peers; n != 0 {
		t.Errorf("%d peers recorded", n)
	}
}

func TestUDPU14AnswersLeaveFromWhereTheyWereAsked(t *testing.T) {
	s := start(t, tracker.Options{
		Standing: func(infohash.T) tracker.Standing { return tracker.Tracked },
		Seeds: func(reached netip.Addr) []netip.AddrPort {
			return []netip.AddrPort{netip.AddrPortFrom(reached, 6881)}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	conns, err := tracker.ListenUDP(ctx, ":0") // all of this machine's addresses
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, c := range conns {
		s.serveUDP(t, ctx, &running, c)
	}
	port := conns[0].LocalAddr().(*net.UDPAddr).AddrPort().Port()
	for i, at := range []string{"127.0.0.1", "127.0.0.55", "127.9.8.7", "::1"} {
		// The client's socket is connected, so answers from elsewhere are lost.
		c := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr(at), port), "")
		got := c.announce(t, udpAsk{hash: hash(byte(i)), peer: 1, left: 1})
		if want := netip.AddrPortFrom(netip.MustParseAddr(at), 6881); len(got.peers) != 1 || got.peers[0] != want {
			t.Errorf("reached at %s: told of seeder %v", at, got.peers)
		}
	}
}

func TestUDPU15URLDataOptions(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	path := "/announce?passkey=" + strings.Repeat("x", 237)
	for i, more := range []string{
		"\x00", "\x01\x01\x01\x00", "\x02\x00", "\x02\x09/announce", "\x02\x03/an\x02\x06nounce\x00rest",
		"\x02\xff" + path, "\x07\x03abc\x02\x01/", "\x02", "\x02\xff/cut", "\x09\x10", "\xff\xff",
	} {
		if got := c.announce(t, udpAsk{hash: hash(1), peer: i, left: 1, more: more}); got.leechers != uint32(i+1) {
			t.Errorf("options %q: %+v", more, got)
		}
	}
}

func TestUDPU16DuplicatesCountOnce(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	p := c.packet(c.id, announce, udpAsk{hash: hash(1), peer: 1, event: 1}.bytes())
	for range 3 {
		c.ask(t, p)
	}
	if got := s.Swarm(hash(1)); got != (tracker.Counts{Seeders: 1, Completed: 1}) {
		t.Errorf("thrice the same packet: %+v", got)
	}
}

func TestUDPU17RubbishIsNotAnswered(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	rng := rand.New(rand.NewChaCha8([32]byte{17}))
	for range 3000 {
		p := make([]byte, rng.IntN(2049))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		if len(p) >= 16 && rng.IntN(2) == 0 {
			binary.BigEndian.PutUint32(p[8:], rng.Uint32N(6))
		}
		c.silent(t, p)
	}
	for range 3000 { // with a good id, every answer is well-formed
		body := make([]byte, rng.IntN(2033))
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		p := c.packet(c.id, rng.Uint32N(6), body)
		c.send(t, p)
		c.send(t, c.packet(0x41727101980, connect, nil))
		for {
			r := c.receive(t)
			if binary.BigEndian.Uint32(r[4:]) == c.tid {
				break
			}
			if string(r[4:8]) != string(p[12:16]) || len(r) > 1472 {
				t.Fatalf("answer %x to %x", r, p)
			}
		}
	}
}

func TestUDPU18MappedSourceIsIPv4(t *testing.T) {
	s := start(t, tracker.Options{
		Standing: func(infohash.T) tracker.Standing { return tracker.Tracked },
		Seeds: func(reached netip.Addr) []netip.AddrPort {
			return []netip.AddrPort{netip.AddrPortFrom(reached, 6881)}
		},
	})
	dual, err := net.ListenUDP("udp", &net.UDPAddr{}) // without IPV6_V6ONLY
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	s.serveUDP(t, ctx, &running, dual)
	port := dual.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), port), "")
	c.announce(t, udpAsk{hash: hash(1), peer: 1, left: 1})
	got := c.announce(t, udpAsk{hash: hash(1), peer: 2, left: 1})
	if fmt.Sprint(got.peers) != "[127.0.0.9:6881 127.0.0.1:7001]" {
		t.Errorf("IPv4 on a dual-stack socket: %v", got.peers)
	}
	c = dialUDP(t, netip.AddrPortFrom(netip.IPv6Loopback(), port), "")
	if got := c.announce(t, udpAsk{hash: hash(1), peer: 3, left: 1}); fmt.Sprint(got.peers) != "[[::1]:6881]" {
		t.Errorf("IPv6 on a dual-stack socket: %v", got.peers)
	}
}

func TestUDPU19KnownClientsAreNotLimited(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialUDP(t, s.udp4, "")
	for i := range 2000 {
		c.connect(t)
		c.announce(t, udpAsk{hash: hash(1), peer: i % 10, left: 1})
	}
}

func TestUDPServesUntilContextEnds(t *testing.T) {
	tr := tracker.New(tracker.Options{})
	conns, err := tracker.ListenUDP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, conn := range conns {
		defer conn.Close()
		for range 2 { // several may serve one socket
			running.Go(func() {
				if err := tr.ServeUDP(ctx, conn); err != nil {
					t.Error(err)
				}
			})
		}
	}
	c := dialUDP(t, conns[0].LocalAddr().(*net.UDPAddr).AddrPort(), "")
	c.announce(t, udpAsk{hash: hash(1), peer: 1})
	cancel()
	running.Wait()
	conns[0].Close()
	if err := tr.ServeUDP(t.Context(), conns[0]); err == nil || !strings.Contains(err.Error(), "serve UDP tracker on") {
		t.Errorf("on a closed socket: %v", err)
	}
}

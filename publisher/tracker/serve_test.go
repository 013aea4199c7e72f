package tracker_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker"
)

// server is a tracker on real loopback sockets.
type server struct {
	*tracker.Tracker
	http4, http6 string // host:port
	udp4, udp6   netip.AddrPort
	clock        *clock
	filler       *udpClient // see udpFill
}

// clock is the tracker's time, set by the test.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start serves opt over HTTP and UDP, IPv4 and IPv6, until the test ends. The
// loopback addresses are trusted proxies, so that X-Forwarded-For makes
// requests come from anywhere.
func start(t testing.TB, opt tracker.Options) *server {
	t.Helper()
	s := &server{clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 30, 0, time.UTC)}}
	if opt.TrustedProxies == nil {
		opt.TrustedProxies = prefixes("127.0.0.0/8", "::1/128")
	}
	if opt.Now == nil {
		opt.Now = s.clock.Now
	}
	opt.Sweep = 5 * time.Millisecond
	s.Tracker = tracker.New(opt)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	running.Go(func() { s.Run(ctx) })

	srv := &http.Server{Handler: s}
	for addr, at := range map[string]*string{"127.0.0.1:0": &s.http4, "[::1]:0": &s.http6} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		*at = l.Addr().String()
		running.Go(func() { srv.Serve(l) })
	}
	t.Cleanup(func() { srv.Close() })

	for addr, at := range map[string]*netip.AddrPort{"127.0.0.1:0": &s.udp4, "[::1]:0": &s.udp6} {
		conns, err := tracker.ListenUDP(ctx, addr)
		if err != nil {
			t.Fatal(err)
		}
		*at = conns[0].LocalAddr().(*net.UDPAddr).AddrPort()
		for _, conn := range conns {
			s.serveUDP(t, ctx, &running, conn)
		}
	}
	return s
}

func (s *server) serveUDP(t testing.TB, ctx context.Context, running *sync.WaitGroup, conn *net.UDPConn) {
	running.Go(func() {
		defer conn.Close()
		if err := s.ServeUDP(ctx, conn); err != nil {
			t.Error(err)
		}
	})
}

func prefixes(cidrs ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, c := range cidrs {
		ps = append(ps, netip.MustParsePrefix(c))
	}
	return ps
}

func hash(n byte) infohash.T {
	return infohash.T{n, 0, '+', ' ', '&', '=', '%', '#', 0xff, 18: n, 19: 'h'}
}

func peerID(n int) string { return fmt.Sprintf("-TT0001-%012d", n) }

// escape percent-encodes every byte.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

// params is an announce's query with more, "&key=value…", appended; the port
// and the peer_id follow from peer.
func params(ih infohash.T, peer int, more string) string {
	return fmt.Sprintf("info_hash=%s&peer_id=%s&port=%d%s", escape(string(ih[:])), peerID(peer), 7000+peer, more)
}

// from is an X-Forwarded-For header.
type from string

// raw gets a path and returns the answer's status, header and body.
func (s *server) raw(t testing.TB, method, pathQuery string, xff from) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.http4+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = "//" + s.http4 + pathQuery // as is
	if xff != "" {
		req.Header.Set("X-Forwarded-For", string(xff))
	}
	return do(t, req)
}

func do(t testing.TB, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := (&http.Transport{DisableKeepAlives: true, DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// get returns the bencoded answer to a GET, which must have status 200 and
// be canonical.
func (s *server) get(t testing.TB, pathQuery string, xff from) map[string]any {
	t.Helper()
	resp, body := s.raw(t, "GET", pathQuery, xff)
	if resp.StatusCode != 200 {
		t.Fatalf("GET %s: %s: %s", pathQuery, resp.Status, body)
	}
	return decode(t, body)
}

// decode also checks that keys are sorted and integers plain, since encoding
// it again must give the same bytes.
func decode(t testing.TB, body string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := bencode.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("answer %q: %v", body, err)
	}
	if again := string(bencode.MustMarshal(m)); again != body {
		t.Fatalf("answer is not canonical bencode:\n%q\n%q", body, again)
	}
	return m
}

func (s *server) announce(t testing.TB, ih infohash.T, peer int, more string, xff from) map[string]any {
	t.Helper()
	m := s.get(t, "/announce?"+params(ih, peer, more), xff)
	if reason, failed := m["failure reason"]; failed {
		t.Fatalf("announce failed: %v", reason)
	}
	return m
}

func (s *server) refused(t testing.TB, pathQuery string) map[string]any {
	t.Helper()
	m := s.get(t, pathQuery, "")
	if _, ok := m["failure reason"].(string); !ok {
		t.Fatalf("GET %s was answered: %v", pathQuery, m)
	}
	return m
}

// compact decodes a compact peer list.
func compact(t testing.TB, v any, width int) (peers []netip.AddrPort) {
	t.Helper()
	list, ok := v.(string)
	if !ok && v != nil || len(list)%width != 0 {
		t.Fatalf("peer list %q: want strides of %d", v, width)
	}
	for ; list != ""; list = list[width:] {
		a, _ := netip.AddrFromSlice([]byte(list[:width-2]))
		peers = append(peers, netip.AddrPortFrom(a, uint16(list[width-2])<<8|uint16(list[width-1])))
	}
	return peers
}

func ports(peers []netip.AddrPort) map[int]bool {
	m := map[int]bool{}
	for _, p := range peers {
		m[int(p.Port())-7000] = true
	}
	return m
}

// peers4 and peers6 return which peers an answer names, by the number that
// params was given.
func peers4(t testing.TB, m map[string]any) map[int]bool { return ports(compact(t, m["peers"], 6)) }
func peers6(t testing.TB, m map[string]any) map[int]bool { return ports(compact(t, m["peers6"], 18)) }

func set(ns ...int) map[int]bool {
	m := map[int]bool{}
	for _, n := range ns {
		m[n] = true
	}
	return m
}

func wantCounts(t testing.TB, m map[string]any, complete, incomplete, downloaded int) {
	t.Helper()
	got := [3]any{m["complete"], m["incomplete"], m["downloaded"]}
	if want := [3]any{int64(complete), int64(incomplete), int64(downloaded)}; got != want {
		t.Errorf("complete, incomplete, downloaded = %v, want %v", got, want)
	}
}

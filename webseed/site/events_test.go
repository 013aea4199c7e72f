package site

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// live runs the site's events until the end of the test, or until stop is called.
func (f *fixture) live(tb testing.TB) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.site.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				tb.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			tb.Error("Run does not end")
		}
	})
	tb.Cleanup(stop)
	return stop
}

// listener is a client of the stream of events.
type listener struct {
	resp *http.Response
	in   *bufio.Reader
}

func (f *fixture) listen(t *testing.T, query string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", f.URL+"/api/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &listener{resp, bufio.NewReader(resp.Body)}
}

// next returns the next event.
func (l *listener) next() (kind, data string, err error) {
	for {
		line, err := l.in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" && kind != "":
			return kind, data, nil
		case strings.HasPrefix(line, "event: "):
			kind = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		}
	}
}

// until returns the data of the next event of a kind that ok accepts.
func (l *listener) until(t *testing.T, kind string, ok func(data string) bool) string {
	t.Helper()
	for {
		k, data, err := l.next()
		if err != nil {
			t.Fatalf("waiting for %s: %v", kind, err)
		}
		if !json.Valid([]byte(data)) {
			t.Fatalf("%s is no JSON: %s", k, data)
		}
		if k == kind && ok(data) {
			return data
		}
	}
}

func has(part string) func(string) bool {
	return func(data string) bool { return strings.Contains(data, part) }
}

func TestEventsTellWhatIsNew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rel := f.publish(t, "a&b", 1000, "")
	var pending atomic.Pointer[[]Pending]
	pending.Store(&[]Pending{})
	f.site.o.Pending = func() []Pending { return *pending.Load() }
	var connected atomic.Int32
	f.site.o.Swarm = func(infohash.T) Swarm { return Swarm{Pieces: 1, Parts: 1, Peers: make([]Peer, connected.Load())} }
	f.live(t)
	l := f.listen(t, "?release="+rel.InfoHash.HexString())
	if got := l.resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	first := make(map[string]string)
	for len(first) < 5 {
		kind, data, err := l.next()
		if err != nil || first[kind] != "" {
			t.Fatalf("after %v: %s %s, %v", first, kind, data, err)
		}
		first[kind] = data
	}
	for kind, part := range map[string]string{
		"stats": `"releases":1,"size":1000,"pending":0`, "pending": `{"pending":[],"total":0}`, "releases": `{"total":1,"size":1000}`,
		"release": `"name":"a&b","info_hash":"` + rel.InfoHash.HexString(), "swarm": `"peers":[]`,
	} {
		if !strings.Contains(first[kind], part) {
			t.Errorf("%s at first: %s", kind, first[kind])
		}
	}
	pending.Store(&[]Pending{{Name: "new", State: Hashing}})
	l.until(t, "pending", has(`"name":"new"`))
	f.publish(t, "new", 5, "")
	pending.Store(&[]Pending{})
	l.until(t, "releases", has(`{"total":2,"size":1005}`))
	l.until(t, "pending", has(`{"pending":[],"total":0}`))
	connected.Store(1)
	l.until(t, "swarm", has(`"peers":[{`))
	f.publish(t, "third", 5, "")
	l.until(t, "stats", has(`"releases":3`))
	if err := f.catalog.Retire(rel.InfoHash); err != nil {
		t.Fatal(err)
	}
	for err := error(nil); err == nil; { // the stream ends
		if _, _, err = l.next(); err != nil && err != io.EOF {
			t.Errorf("the stream of a release that was retired ends with %v", err)
		}
	}
	again := f.listen(t, "?release="+rel.InfoHash.HexString())
	if again.resp.StatusCode != http.StatusGone {
		t.Errorf("status %d for a retired release", again.resp.StatusCode)
	}
}

func TestLongListsOfPendingAreCut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.pending = make([]Pending, 10*pendingMost)
	f.live(t)
	data := f.listen(t, "").until(t, "pending", func(string) bool { return true })
	var got struct {
		Pending []Pending
		Total   int
	}
	if err := json.Unmarshal([]byte(data), &got); err != nil || len(got.Pending) != pendingMost || got.Total != 10*pendingMost {
		t.Errorf("%d of %d, %v", len(got.Pending), got.Total, err)
	}
}

func TestNobodyListensNothingIsDone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var asked atomic.Int32
	f.site.o.Pending = func() []Pending { asked.Add(1); return nil }
	f.live(t)
	time.Sleep(2 * pollEvery)
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times before anybody listened", n)
	}
	l := f.listen(t, "")
	l.until(t, "stats", func(string) bool { return true })
	l.resp.Body.Close()
	for f.site.Streams() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(2 * pollEvery) // Run notices
	before := asked.Load()
	time.Sleep(2 * pollEvery)
	if n := asked.Load(); n != before {
		t.Errorf("asked %d times after the last has left", n-before)
	}
	f.listen(t, "").until(t, "stats", func(string) bool { return true })
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.live(t)
	address := func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("X-Test")) }
	f.site.o.Client = address
	open := func(addr string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", f.URL+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Test", addr)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return resp.StatusCode
	}
	for i := range streamsFrom {
		if status := open(fmt.Sprintf("2001:db8::%x", i)); status != 200 {
			t.Fatalf("stream %d: status %d", i, status)
		}
	}
	if status := open("2001:db8::ffff"); status != http.StatusServiceUnavailable {
		t.Errorf("one more from the network: status %d", status)
	}
	for i := streamsFrom; i < streamsMost; i++ {
		if status := open(fmt.Sprintf("10.0.%d.%d", i/250, i%250)); status != 200 {
			t.Fatalf("stream %d: status %d", i, status)
		}
	}
	if status := open("10.9.9.9"); status != http.StatusServiceUnavailable {
		t.Errorf("one more: status %d", status)
	}
}

// smallBuffers has the kernel keep little of what a client does not read.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

func TestAStalledClientIsCut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.site.streamWrite = 200 * time.Millisecond
	var n atomic.Int64
	f.site.o.Pending = func() []Pending {
		list := make([]Pending, pendingMost)
		for i := range list {
			list[i] = Pending{Name: strings.Repeat("x", 1000), Done: n.Add(1)}
		}
		return list
	}
	f.live(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(f.site)
	srv.Listener.Close()
	srv.Listener = smallBuffers{ln}
	srv.Start()
	defer srv.Close()

	reading := f.listen(t, "") // which goes on
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	for f.site.Streams() != 2 {
		time.Sleep(10 * time.Millisecond)
	}
	began := time.Now()
	for f.site.Streams() != 1 {
		if time.Since(began) > 20*time.Second {
			t.Fatal("the client that does not read is not cut")
		}
		time.Sleep(10 * time.Millisecond)
	}
	for range 3 {
		reading.until(t, "pending", func(string) bool { return true })
	}
}

// A stream goes on while there is nothing to tell, for longer than a client may
// take to read what it is told.
func TestAQuietStreamGoesOn(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.site.streamWrite = 200 * time.Millisecond
			f.live(t)
			srv := httptest.NewUnstartedServer(f.site)
			srv.EnableHTTP2 = version == "HTTP/2.0"
			srv.StartTLS()
			t.Cleanup(srv.Close)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/api/v1/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.Proto != version {
				t.Fatalf("it came with %s", resp.Proto)
			}
			time.AfterFunc(5*f.site.streamWrite, cancel)
			// Over HTTP/1.1 its end is that of the connection.
			if _, err := io.Copy(io.Discard, resp.Body); ctx.Err() == nil {
				t.Errorf("the stream ended by itself, with %v", err)
			}
		})
	}
}

func TestAStreamEndsWithTheRightToIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.Close() // no time passes while it waits for the network
		var may atomic.Bool
		may.Store(true)
		f.site.o.Operator = func(*http.Request) bool { return may.Load() }
		f.live(t)
		go f.site.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://x/api/v1/events", nil))
		time.Sleep(10 * heartbeatAfter)
		if n := f.site.Streams(); n != 1 {
			t.Fatalf("%d streams", n)
		}
		may.Store(false)
		time.Sleep(heartbeatAfter + time.Second)
		if n := f.site.Streams(); n != 0 {
			t.Errorf("%d streams of one who may not have any", n)
		}
	})
}

func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	stop := f.live(t)
	l := f.listen(t, "")
	l.until(t, "releases", func(string) bool { return true })
	began := time.Now()
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := f.Config.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	for err := error(nil); err == nil; {
		if _, _, err = l.next(); err != nil && err != io.EOF {
			t.Errorf("a stream ended with %v", err)
		}
	}
	w := httptest.NewRecorder()
	f.site.ServeHTTP(w, httptest.NewRequest("GET", "http://x/api/v1/events", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("after the end: status %d", w.Code)
	}
}

package main_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// trouble is what stands between dropseed and the S3 server: a fault has its way
// with each request, or passes it on.
type trouble struct {
	fault atomic.Pointer[fault]
	hits  atomic.Int64 // requests that the fault had
	url   string
}

type fault func(w http.ResponseWriter, r *http.Request, pass http.Handler)

// passTo passes requests on to the S3 server.
func passTo(s *s3) http.Handler {
	to := &url.URL{Scheme: "http", Host: s.addr}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

func newTrouble(t *testing.T, s *s3) *trouble {
	t.Helper()
	p, pass := &trouble{}, passTo(s)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := p.fault.Load(); f != nil {
			p.hits.Add(1)
			(*f)(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

// begin has a fault's way with every request, and end with none.
func (p *trouble) begin(f fault) { p.hits.Store(0); p.fault.Store(&f) }
func (p *trouble) end()          { p.fault.Store(nil) }

// refusing is a fault that answers as S3 does.
func refusing(status int, code, message string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
		}
	}
}

// cutting is a fault that lets half of every second answer through.
func cutting() fault {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method != http.MethodGet || n.Add(1)%2 == 0 {
			pass.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		pass.ServeHTTP(whole, r)
		for k, v := range whole.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(whole.Body.Len()))
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		panic(http.ErrAbortHandler)
	}
}

// slow is a fault that sends answers in small parts.
func slow(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	pass.ServeHTTP(&slowWriter{ResponseWriter: w}, r)
}

type slowWriter struct{ http.ResponseWriter }

func (w *slowWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), 64<<10)]
		time.Sleep(20 * time.Millisecond)
		var m int
		m, err = w.ResponseWriter.Write(part)
		n, p = n+m, p[len(part):]
	}
	return n, err
}

// metric returns the value of a line of /metrics, or 0 if there is none.
func (s *server) metric(name string) (value float64) {
	s.t.Helper()
	status, body := s.get(s.url("/metrics"))
	if status != http.StatusOK {
		s.t.Fatalf("GET /metrics: status %d", status)
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

func requests(kind string) string {
	return fmt.Sprintf(`dropseed_s3_requests_total{kind="%s",source="%s"}`, kind, s3Bucket)
}

func TestBucketFaults(t *testing.T) {
	t.Parallel()
	store, local := newS3(t), t.TempDir()
	p := newTrouble(t, store)
	put := func(name string, size int) {
		t.Helper()
		drop(t, filepath.Join(local, name), size)
		store.put("public/"+name, filepath.Join(local, name))
	}
	put("first.iso", 20<<20+5) // more than the cache holds

	// Down at the start: the server runs, says so, and comes to know of it later.
	store.kill(store.cmd)
	s := serveConfig(t, store.config(p.url, "cache: {memory: 8MiB}"))
	s.eventually("it says that the server is down", func() error {
		if len(s.logged("msg", "a listing failed; nothing is concluded from it, and it is tried again")) == 0 {
			return errors.New("nothing is logged")
		}
		return nil
	})
	if status, body := s.get(s.url("/readyz")); status != http.StatusServiceUnavailable || !strings.Contains(string(body), s3Bucket) {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := s.get(s.url("/healthz")); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	store.start()
	s.published("first.iso")

	// Whatever the server answers, what is published stays, what is sent is right,
	// and the reason is logged; when it is over, all goes on.
	curl := func(name string) error {
		out := filepath.Join(t.TempDir(), "out")
		text, err := exec.Command(need(t, "curl"), "-sS", "--fail", "-o", out, s.url("/files/"+name)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		return compareFile(filepath.Join(local, name), out)
	}
	for i, f := range []struct {
		name   string
		fault  fault
		passes bool   // content is had all the same
		says   string // in the log
	}{
		{"SlowDown", refusing(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."), false, "Please reduce your request rate. (SlowDown)"},
		{"expired credentials", refusing(http.StatusForbidden, "ExpiredToken", "The provided token has expired."), false, "does not take the credentials (ExpiredToken)"},
		{"clock skew", refusing(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."), false, "finds this machine's clock wrong"},
		{"bucket deleted", refusing(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"), false, "has no bucket of that name"},
		{"truncated", cutting(), true, ""},
		{"slow", slow, true, ""},
	} {
		name := fmt.Sprintf("during-%d.iso", i)
		p.begin(f.fault)
		put(name, 3<<20+i)
		if f.passes {
			s.published(name)
			if err := curl("first.iso"); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
		} else {
			s.eventually("the log says: "+f.says, func() error {
				if !strings.Contains(s.logText(), f.says) {
					return errors.New("it does not")
				}
				return nil
			})
			s.eventually("it was asked three times", func() error {
				if p.hits.Load() < 3 {
					return errors.New("it was not")
				}
				return nil
			})
		}
		if all, err := s.releases(); err != nil || all["first.iso"].Size == 0 {
			t.Errorf("%s: first.iso is not published any more (%v)", f.name, err)
		}
		if p.hits.Load() == 0 {
			t.Errorf("%s: nothing was asked of the server", f.name)
		}
		p.end()
		s.published(name)
		if err := curl(name); err != nil {
			t.Errorf("after %s: %v", f.name, err)
		}
	}
	if n := s.metric(fmt.Sprintf(`dropseed_s3_failures_total{source="%s"}`, s3Bucket)); n == 0 {
		t.Error("no failure is counted")
	}

	// A bucket that is really gone is a failure, and an empty one is the truth.
	if err := os.Rename(filepath.Join(store.dir, s3Bucket), filepath.Join(store.dir, "aside")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if all, err := s.releases(); err != nil || len(all) != 7 {
		t.Errorf("%d releases without the bucket, %v", len(all), err)
	}
	store.makeBucket()
	s.eventually("all are retired once the empty bucket is listed", func() error {
		all, err := s.releases()
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("%d releases", len(all))
		}
		return err
	})
	if log := s.logText(); strings.Contains(log, s3Secret) {
		t.Error("the secret key is in the log")
	}
}

// TestBucketDownForAMinute takes the S3 server away in the middle of downloads.
func TestBucketDownForAMinute(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than a minute")
	}
	t.Parallel()
	needLibtorrent(t)
	const down = 60 * time.Second
	store, local := newS3(t), t.TempDir()
	drop(t, filepath.Join(local, "big.iso"), 24<<20+1)
	store.put("public/big.iso", filepath.Join(local, "big.iso"))
	s := serveConfig(t, store.config("http://"+store.addr, "cache: {memory: 8MiB}\nlimits: {upload: 4MB/s}"))
	rels := s.published("big.iso")

	began := time.Now()
	out := t.TempDir()
	clients := map[string]*exec.Cmd{}
	command := aria2Command(t, out, append(s.torrents(rels, "url-list"), "--bt-stop-timeout=0")...)
	clients["aria2"] = exec.Command(command[0], command[1:]...)
	clients["curl"] = exec.Command(need(t, "curl"), "-sS", "--fail", "-o", filepath.Join(out, "curled"), s.url("/files/big.iso"))
	ended := map[string]chan error{}
	for name, cmd := range clients {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		ended[name] = done
		t.Cleanup(func() { _ = cmd.Process.Kill() })
	}
	s.eventually("both get something", func() error {
		all, err := s.releases()
		if sent := all["big.iso"].Sent; err == nil && (sent.Peers < 1<<20 || sent.Direct < 1<<20) {
			err = fmt.Errorf("sent %+v", sent)
		}
		return err
	})
	store.kill(store.cmd)
	time.Sleep(down)
	for name := range clients {
		select {
		case err := <-ended[name]:
			t.Errorf("%s did not wait: %v", name, err)
			ended[name] <- err
		default:
		}
	}
	if all, err := s.releases(); err != nil || len(all) != 1 {
		t.Errorf("%d releases while the server is down, %v", len(all), err)
	}
	store.start()
	for name := range clients {
		select {
		case err := <-ended[name]:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(2 * patience):
			t.Fatalf("%s is not done", name)
		}
	}
	t.Logf("done after %v, of which the server was down for %v", time.Since(began).Round(time.Second), down)
	expectSame(t, filepath.Join(local, "big.iso"), filepath.Join(out, "big.iso"))
	expectSame(t, filepath.Join(local, "big.iso"), filepath.Join(out, "curled"))
}

// TestBucketDownWhenStopped ends dropseed while clients wait for the S3 server.
func TestBucketDownWhenStopped(t *testing.T) {
	t.Parallel()
	store, local := newS3(t), t.TempDir()
	for _, name := range []string{"read.iso", "unread.iso"} {
		drop(t, filepath.Join(local, name), 24<<20)
		store.put("public/"+name, filepath.Join(local, name))
	}
	s := serveConfig(t, store.config("http://"+store.addr, "cache: {memory: 8MiB}\nlimits: {upload: 4MB/s}\nshutdown: 1s"))
	rels := s.published("read.iso", "unread.iso")
	clients := []*exec.Cmd{
		exec.Command(need(t, "curl"), "-sS", "--fail", "-o", filepath.Join(local, "curled"), s.url("/files/read.iso")),
	}
	for _, path := range s.torrents(rels, "url-list") {
		command := aria2Command(t, t.TempDir(), path)
		clients = append(clients, exec.Command(command[0], command[1:]...))
	}
	start := func(cmd *exec.Cmd) {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	start(clients[0])
	start(clients[1])
	s.eventually("both get something", func() error {
		all, err := s.releases()
		if sent := all["read.iso"].Sent; err == nil && (sent.Peers == 0 || sent.Direct == 0) {
			err = fmt.Errorf("sent %+v", sent)
		}
		return err
	})
	store.kill(store.cmd)
	start(clients[2]) // of what was never opened
	time.Sleep(5 * time.Second)
	began := time.Now()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

// TestBucketOverwrittenWhileHashed replaces an object while it is read: what is
// published is all of the new one.
func TestBucketOverwrittenWhileHashed(t *testing.T) {
	t.Parallel()
	store, local := newS3(t), t.TempDir()
	p := newTrouble(t, store)
	old, path := filepath.Join(local, "old"), filepath.Join(local, "set", "big.iso")
	drop(t, old, 48<<20)
	drop(t, path, 48<<20) // of the same size
	store.put("public/set/big.iso", old)
	p.begin(slow)
	s := serveConfig(t, store.config(p.url, "watch: {rescan: 24h}"))
	s.eventually("it is being hashed", func() error {
		if n := s.metric(fmt.Sprintf(`dropseed_s3_received_bytes_total{source="%s"}`, s3Bucket)); n < 1<<20 {
			return fmt.Errorf("%v bytes are read", n)
		}
		return nil
	})
	if all, err := s.releases(); err != nil || len(all) > 0 {
		t.Fatalf("%d releases already, %v", len(all), err)
	}
	store.put("public/set/big.iso", path)
	p.end()
	rels := s.published("set")
	_, torrent := s.get(rels[0].TorrentURL)
	if err := verify(torrent, rels[0].InfoHash, filepath.Join(local, "set")); err != nil {
		t.Error(err)
	}
}

func TestIdleBucketCostsOneListingPerInterval(t *testing.T) {
	t.Parallel()
	store, local := newS3(t), t.TempDir()
	for i := range 3 {
		name := fmt.Sprintf("%d.iso", i)
		drop(t, filepath.Join(local, name), 300_000)
		store.put("public/"+name, filepath.Join(local, name))
	}
	s := serveConfig(t, store.config("http://"+store.addr, ""))
	s.published("0.iso", "1.iso", "2.iso")
	time.Sleep(2 * time.Second) // the last look at what was published
	const interval, intervals = 500 * time.Millisecond, 12
	began := time.Now()
	before := map[string]float64{}
	kinds := []string{"list", "head", "get", "other"}
	for _, kind := range kinds {
		before[kind] = s.metric(requests(kind))
	}
	time.Sleep(intervals * interval)
	most := float64(time.Since(began)/interval + 1)
	for _, kind := range kinds {
		n := s.metric(requests(kind)) - before[kind]
		if kind == "list" && (n > most || n < 2) || kind != "list" && n != 0 {
			t.Errorf("%v requests of the kind %s in %d intervals", n, kind, intervals)
		}
	}
}

// TestBucketCacheOutlivesRestarts has content read once, and sent twice.
func TestBucketCacheOutlivesRestarts(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	store, local, cache := newS3(t), t.TempDir(), t.TempDir()
	const size = 9<<20 + 7
	drop(t, filepath.Join(local, "big.iso"), size)
	store.put("public/big.iso", filepath.Join(local, "big.iso"))
	config := store.config("http://"+store.addr, fmt.Sprintf("cache: {memory: 8MiB, disk: 64MiB, folder: %s}", cache))
	fetch := func(s *server) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		run(t, "", curl, "-sS", "--fail", "-o", out, s.url("/files/big.iso"))
		expectSame(t, filepath.Join(local, "big.iso"), out)
	}
	s := serveConfig(t, config)
	s.published("big.iso")
	fetch(s)
	if code := s.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	s = serveConfig(t, config)
	s.published("big.iso")
	fetch(s)
	if n := s.metric(requests("get")); n != 0 {
		t.Errorf("%v reads from the bucket of what is on disk", n)
	}
	if n := s.metric("dropseed_cache_disk_bytes"); n < size {
		t.Errorf("%v bytes are on disk", n)
	}
	s.kill()

	// Damage is found, and the bytes are read from the bucket again.
	damaged := 0
	err := filepath.Walk(cache, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		damaged++
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("damage"), info.Size()/2)
		return errors.Join(err, f.Close())
	})
	if err != nil || damaged == 0 {
		t.Fatalf("%d files of the cache, %v", damaged, err)
	}
	s = serveConfig(t, config)
	s.published("big.iso")
	fetch(s)
	if n := s.metric(requests("get")); n == 0 {
		t.Error("nothing was read from the bucket")
	}
}

// TestBucketHook has a notification bring about what a listing would have found
// a day later.
func TestBucketHook(t *testing.T) {
	t.Parallel()
	store, local := newS3(t), t.TempDir()
	s := serveConfig(t, store.config("http://"+store.addr, "watch: {rescan: 24h}"))
	s.eventually("the first listing is done", func() error {
		if status, _, err := s.tryGet(s.url("/readyz")); err != nil || status != http.StatusOK {
			return fmt.Errorf("status %d, %v", status, err)
		}
		return nil
	})
	drop(t, filepath.Join(local, "new.iso"), 100_000)
	store.put("public/new.iso", filepath.Join(local, "new.iso"))
	event := `{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"` + s3Bucket + `"},"object":{"key":"public/new.iso"}}}]}`
	post := func(path string) int {
		resp, err := s.client.Post(s.url(path), "application/json", strings.NewReader(event))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := post("/hooks/s3/" + s3Bucket + "?secret=wrong"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong secret: status %d", status)
	}
	if status := post("/hooks/s3/other?secret=" + s3Hook); status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		t.Errorf("another source's hook: status %d", status)
	}
	if status := post("/hooks/s3/" + s3Bucket + "?secret=" + s3Hook); status != http.StatusNoContent {
		t.Errorf("status %d", status)
	}
	s.published("new.iso")
	if log := s.logText(); strings.Contains(log, s3Hook) {
		t.Error("the hook's secret is in the log")
	}
}

package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"dropseed/watcher"
)

const (
	accessKey = "test-access"
	secretKey = "hunter2-hunter2"
	region    = "us-east-1"
)

func TestMain(m *testing.M) {
	code := m.Run()
	gateways.mu.Lock()
	for _, g := range gateways.running {
		g.stop()
	}
	gateways.mu.Unlock()
	os.Exit(code)
}

// gateways are stopped when all tests have run.
var gateways struct {
	mu      sync.Mutex // guards the field below
	running []*gateway
}

// gateway is a running versitygw, an S3 server on a folder.
type gateway struct {
	url    string
	dirs   []string
	cmd    *exec.Cmd
	exited chan struct{}
	stderr logBuffer
}

// theGateway is the one that most tests share, each with buckets of its own.
var theGateway = sync.OnceValues(func() (*gateway, error) { return startGateway(freeAddr()) })

func shared(t testing.TB) *gateway {
	t.Helper()
	needGateway(t)
	g, err := theGateway()
	must(t, err)
	return g
}

// needGateway skips the test if the server is not installed, unless all must be.
func needGateway(t testing.TB) {
	t.Helper()
	if _, err := gatewayProgram(); err != nil {
		if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// gatewayProgram finds what make tools has installed.
func gatewayProgram() (string, error) {
	found, _ := filepath.Glob(filepath.Join("..", "..", ".tools", runtime.Version(), "versitygw@*"))
	if len(found) > 0 {
		return filepath.Abs(slices.Max(found))
	}
	path, err := exec.LookPath("versitygw")
	if err != nil {
		return "", errors.New("versitygw is not installed; run: make tools")
	}
	return path, nil
}

// freeAddr is an address that nobody listens on.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startGateway starts a server on an address. It keeps an object's ETag in
// extended attributes, which not every file system has.
func startGateway(addr string) (*gateway, error) {
	var errs []error
	for _, place := range []struct{ dir, sidecar string }{{"", ""}, {"/var/tmp", ""}, {"", "sidecar"}} {
		g, err := tryGateway(addr, place.dir, place.sidecar != "")
		if err == nil {
			gateways.mu.Lock()
			gateways.running = append(gateways.running, g)
			gateways.mu.Unlock()
			return g, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func tryGateway(addr, dir string, sidecar bool) (*gateway, error) {
	program, err := gatewayProgram()
	if err != nil {
		return nil, err
	}
	g := &gateway{url: "http://" + addr, exited: make(chan struct{})}
	args := []string{"--port", addr, "--access", accessKey, "--secret", secretKey, "--region", region, "--quiet", "posix"}
	for range 3 {
		d, err := os.MkdirTemp(dir, "bucket-test-")
		if err != nil {
			return nil, err
		}
		g.dirs = append(g.dirs, d)
	}
	args = append(args, "--versioning-dir", g.dirs[2])
	if sidecar {
		args = append(args, "--sidecar", g.dirs[1])
	}
	g.cmd = exec.Command(program, append(args, g.dirs[0])...)
	g.cmd.Stderr = &g.stderr
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { g.cmd.Wait(); close(g.exited) }()
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		select {
		case <-g.exited:
			g.stop()
			return nil, fmt.Errorf("start %s: %s", program, g.stderr.String())
		default:
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return g, nil
		}
	}
	g.stop()
	return nil, fmt.Errorf("start %s: it does not listen: %s", program, g.stderr.String())
}

func (g *gateway) stop() {
	g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.exited:
	case <-time.After(2 * time.Second):
		g.cmd.Process.Kill()
		<-g.exited
	}
	for _, d := range g.dirs {
		os.RemoveAll(d)
	}
}

var buckets atomic.Int64

// store is a bucket as its owner sees it: the Content of a Bucket.
type store struct {
	client *minio.Client
	bucket string
	prefix string
	notify func(string) // told of every change
	purge  bool         // remove all versions, since versitygw cannot put a key below one that has any
}

// newStore makes an empty bucket.
func newStore(t testing.TB, g *gateway) *store {
	t.Helper()
	u, err := url.Parse(g.url)
	must(t, err)
	client, err := minio.New(u.Host, newStoreOptions())
	must(t, err)
	s := &store{client: client, bucket: fmt.Sprintf("bucket-%d", buckets.Add(1)), notify: func(string) {}}
	must(t, client.MakeBucket(t.Context(), s.bucket, minio.MakeBucketOptions{Region: region}))
	return s
}

func newStoreOptions() *minio.Options {
	return &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: region}
}

// options are those of a Bucket on the store.
func (s *store) options() Options {
	return Options{
		Endpoint: s.client.EndpointURL().String(), Region: region, Bucket: s.bucket, Prefix: s.prefix,
		AccessKey: accessKey, SecretKey: secretKey,
	}
}

func (s *store) Write(path string, data []byte) error {
	_, err := s.client.PutObject(context.Background(), s.bucket, s.prefix+path, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
	s.notify(path)
	return err
}

func (s *store) below(path string) (paths []string) {
	for o := range s.objects(path, false) {
		paths = append(paths, strings.TrimPrefix(o.Key, s.prefix))
	}
	return paths
}

// objects are the one at a path and those below it, or their versions.
func (s *store) objects(path string, versions bool) iter.Seq[minio.ObjectInfo] {
	return func(yield func(minio.ObjectInfo) bool) {
		for o := range s.client.ListObjectsIter(context.Background(), s.bucket, minio.ListObjectsOptions{
			Prefix: s.prefix + path, Recursive: true, WithVersions: versions,
		}) {
			rest := strings.TrimPrefix(o.Key, s.prefix+path)
			if o.Err == nil && (rest == "" || rest[0] == '/') && !yield(o) {
				return
			}
		}
	}
}

func (s *store) Remove(path string) error {
	for _, p := range []string{path, twin(path)} {
		for o := range s.objects(p, s.purge) {
			if err := s.client.RemoveObject(context.Background(), s.bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
				return err
			}
		}
	}
	s.notify(path)
	return nil
}

func (s *store) Rename(from, to string) error {
	for _, p := range s.below(from) {
		_, err := s.client.CopyObject(context.Background(),
			minio.CopyDestOptions{Bucket: s.bucket, Object: s.prefix + to + strings.TrimPrefix(p, from)},
			minio.CopySrcOptions{Bucket: s.bucket, Object: s.prefix + p})
		if err != nil {
			return err
		}
	}
	s.notify(to)
	return s.Remove(from)
}

// Spoil puts a second object beside path that differs by letter case only.
func (s *store) Spoil(path string) error {
	if err := s.Write(twin(path), []byte("spoilt")); err != nil {
		return err
	}
	return s.Write(path, []byte("spoilt too"))
}

// twin sorts before path.
func twin(path string) string { return path[:len(path)-1] + strings.ToUpper(path[len(path)-1:]) }

// proxy stands between a Bucket and a store's server; serve may do what it wants
// with a request, or pass it on.
func proxy(t testing.TB, s *store, serve func(w http.ResponseWriter, r *http.Request, pass http.Handler)) string {
	t.Helper()
	pass := passOn(s)
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, pass) }))
	t.Cleanup(p.Close)
	return p.URL
}

func passOn(s *store) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(s.client.EndpointURL())
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

func newBucket(t testing.TB, o Options) *Bucket {
	t.Helper()
	b, err := New(o)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// list returns the files by path, and the problems by path.
func list(t testing.TB, src watcher.Source, name string) (map[string]watcher.File, map[string]string) {
	t.Helper()
	files, problems := make(map[string]watcher.File), make(map[string]string)
	for f, err := range src.List(t.Context(), name) {
		if p, ok := errors.AsType[*watcher.Problem](err); ok {
			problems[p.Path] = p.Err.Error()
			continue
		}
		must(t, err)
		if _, twice := files[f.Path]; twice {
			t.Errorf("List(%q) lists %q twice", name, f.Path)
		}
		files[f.Path] = f
	}
	return files, problems
}

func wantPaths(t testing.TB, src watcher.Source, name string, want ...string) {
	t.Helper()
	files, problems := list(t, src, name)
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) || len(problems) > 0 {
		t.Errorf("List(%q) = %q and problems %q, want %q", name, got, problems, want)
	}
}

// listErr returns what a listing ends with.
func listErr(t testing.TB, src watcher.Source) (last error) {
	t.Helper()
	for _, err := range src.List(t.Context(), "") {
		last = err
	}
	return last
}

// open writes data to path and opens it.
func open(t testing.TB, b *Bucket, s *store, path string, data []byte) watcher.Object {
	t.Helper()
	must(t, s.Write(path, data))
	files, _ := list(t, b, "")
	o, err := b.Open(t.Context(), files[path])
	must(t, err)
	t.Cleanup(func() { o.Close() })
	return o
}

// pattern is n bytes in which every place can be told from its neighbours.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16*7 + i>>8*3 + i)
	}
	return b
}

// logBuffer takes down what is logged.
type logBuffer struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package webseed

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"
	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

// fixture is a folder of content, a real catalog and a Server on them.
type fixture struct {
	dir     string
	catalog *catalog.Catalog
	server  *Server
	openErr error // what Open returns, if set before the requests
	remote  bool  // Open's Objects are no files of this machine

	mu   sync.Mutex // guards the fields below
	sent map[Kind]int64
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	c, err := catalog.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	f := &fixture{dir: tb.TempDir(), catalog: c, sent: make(map[Kind]int64)}
	f.server = New(Options{Catalog: c, Open: f.open, Sent: f.count, Log: slog.New(slog.DiscardHandler)})
	return f
}

func (f *fixture) count(_ *http.Request, _ infohash.T, kind Kind, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent[kind] += n
}

// wantSent waits until so many bytes are accounted for: a client may have all of an
// answer before the server has counted it.
func (f *fixture) wantSent(t *testing.T, webseed, direct int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		gotWebseed, gotDirect := f.sent[Webseed], f.sent[Direct]
		f.mu.Unlock()
		if gotWebseed == int64(webseed) && gotDirect == int64(direct) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d bytes by the webseed and %d directly were accounted for, want %d and %d", gotWebseed, gotDirect, webseed, direct)
			return
		}
	}
}

// fail has Open return an error from now on; nil: a file.
func (f *fixture) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.openErr = err
}

// ServeHTTP passes requests on by their prefix, as the command does.
func (f *fixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/webseed/"):
		f.server.ServeWebseed(w, r)
	case strings.HasPrefix(r.URL.Path, "/files/"):
		f.server.ServeFiles(w, r)
	default:
		http.Error(w, "the request missed both prefixes: "+r.RequestURI, http.StatusTeapot)
	}
}

func (f *fixture) start(tb testing.TB) *httptest.Server {
	tb.Helper()
	s := httptest.NewServer(f)
	tb.Cleanup(s.Close)
	return s
}

// object is a file of the fixture that notices when it changes.
type object struct {
	*os.File
	version string
}

func (o object) OSFile() *os.File { return o.File }

func (o object) Check() error {
	info, err := o.Stat()
	if err != nil {
		return err
	}
	if version(info) != o.version {
		return watcher.ErrChanged
	}
	return nil
}

// remote is an Object that is no watcher.Local, and fails its reads once it changed.
type remote struct{ watcher.Object }

func (r remote) ReadAt(p []byte, off int64) (int, error) {
	if err := r.Check(); err != nil {
		return 0, err
	}
	return r.Object.ReadAt(p, off)
}

func version(info os.FileInfo) string { return fmt.Sprint(info.Size(), info.ModTime().UnixNano()) }

func (f *fixture) open(_ context.Context, c *catalog.Content, i int) (watcher.Object, error) {
	file := c.Files[i]
	f.mu.Lock()
	err := f.openErr
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	osFile, err := os.Open(filepath.Join(f.dir, file.Path))
	if err != nil {
		return nil, err
	}
	o := object{osFile, file.Version}
	if err := o.Check(); err != nil {
		osFile.Close()
		return nil, fmt.Errorf("open %q: %w", file.Path, err)
	}
	if f.remote {
		return remote{o}, nil
	}
	return o, nil
}

// publish writes files (paths with the release's name in front) and commits
// them as one release with a real torrent.
func (f *fixture) publish(tb testing.TB, files map[string]string) catalog.Release {
	tb.Helper()
	paths := slices.SortedFunc(maps.Keys(files), watcher.ComparePaths)
	name, _, isDir := strings.Cut(paths[0], "/")
	tree := watcher.Tree{Source: "src", Name: name}
	info := metainfo.Info{Name: name, PieceLength: 16 << 10}
	var all bytes.Buffer
	var sums [][sha256.Size]byte
	for _, p := range paths {
		onDisk := filepath.Join(f.dir, p)
		if err := os.MkdirAll(filepath.Dir(onDisk), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(onDisk, []byte(files[p]), 0o644); err != nil {
			tb.Fatal(err)
		}
		sums = append(sums, sha256.Sum256([]byte(files[p])))
		stat, err := os.Stat(onDisk)
		if err != nil {
			tb.Fatal(err)
		}
		all.WriteString(files[p])
		tree.Files = append(tree.Files, watcher.File{Path: p, Size: stat.Size(), ModTime: stat.ModTime(), Version: version(stat)})
		if isDir {
			info.Files = append(info.Files, metainfo.FileInfo{Path: strings.Split(p, "/")[1:], Length: stat.Size()})
		} else {
			info.Length = stat.Size()
		}
	}
	for all.Len() > 0 {
		sum := sha1.Sum(all.Next(int(info.PieceLength)))
		info.Pieces = append(info.Pieces, sum[:]...)
	}
	infoBytes, err := bencode.Marshal(&info)
	if err != nil {
		tb.Fatal(err)
	}
	torrent, err := bencode.Marshal(metainfo.MetaInfo{InfoBytes: infoBytes})
	if err != nil {
		tb.Fatal(err)
	}
	r, err := f.catalog.Put(catalog.New{
		InfoHash: infohash.HashBytes(infoBytes), PieceLength: info.PieceLength, Tree: tree, Torrent: torrent, SHA256: sums,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// answer is an HTTP response with its body read.
type answer struct {
	*http.Response
	body string
}

// get sends a request whose target goes over the wire exactly as it is given.
func get(tb testing.TB, s *httptest.Server, method, target string, headers ...string) answer {
	tb.Helper()
	a, err := try(s, method, target, headers...)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func try(s *httptest.Server, method, target string, headers ...string) (answer, error) {
	conn, err := net.Dial(s.Listener.Addr().Network(), s.Listener.Addr().String())
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", method, target)
	for _, h := range headers {
		fmt.Fprintf(conn, "%s\r\n", h)
	}
	fmt.Fprint(conn, "\r\n")
	raw, err := io.ReadAll(conn)
	if err != nil || len(raw) == 0 {
		return answer{}, fmt.Errorf("no answer (%w)", io.ErrUnexpectedEOF)
	}
	return parse(raw, method)
}

// need skips a test whose tool is missing, unless everything is required.
func need(tb testing.TB, tool string, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
		tb.Fatalf("%s is required: %v", tool, err)
	}
	tb.Skipf("%s is not installed: %v", tool, err)
}

func needTool(tb testing.TB, tool string) string {
	tb.Helper()
	path, err := exec.LookPath(tool)
	need(tb, tool, err)
	return path
}

// pattern is n bytes in which every range is different from its neighbours.
func pattern(n int) string {
	b := make([]byte, 0, n+16)
	for i := int64(0); len(b) < n; i++ {
		b = append(strconv.AppendInt(b, i, 10), ',')
	}
	return string(b[:n])
}

// The tests of this folder start the real binary and look at it from outside:
// with stock clients, over HTTP, on disk, and by killing it. They need the
// programs that make tools installs; a test that misses one is skipped, or
// fails with DROPSEED_REQUIRE_ALL=1.
package main_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that has no deadline of its own. It
// is long because the machine may be busy, and costs nothing if all is well.
const patience = 60 * time.Second

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dropseed-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	// The tests wait for clients more than they compute.
	flag.Parse()
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < 4 {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildBinary builds dropseed once. It is built without the race detector even
// if the tests are not: they are about the program that users run.
var buildBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "dropseed")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t testing.TB) string {
	t.Helper()
	path, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// need skips the test unless the program is installed, and returns its path.
func need(t testing.TB, program string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, program+" is not installed")
	return ""
}

func missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// server is a running dropseed.
type server struct {
	t      testing.TB
	folder string
	cmd    *exec.Cmd
	client *http.Client
	scheme string        // https, or empty for http
	stdout string        // path of the file that it goes to
	exited chan struct{} // closed when the process has ended

	http, peers, udp string // addresses, as it logged them

	mu  sync.Mutex // guards the fields below
	log []string   // lines of standard error
}

// serve starts dropseed on folder and free ports of the loopback interface,
// and returns once it is serving. It is killed at the end of the test.
func serve(t testing.TB, folder string, args ...string) *server {
	t.Helper()
	s := launch(t, []string{binary(t)}, folder, append([]string{"--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "127.0.0.1:0"}, args...)...)
	s.client = &http.Client{Timeout: patience}
	s.waitServing()
	return s
}

// launch starts dropseed; command is what to start it with. An empty folder stands
// for none.
func launch(t testing.TB, command []string, folder string, args ...string) *server {
	t.Helper()
	args = append([]string{"serve", "--settle", "300ms", "--log-format", "json"}, args...)
	if folder != "" {
		args = append(args, folder)
	}
	s := &server{t: t, folder: folder, exited: make(chan struct{})}
	s.cmd = exec.Command(command[0], append(command[1:], args...)...)
	s.cmd.Env = append(os.Environ(), "DROPSEED_DHT_BOOTSTRAP=") // nobody out there
	s.stdout = filepath.Join(t.TempDir(), "stdout")
	stdout, err := os.Create(s.stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close() // the process has its own
	s.cmd.Stdout = stdout
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.collect(stderr)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of %v:\n%s", s.cmd, s.logText())
		}
	})
	return s
}

// collect keeps the log until the process has ended.
func (s *server) collect(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s.mu.Lock()
		s.log = append(s.log, lines.Text())
		s.mu.Unlock()
	}
	_ = s.cmd.Wait() // how it ended is in ProcessState
	close(s.exited)
}

func (s *server) logText() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

// logged returns the lines of the log with that level or message.
func (s *server) logged(key, value string) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []map[string]any
	for _, line := range s.log {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m[key] == value {
			found = append(found, m)
		}
	}
	return found
}

func (s *server) waitServing() {
	s.t.Helper()
	s.eventually("it is serving", func() error {
		select {
		case <-s.exited:
			s.t.Fatalf("ended instead of serving: %v\n%s", s.cmd.ProcessState, s.logText())
		default:
		}
		lines := s.logged("msg", "serving")
		if len(lines) == 0 {
			return errors.New("the log has no line serving")
		}
		s.http, s.peers, s.udp = lines[0]["http"].(string), lines[0]["peers"].(string), lines[0]["udp"].(string)
		return nil
	})
}

// kill ends the process at once, as a crash would.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.exited
}

// stop asks the process to end, waits, and returns its exit code.
func (s *server) stop() int {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // has Go print all stacks
		<-s.exited
		s.t.Fatalf("still running %v after SIGTERM", patience)
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *server) eventually(what string, check func() error) {
	s.t.Helper()
	if err := eventually(patience, check); err != nil {
		s.t.Fatalf("waited %v for that %s: %v", patience, what, err)
	}
}

// eventually calls check until it returns nil, and returns its last error.
func eventually(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// url returns the address of a path of the HTTP listener.
func (s *server) url(path string) string { return cmp.Or(s.scheme, "http") + "://" + s.http + path }

// get returns the status and body of a page.
func (s *server) get(url string) (int, []byte) {
	s.t.Helper()
	status, body, err := s.tryGet(url)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, body
}

func (s *server) tryGet(url string) (int, []byte, error) {
	resp, err := s.client.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// release is what the API says of one.
type release struct {
	Name        string `json:"name"`
	InfoHash    string `json:"info_hash"`
	Size        int64  `json:"size"`
	PieceLength int64  `json:"piece_length"`
	Files       []struct {
		Path string `json:"path"`
		Size int64  `json:"size"`
	} `json:"files"`
	TorrentURL string `json:"torrent_url"`
	Magnet     string `json:"magnet"`
	WebseedURL string `json:"webseed_url"`
	Sent       struct {
		Peers   int64 `json:"peers"`
		Webseed int64 `json:"webseed"`
		Direct  int64 `json:"direct"`
	} `json:"sent"`
}

// releases returns what is published, by name.
func (s *server) releases() (map[string]release, error) {
	status, body, err := s.tryGet(s.url("/api/v1/releases?limit=1000"))
	if err != nil {
		return nil, err
	}
	var list struct {
		Releases []release `json:"releases"`
		Total    int       `json:"total"`
	}
	if err := json.Unmarshal(body, &list); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("status %d, %v: %.200s", status, err, body)
	}
	if list.Total != len(list.Releases) {
		return nil, fmt.Errorf("total %d for %d releases", list.Total, len(list.Releases))
	}
	byName := make(map[string]release, len(list.Releases))
	for _, r := range list.Releases {
		byName[r.Name] = r
	}
	return byName, nil
}

// published waits until all names are published.
func (s *server) published(names ...string) []release {
	s.t.Helper()
	var found []release
	s.eventually(fmt.Sprintf("%q are published", names), func() error {
		all, err := s.releases()
		if err != nil {
			return err
		}
		found = found[:0]
		for _, name := range names {
			r, ok := all[name]
			if !ok {
				_, pending, _ := s.tryGet(s.url("/api/v1/pending"))
				return fmt.Errorf("%q is not among %d releases; pending: %.500s", name, len(all), pending)
			}
			found = append(found, r)
		}
		return nil
	})
	return found
}

// expectSent waits until ok holds for what was sent of a release: counters may
// run a little behind.
func (s *server) expectSent(name, rule string, ok func(r release) bool) {
	s.t.Helper()
	err := eventually(5*time.Second, func() error {
		all, err := s.releases()
		if err == nil && !ok(all[name]) {
			err = fmt.Errorf("%q of %d bytes: sent %+v, want %s", name, all[name].Size, all[name].Sent, rule)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

// run runs a client, with standard input if given, and returns what it wrote.
func run(t testing.TB, stdin string, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return string(out)
}

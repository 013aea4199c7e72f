package main_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// s3 is a running versitygw, an S3 server on a folder, with one bucket.
type s3 struct {
	t    *testing.T
	addr string
	dir  string
	cmd  *exec.Cmd
}

const (
	s3Access = "test-access"
	s3Secret = "hunter2-hunter2"
	s3Bucket = "isos"
)

// newS3 starts one; it is stopped at the end of the test.
func newS3(t *testing.T) *s3 {
	t.Helper()
	need(t, "curl")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := &s3{t: t, addr: ln.Addr().String(), dir: t.TempDir()}
	ln.Close()
	s.start()
	s.curl("PUT", "", "")
	return s
}

func (s *s3) start() {
	s.t.Helper()
	programs, _ := filepath.Glob(filepath.Join("..", "..", ".tools", runtime.Version(), "versitygw@*"))
	if len(programs) == 0 {
		missing(s.t, "versitygw is not installed; run: make tools")
	}
	s.cmd = exec.Command(slices.Max(programs), "--port", s.addr, "--access", s3Access, "--secret", s3Secret, "--quiet", "posix", s.dir)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	started := s.cmd
	s.t.Cleanup(func() { s.kill(started) })
	err := eventually(patience, func() error {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *s3) kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// curl sends a signed request about a key; body names a file, or is empty.
func (s *s3) curl(method, key, body string) {
	s.t.Helper()
	args := []string{"-sS", "--fail-with-body", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", s3Access + ":" + s3Secret,
		"-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"}
	if body != "" {
		args = append(args, "-T", body)
	}
	run(s.t, "", need(s.t, "curl"), append(args, "http://"+s.addr+"/"+s3Bucket+"/"+key)...)
}

// config writes a configuration that watches the bucket.
func (s *s3) config() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "dropseed.yaml")
	text := fmt.Sprintf(`
state: %s
watch: {rescan: 500ms}
sources:
  - type: bucket
    bucket: {name: %s, endpoint: "http://%s", region: us-east-1, prefix: public, access_key: %s, secret_key: %s}
`, s.t.TempDir(), s3Bucket, s.addr, s3Access, s3Secret)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestBucketIsSeeded publishes what lands in a bucket, without a copy of it here.
func TestBucketIsSeeded(t *testing.T) {
	t.Parallel()
	store, local := newS3(t), t.TempDir()
	put := func(key string, size int) {
		t.Helper()
		drop(t, filepath.Join(local, key), size)
		store.curl("PUT", "public/"+key, filepath.Join(local, key))
	}
	s := serveConfig(t, store.config())
	put("big.iso", 5<<20+77)
	put("set/a.bin", 300_000)
	put("set/deep/b.bin", 1_000_001)
	put("set/empty", 0)
	drop(t, filepath.Join(local, "private"), 10)
	store.curl("PUT", "private", filepath.Join(local, "private"))

	rels := s.published("big.iso", "set")
	out := aria2(t, s.torrents(rels, "url-list")...)
	curled := filepath.Join(out, "curled")
	run(t, "", need(t, "curl"), "-sS", "--fail", "-o", curled, s.url("/files/big.iso"))
	expectSame(t, filepath.Join(local, "big.iso"), curled)
	for _, r := range rels {
		expectSame(t, filepath.Join(local, r.Name), filepath.Join(out, r.Name))
		s.expectSent(r.Name, "by peers", func(r release) bool { return r.Sent.Peers >= r.Size })
	}
	if all, err := s.releases(); err != nil || len(all) != 2 {
		t.Errorf("%d releases, %v", len(all), err)
	}

	// While the server is down nothing is retired; then what changed is published.
	store.kill(store.cmd)
	time.Sleep(2 * time.Second)
	if all, err := s.releases(); err != nil || len(all) != 2 {
		t.Errorf("%d releases while the server is down, %v", len(all), err)
	}
	store.start()
	put("big.iso", 2<<20)
	s.eventually("the new big.iso is published", func() error {
		all, err := s.releases()
		if err == nil && (all["big.iso"].Size != 2<<20 || all["big.iso"].InfoHash == rels[0].InfoHash) {
			err = errors.New("not yet")
		}
		return err
	})
	store.curl("DELETE", "public/big.iso", "")
	s.eventually("big.iso is retired", func() error {
		all, err := s.releases()
		if err == nil && len(all) != 1 {
			err = fmt.Errorf("%d releases", len(all))
		}
		return err
	})
	if log := s.logText(); strings.Contains(log, s3Secret) {
		t.Error("the secret key is in the log")
	}
}

// serveConfig starts dropseed on a configuration and no folder.
func serveConfig(t *testing.T, config string, args ...string) *server {
	t.Helper()
	return serve(t, "", append([]string{"--config", config}, args...)...)
}

package main_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3 is a running S3 server with one bucket.
type s3 struct {
	t       *testing.T
	command []string
	addr    string
	dir     string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	client  *minio.Client
	cmd     *exec.Cmd
}

const (
	s3Access = "test-access"
	s3Secret = "hunter2-hunter2"
	s3Bucket = "isos"
	s3Hook   = "hook-hunter2-hook"
)

// newS3 starts versitygw, which keeps objects in a folder; it is stopped at the
// end of the test.
func newS3(t *testing.T) *s3 {
	t.Helper()
	return newS3At(t, nil, freeAddress(t), new(net.Dialer).DialContext)
}

// newS3At is newS3 with a command before its own, and reached by dial.
func newS3At(t *testing.T, before []string, addr string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *s3 {
	t.Helper()
	dir := t.TempDir()
	return startS3(t, append(before, tool(t, "versitygw"), "--port", addr, "--access", s3Access, "--secret", s3Secret, "--quiet", "posix", dir), addr, dir, dial)
}

// tool returns the path of a program that make installs.
func tool(t *testing.T, name string) string {
	t.Helper()
	programs, _ := filepath.Glob(filepath.Join("..", "..", ".tools", runtime.Version(), name+"@*"))
	if len(programs) == 0 {
		missing(t, name+" is not installed; run: make tools")
	}
	return slices.Max(programs)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// startS3 starts one by a command, which keeps its objects in a folder.
func startS3(t *testing.T, command []string, addr, dir string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *s3 {
	t.Helper()
	s := &s3{t: t, command: command, addr: addr, dir: dir, dial: dial}
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	var err error
	s.client, err = minio.New(addr, &minio.Options{
		Creds: credentials.NewStaticV4(s3Access, s3Secret, ""), Region: "us-east-1", Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	s.makeBucket()
	return s
}

func (s *s3) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.command[0], s.command[1:]...)
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s3Access, "MINIO_ROOT_PASSWORD="+s3Secret)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	started := s.cmd
	s.t.Cleanup(func() { s.kill(started) })
	err := eventually(patience, func() error {
		conn, err := s.dial(context.Background(), "tcp", s.addr)
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

func (s *s3) makeBucket() {
	s.t.Helper()
	err := eventually(patience, func() error { return s.client.MakeBucket(s.t.Context(), s3Bucket, minio.MakeBucketOptions{}) })
	if err != nil {
		s.t.Fatal(err)
	}
}

// put uploads a file.
func (s *s3) put(key, file string) {
	s.t.Helper()
	if _, err := s.client.FPutObject(s.t.Context(), s3Bucket, key, file, minio.PutObjectOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// putTree uploads a file or a directory of a folder below the prefix.
func (s *s3) putTree(folder, name string) {
	s.t.Helper()
	for path := range filesOf(s.t, folder, name) {
		s.put("public/"+path, filepath.Join(folder, path))
	}
}

func (s *s3) remove(key string) {
	s.t.Helper()
	if err := s.client.RemoveObject(s.t.Context(), s3Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// config writes a configuration that watches the bucket by way of a URL; more is
// YAML to put behind it, or the settings of the bucket for which it begins with "bucket ".
func (s *s3) config(endpoint, more string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "dropseed.yaml")
	settings, isBucket := strings.CutPrefix(more, "bucket ")
	if isBucket {
		settings, more = ", "+settings, ""
	} else {
		settings = ""
	}
	if !strings.Contains(more, "watch:") {
		more += "\nwatch: {rescan: 500ms}"
	}
	text := fmt.Sprintf(`
state: %s
sources:
  - type: bucket
    bucket: {name: %s, endpoint: "%s", region: us-east-1, prefix: public, access_key: %s, secret_key: %s, hook_secret: %s%s}
%s
`, s.t.TempDir(), s3Bucket, endpoint, s3Access, s3Secret, s3Hook, settings, more)
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
		store.put("public/"+key, filepath.Join(local, key))
	}
	s := serveConfig(t, store.config("http://"+store.addr, ""))
	put("big.iso", 5<<20+77)
	put("set/a.bin", 300_000)
	put("set/deep/b.bin", 1_000_001)
	put("set/empty", 0)
	drop(t, filepath.Join(local, "private"), 10)
	store.put("private", filepath.Join(local, "private"))

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
	store.remove("public/big.iso")
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

// TestBucketsBesideAFolder watches two buckets, one of them over TLS with an
// authority of its own, and a folder.
func TestBucketsBesideAFolder(t *testing.T) {
	t.Parallel()
	local, folder := t.TempDir(), t.TempDir()
	plain, secret := newS3(t), newS3(t)
	front := httptest.NewTLSServer(passTo(secret))
	t.Cleanup(front.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o644); err != nil {
		t.Fatal(err)
	}
	names := []string{"in a folder.iso", "in a bucket.iso", "over TLS.iso"}
	for i, name := range names {
		drop(t, filepath.Join(local, name), 300_000+i)
	}
	if err := os.Link(filepath.Join(local, names[0]), filepath.Join(folder, names[0])); err != nil {
		t.Fatal(err)
	}
	plain.put("public/"+names[1], filepath.Join(local, names[1]))
	secret.put("public/"+names[2], filepath.Join(local, names[2]))
	path := filepath.Join(t.TempDir(), "dropseed.yaml")
	config := fmt.Sprintf(`
state: %s
watch: {rescan: 500ms}
sources:
  - path: %s
  - {type: bucket, name: plain, bucket: {name: isos, endpoint: "http://%s", prefix: public/, access_key: %s, secret_key: %s}}
  - {type: bucket, name: secret, bucket: {name: isos, endpoint: "%s", ca_file: %s, addressing: path, prefix: public, access_key: %s, secret_key: %s}}
`, t.TempDir(), folder, plain.addr, s3Access, s3Secret, front.URL, ca, s3Access, s3Secret)
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serveConfig(t, path)
	s.published(names...)
	out := filepath.Join(t.TempDir(), "out")
	for _, name := range names {
		run(t, "", need(t, "curl"), "-sS", "--fail", "-o", out, s.url("/files/"+escape(name)))
		expectSame(t, filepath.Join(local, name), out)
	}
}

// serveConfig starts dropseed on a configuration and no folder.
func serveConfig(t *testing.T, config string, args ...string) *server {
	t.Helper()
	return serve(t, "", append([]string{"--config", config}, args...)...)
}

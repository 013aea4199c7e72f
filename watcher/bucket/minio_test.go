//go:build minio

package bucket

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

// TestMinIOIsASource runs the conformance kit on MinIO, whose own notifications
// are the hints.
func TestMinIOIsASource(t *testing.T) {
	programs, err := filepath.Glob(filepath.Join("..", "..", ".tools", runtime.Version(), "minio@*"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("minio is not installed; run: make test-minio (%v)", err)
	}
	addr := freeAddr()
	cmd := exec.Command(slices.Max(programs), "server", "--quiet", "--address", addr, t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey, "MINIO_REGION="+region)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	g := &gateway{url: "http://" + addr}
	client, err := minio.New(addr, newStoreOptions())
	must(t, err)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err = client.ListBuckets(t.Context()); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Run("LinksNameTheVersion", func(t *testing.T) {
		s := newStore(t, g)
		must(t, client.EnableVersioning(t.Context(), s.bucket))
		must(t, s.Write("a", []byte("old")))
		b := newBucket(t, s.options())
		files, _ := list(t, b, "")
		link, err := b.Link(t.Context(), http.MethodGet, files["a"])
		must(t, err)
		must(t, s.Write("a", []byte("new")))
		resp, err := http.Get(link)
		must(t, err)
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); string(got) != "old" {
			t.Errorf("the link gives %q, %v", got, err)
		}
	})
	watchertest.TestSource(t, func(t *testing.T) (watcher.Source, watchertest.Content) {
		s := newStore(t, g)
		s.prefix = "public/isos/"
		return newBucket(t, s.options()), s
	})
}

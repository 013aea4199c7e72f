//go:build minio

package bucket

import (
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
	t.Run("Versions", func(t *testing.T) { testVersions(t, g) })
	watchertest.TestSource(t, func(t *testing.T) (watcher.Source, watchertest.Content) {
		s := newStore(t, g)
		s.prefix = "public/isos/"
		return newBucket(t, s.options()), s
	})
}

//go:build minio

package main_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// TestMinIONotifies publishes, replaces and retires what changes in a bucket of
// MinIO at once, though it is listed once a day.
func TestMinIONotifies(t *testing.T) {
	addr, dir, local := freeAddress(t), t.TempDir(), t.TempDir()
	store := startS3(t, []string{tool(t, "minio"), "server", "--quiet", "--address", addr, dir}, addr, dir, new(net.Dialer).DialContext)
	s := serveConfig(t, store.config("http://"+addr, "watch: {rescan: 24h}"))
	s.eventually("the first listing is done", func() error {
		if status, _, err := s.tryGet(s.url("/readyz")); err != nil || status != http.StatusOK {
			return fmt.Errorf("status %d, %v", status, err)
		}
		return nil
	})
	put := func(name string, size int) {
		t.Helper()
		drop(t, filepath.Join(local, name), size)
		store.put("public/"+name, filepath.Join(local, name))
	}
	// What changes before it listens is found by the next listing alone, so the
	// first one is put until it has heard of it.
	s.eventually("it hears of a first object", func() error {
		put("first.iso", 100_000)
		time.Sleep(time.Second)
		all, err := s.releases()
		if err == nil && all["first.iso"].Size == 0 {
			err = errors.New("it is not published")
		}
		return err
	})
	began := time.Now()
	put("Größe #1 100% a+b.iso", 300_000)
	put("set/deep/a.bin", 200_000)
	rels := s.published("Größe #1 100% a+b.iso", "set")
	t.Logf("published %v after they landed", time.Since(began).Round(time.Millisecond))
	out := aria2(t, s.torrents(rels)...)
	for _, r := range rels {
		expectSame(t, filepath.Join(local, r.Name), filepath.Join(out, r.Name))
	}
	put("first.iso", 200_000)
	s.eventually("it is replaced", func() error {
		all, err := s.releases()
		if err == nil && all["first.iso"].Size != 200_000 {
			err = fmt.Errorf("it has %d bytes", all["first.iso"].Size)
		}
		return err
	})
	store.remove("public/first.iso")
	s.eventually("it is retired", func() error {
		all, err := s.releases()
		if err == nil && len(all) != 2 {
			err = fmt.Errorf("%d releases", len(all))
		}
		return err
	})
	if n := s.metric(fmt.Sprintf(`dropseed_s3_requests_total{kind="list",source="%s"}`, s3Bucket)); n > 100 {
		t.Errorf("%v listings", n)
	}
}

package bucket

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
	"dropseed/watcher/cached"
)

// BenchmarkHash makes a torrent of a large object, and beside that, in turns,
// downloads it: by parallel ranged GETs that are thrown away, the fastest way
// that there is, and by rclone where it is installed. It prints our rate, and
// how many times that of the others it is.
func BenchmarkHash(b *testing.B) {
	const size = 1 << 30
	s := newStore(b, shared(b))
	_, err := s.client.PutObject(b.Context(), s.bucket, "large.iso", io.LimitReader(zeros{}, size), size, minio.PutObjectOptions{PartSize: 64 << 20})
	must(b, err)
	src := newBucket(b, s.options())
	var tree watcher.Tree
	for f, err := range src.List(b.Context(), "") {
		must(b, err)
		tree = watcher.Tree{Name: f.Path, Files: []watcher.File{f}}
	}
	link, err := src.Link(b.Context(), http.MethodGet, tree.Files[0])
	must(b, err)
	rclone := rcloneCat(b, s)

	var ours, download, cat time.Duration
	b.SetBytes(size)
	for b.Loop() {
		start := time.Now()
		c := cached.New(src, cached.Streaming())
		_, err := torrentfile.Build(b.Context(), tree, c, torrentfile.Options{})
		must(b, err)
		must(b, c.Close())
		ours += time.Since(start)

		b.StopTimer()
		start = time.Now()
		must(b, fetchRanges(b.Context(), link, size))
		download += time.Since(start)
		if rclone != nil {
			start = time.Now()
			must(b, rclone())
			cat += time.Since(start)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(download)/float64(ours), "×download")
	if rclone != nil {
		b.ReportMetric(float64(cat)/float64(ours), "×rclone")
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// fetchRanges downloads with 16 connections, 4 MiB at a time, and throws it away.
func fetchRanges(ctx context.Context, link string, size int64) error {
	const connections, length = 16, 4 << 20
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	offsets := make(chan int64)
	errs := make(chan error, connections)
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for off := range offsets {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
				if err == nil {
					req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+length-1))
					var resp *http.Response
					if resp, err = client.Do(req); err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				}
				if err != nil {
					errs <- err
					for range offsets {
					}
					return
				}
			}
		})
	}
	for off := int64(0); off < size; off += length {
		offsets <- off
	}
	close(offsets)
	wg.Wait()
	close(errs)
	return <-errs
}

// rcloneCat returns what runs rclone cat on the object, or nil if it is not installed.
func rcloneCat(b *testing.B, s *store) func() error {
	program, err := exec.LookPath("rclone")
	if err != nil {
		b.Log("rclone is not installed")
		return nil
	}
	config := filepath.Join(b.TempDir(), "rclone.conf")
	text := fmt.Sprintf("[s3]\ntype = s3\nprovider = Other\naccess_key_id = %s\nsecret_access_key = %s\nendpoint = %s\nregion = %s\n",
		accessKey, secretKey, s.client.EndpointURL(), region)
	must(b, os.WriteFile(config, []byte(text), 0o600))
	return func() error {
		cmd := exec.Command(program, "--config", config, "cat", "s3:"+s.bucket+"/large.iso")
		cmd.Env = []string{"HOME=" + b.TempDir()} // nobody's own settings
		var text strings.Builder
		cmd.Stderr = &text
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, text.String())
		}
		return nil
	}
}

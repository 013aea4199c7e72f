package main_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// fetchFrom downloads a URL over and over on so many connections from a
// loopback address, until ctx ends, and counts the bytes in got.
func fetchFrom(ctx context.Context, address string, connections int, url string, got *atomic.Int64) {
	for range connections {
		go func() {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
			client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
				if err != nil {
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					continue
				}
				buf := make([]byte, 32<<10)
				for {
					n, err := resp.Body.Read(buf)
					got.Add(int64(n))
					if err != nil {
						break
					}
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}()
	}
}

// TestOneLimitForEverything has clients of all kinds compete for one upload
// limit: the webseed's and direct downloads', one of them with many connections.
func TestOneLimitForEverything(t *testing.T) {
	t.Parallel()
	const limit, name = 8e6, "big.iso"
	folder := t.TempDir()
	drop(t, filepath.Join(folder, name), 64<<20)
	s := serve(t, folder, "--upload-limit", "8MB/s")
	r := s.published(name)[0]
	files := s.url("/files/" + name)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var greedy, modest, seeded atomic.Int64
	fetchFrom(ctx, "127.0.0.2", 50, files, &greedy)
	fetchFrom(ctx, "127.0.0.3", 2, files, &modest)
	fetchFrom(ctx, "127.0.0.4", 2, r.WebseedURL, &seeded)
	time.Sleep(5 * time.Second) // they have come, and the webseed has found out that its client is no peer
	start, g0, m0, s0 := time.Now(), greedy.Load(), modest.Load(), seeded.Load()
	time.Sleep(6 * time.Second)
	seconds := time.Since(start).Seconds()
	g, m, w := float64(greedy.Load()-g0), float64(modest.Load()-m0), float64(seeded.Load()-s0)

	if all := g + m + w; all > 1.3*limit*seconds || all < 0.5*limit*seconds {
		t.Errorf("%.0f bytes in %.1f s at a limit of %.0f", all, seconds, limit)
	}
	if g > 2*m || m > 2*g {
		t.Errorf("50 connections got %.0f bytes, 2 got %.0f", g, m)
	}
	if direct := g + m; w > 2*direct || direct > 2*w {
		t.Errorf("the webseed sent %.0f bytes, direct downloads %.0f", w, direct)
	}
}

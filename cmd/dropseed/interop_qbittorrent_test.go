package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// qBittorrent is a running qbittorrent-nox, spoken to over its WebUI's API.
type qBittorrent struct {
	t    *testing.T
	base string
	out  string // the folder that it downloads into
}

// startQBittorrent starts one that knows no other peers than those of trackers.
// It is ended with the test.
func startQBittorrent(t *testing.T) *qBittorrent {
	t.Helper()
	program := need(t, "qbittorrent-nox")
	profile, out := t.TempDir(), t.TempDir()
	port, peers := freePort(t), freePort(t)
	config := filepath.Join(profile, "qBittorrent", "config", "qBittorrent.conf")
	text := fmt.Sprintf(`[LegalNotice]
Accepted=true
[BitTorrent]
Session\DHTEnabled=false
Session\LSDEnabled=false
Session\Port=%d
Session\DefaultSavePath=%s
[Preferences]
Connection\UPnP=false
WebUI\Address=127.0.0.1
WebUI\Port=%d
WebUI\LocalHostAuth=false
WebUI\UseUPnP=false
[RSS]
Session\EnableProcessing=true
AutoDownloader\EnableProcessing=true
`, peers, out, port)
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--profile="+profile)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%v:\n%.2000s", cmd, log.String())
		}
	})
	q := &qBittorrent{t, fmt.Sprintf("http://127.0.0.1:%d", port), out}
	if err := eventually(patience, func() error { return q.try("app/version", nil, nil) }); err != nil {
		t.Fatal(err)
	}
	return q
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// try calls a method of the API, and decodes its answer into to unless that is nil.
func (q *qBittorrent) try(method string, params url.Values, to any) error {
	req, err := http.NewRequestWithContext(q.t.Context(), "POST", q.base+"/api/v2/"+method, strings.NewReader(params.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Referer", q.base)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return fmt.Errorf("%s: status %d, %w: %.200s", method, resp.StatusCode, err, body)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(body, to)
}

func (q *qBittorrent) call(method string, params url.Values) {
	q.t.Helper()
	if err := q.try(method, params, nil); err != nil {
		q.t.Fatal(err)
	}
}

// TestQBittorrentDownloadsWhatTheFeedBrings has a rule of its RSS downloader take
// releases that are there and one that comes later, and leave another.
func TestQBittorrentDownloadsWhatTheFeedBrings(t *testing.T) {
	t.Parallel()
	q := startQBittorrent(t)
	const first, left, later = "Grüße & co <1>.iso", "other.bin", "co 2.iso"
	folder := t.TempDir()
	drop(t, filepath.Join(folder, first), 2<<20)
	drop(t, filepath.Join(folder, left), 100_000)
	s := serve(t, folder)
	s.published(first, left)

	feed := s.url("/feed.rss")
	rule, err := json.Marshal(map[string]any{"enabled": true, "mustContain": "co", "affectedFeeds": []string{feed}, "savePath": q.out})
	if err != nil {
		t.Fatal(err)
	}
	q.call("rss/setRule", url.Values{"ruleName": {"co"}, "ruleDef": {string(rule)}})
	q.call("rss/addFeed", url.Values{"url": {feed}, "path": {"feed"}})
	done := func(want ...string) {
		t.Helper()
		s.eventually(fmt.Sprintf("qBittorrent has %q", want), func() error {
			var torrents []struct {
				Name     string
				Progress float64
			}
			if err := q.try("torrents/info", nil, &torrents); err != nil {
				return err
			}
			complete := 0
			for _, torrent := range torrents {
				if torrent.Progress == 1 {
					complete++
				}
			}
			if complete != len(want) || len(torrents) != len(want) {
				return fmt.Errorf("it has %+v", torrents)
			}
			return nil
		})
		for _, name := range want {
			expectSame(t, filepath.Join(folder, name), filepath.Join(q.out, name))
		}
	}
	done(first)
	drop(t, filepath.Join(folder, later), 1<<20)
	s.published(later)
	q.call("rss/refreshItem", url.Values{"itemPath": {"feed"}})
	done(first, later)
	if _, err := os.Stat(filepath.Join(q.out, left)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what no rule names was downloaded: %v", err)
	}
}

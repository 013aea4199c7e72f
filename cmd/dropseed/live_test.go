package main_test

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// figures are what /api/v1/stats tells.
type figures struct {
	Releases int   `json:"releases"`
	Size     int64 `json:"size"`
	Swarm    struct {
		Completed int `json:"completed"`
	} `json:"swarm"`
	Sent struct {
		Peers   int64 `json:"peers"`
		Webseed int64 `json:"webseed"`
		Direct  int64 `json:"direct"`
	} `json:"sent"`
	Copies float64 `json:"copies"`
}

// getJSON decodes what a path of the API answers.
func (s *server) getJSON(path string, v any) error {
	status, body, err := s.tryGet(s.url(path))
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: status %d: %.200s", path, status, body)
	}
	return json.Unmarshal(body, v)
}

// expectFigures waits until ok holds: figures may be two seconds old.
func (s *server) expectFigures(what string, ok func(figures) bool) (f figures) {
	s.t.Helper()
	s.eventually(what, func() error {
		f = figures{}
		if err := s.getJSON("/api/v1/stats", &f); err != nil {
			return err
		}
		if !ok(f) {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	return f
}

// sentAt returns the points of the last hour at which anything was sent in a way.
func (s *server) sentAt(query, way string) (points int, err error) {
	var h struct {
		Series map[string][]*float64 `json:"series"`
	}
	err = s.getJSON("/api/v1/history?range=hour"+query, &h)
	for _, v := range h.Series[way] {
		if v != nil && *v > 0 {
			points++
		}
	}
	return points, err
}

func TestFiguresSurviveRestarts(t *testing.T) {
	t.Parallel()
	need(t, "aria2c")
	folder := dropTrees(t, single)
	s := serve(t, folder)
	rels := s.published(single)
	size := rels[0].Size
	out := aria2(t, s.torrents(rels, "url-list")...)
	expectSame(t, filepath.Join(folder, single), filepath.Join(out, single))
	downloaded := time.Now()
	direct := func() {
		t.Helper()
		if status, body := s.get(s.url("/files/" + escape(single))); status != 200 || int64(len(body)) != size {
			t.Fatalf("status %d, %d bytes", status, len(body))
		}
	}
	direct() // so that there is something to save from now on
	before := s.expectFigures("the downloads are in the figures", func(f figures) bool {
		return f.Sent.Peers >= size && f.Sent.Direct == size && f.Copies >= 2 && f.Releases == 1 && f.Size == size
	})
	s.eventually("the figures are saved", func() error {
		info, err := os.Stat(filepath.Join(folder, ".dropseed", "history"))
		if err == nil && info.ModTime().Before(downloaded) {
			err = fmt.Errorf("last at %v", info.ModTime())
		}
		return err
	})
	s.kill()

	s = serve(t, folder)
	if after := s.expectFigures("it serves", func(figures) bool { return true }); after != before {
		t.Errorf("after a crash: %+v, want %+v", after, before)
	}
	for _, query := range []string{"", "&release=" + rels[0].InfoHash} {
		if n, err := s.sentAt(query, "peers"); n == 0 {
			t.Errorf("after a crash, nothing was sent in the history%s (%v)", query, err)
		}
	}
	s.published(single)
	direct()
	if code := s.stop(); code != 0 { // at once
		t.Errorf("exit code %d", code)
	}

	s = serve(t, folder)
	s.expectFigures("it serves", func(f figures) bool {
		return f.Sent.Direct == 2*size && f.Sent.Peers == before.Sent.Peers && f.Copies >= 3
	})
	if n, err := s.sentAt("", "direct"); n == 0 {
		t.Errorf("after a stop, nothing was sent in the history (%v)", err)
	}
	all, err := s.releases()
	if r := all[single]; err != nil || r.Sent.Direct != 2*size || r.Sent.Peers != before.Sent.Peers {
		t.Errorf("the release after all: %+v, %v", r.Sent, err)
	}
}

// events reads a stream of events until it ends.
type events struct {
	resp *http.Response
	in   *bufio.Reader
}

func (s *server) events(query string) *events {
	s.t.Helper()
	resp, err := s.client.Get(s.url("/api/v1/events" + query))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("events: status %d", resp.StatusCode)
	}
	return &events{resp, bufio.NewReader(resp.Body)}
}

func (e *events) next() (kind, data string, err error) {
	for {
		line, err := e.in.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "" && kind != "":
			return kind, data, nil
		case strings.HasPrefix(line, "event: "):
			kind = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		}
	}
}

func TestEventsFollowADroppedFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := serve(t, folder, "--settle", "1500ms") // pending is looked at twice a second
	// Who does not read is no reason to wait at the end.
	stalled, err := net.Dial("tcp", s.http)
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	fmt.Fprintf(stalled, "GET /api/v1/events HTTP/1.1\r\nHost: %s\r\n\r\n", s.http)
	e := s.events("")
	var seen []string
	await := func(kind, part string) {
		t.Helper()
		for {
			k, data, err := e.next()
			if err != nil {
				t.Fatalf("waiting for %s with %s, after %q: %v", kind, part, seen, err)
			}
			if seen = append(seen, k+" "+data); k == kind && strings.Contains(data, part) {
				return
			}
		}
	}
	await("releases", `{"total":0,"size":0}`)
	drop(t, filepath.Join(folder, "new.iso"), 3<<20)
	await("pending", `"name":"new.iso"`)
	if i := slices.IndexFunc(seen, func(s string) bool { return strings.Contains(s, `{"total":1`) }); i >= 0 {
		t.Errorf("published before it was pending: %q", seen)
	}
	await("releases", `{"total":1,"size":3145728}`)
	await("stats", `"releases":1`)

	began := time.Now()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 4*time.Second { // of the five that downloads may take
		t.Errorf("the end took %v", took)
	}
	for err = nil; err == nil; {
		_, _, err = e.next()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
}

// liveSwarm is what /api/v1/releases/{info-hash}/swarm tells.
type liveSwarm struct {
	Pieces, Parts int
	Peers         []struct {
		ID, Client, Parts, Address string
		Progress, Rate             float64
	}
	Availability []float64
}

func TestSwarmShowsAPeerAndItsProgress(t *testing.T) {
	t.Parallel()
	needLibtorrent(t)
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "slow.iso"), 12<<20)
	s := serve(t, folder, "--upload-limit", "4MiB/s")
	rels := s.published("slow.iso")
	torrents := s.torrents(rels)
	done := make(chan struct{})
	go func() {
		defer close(done)
		libtorrent(t, libtorrentJob{Torrents: torrents, NoWebseeds: true, Out: t.TempDir()})
	}()
	progress := make(map[string][]float64) // of each connection: it may come twice
	client, rate, longest := "", 0.0, 0
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		case <-time.After(100 * time.Millisecond):
		}
		var sw liveSwarm
		if err := s.getJSON("/api/v1/releases/"+rels[0].InfoHash+"/swarm", &sw); err != nil {
			t.Error(err)
		}
		if sw.Parts == 0 || sw.Parts > 256 || len(sw.Availability) != sw.Parts {
			t.Errorf("%d parts, %d of availability", sw.Parts, len(sw.Availability))
		}
		for _, p := range sw.Peers {
			parts, err := base64.StdEncoding.DecodeString(p.Parts)
			if err != nil || len(parts) != sw.Parts || p.Address != "" {
				t.Errorf("peer %+v, %v", p, err)
			}
			if list := progress[p.ID]; len(list) == 0 || list[len(list)-1] != p.Progress {
				progress[p.ID] = append(list, p.Progress)
			}
			longest, rate = max(longest, len(progress[p.ID])), max(rate, p.Rate)
			if p.Client != "" {
				client = p.Client
			}
		}
	}
	if !strings.HasPrefix(client, "libtorrent ") || rate < 500_000 || longest < 3 {
		t.Errorf("client %q, at most %.0f B/s, progress %v", client, rate, progress)
	}
	for _, list := range progress {
		if !slices.IsSorted(list) {
			t.Errorf("progress falls: %v", list)
		}
	}
}

func TestAddressesAreShownIfConfigured(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "a.iso"), 100_000)
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("peers: {show_addresses: true}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder, "--config", config)
	rel := s.published("a.iso")[0]
	ih, err := hex.DecodeString(rel.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.peers)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "\x13BitTorrent protocol%s%s%s", make([]byte, 8), ih, "-qB4520-123456789012")
	s.eventually("the peer is shown", func() error {
		var sw liveSwarm
		if err := s.getJSON("/api/v1/releases/"+rel.InfoHash+"/swarm", &sw); err != nil {
			return err
		}
		if len(sw.Peers) != 1 || sw.Peers[0].Address != conn.LocalAddr().String() || sw.Peers[0].Client != "qBittorrent 4.5.2" {
			return fmt.Errorf("%+v", sw.Peers)
		}
		return nil
	})
}

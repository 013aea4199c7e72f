package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const notifySecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// notice is what is posted of an event.
type notice struct {
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		Name       string    `json:"name"`
		Source     string    `json:"source"`
		InfoHash   string    `json:"info_hash"`
		Size       int64     `json:"size"`
		CreatedAt  time.Time `json:"created_at"`
		PageURL    string    `json:"page_url"`
		TorrentURL string    `json:"torrent_url"`
		Magnet     string    `json:"magnet"`
		Previous   string    `json:"previous_info_hash"`
		Path       string    `json:"path"`
		Reason     string    `json:"reason"`
	} `json:"data"`
}

func (n notice) String() string { return n.Type + " " + n.Data.Name }

// board is a server that is posted to, and checks signatures.
type board struct {
	t      *testing.T
	url    string
	answer func() int // a status; 0 cuts the connection; nil: always 204

	mu  sync.Mutex // guards the field below
	all []notice
}

func newBoard(t *testing.T, answer func() int) *board {
	b := &board{t: t, answer: answer}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.url = s.URL + "/hook"
	return b
}

func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender was killed
	}
	hook, err := standardwebhooks.NewWebhook(notifySecret)
	if err == nil {
		err = hook.Verify(body, r.Header)
	}
	var n notice
	if err == nil {
		err = json.Unmarshal(body, &n)
	}
	if err != nil || n.ID != r.Header.Get("webhook-id") {
		b.t.Errorf("got %s with %v: %v", body, r.Header, err)
	}
	b.mu.Lock()
	b.all = append(b.all, n)
	status := http.StatusNoContent
	if b.answer != nil {
		status = b.answer()
	}
	b.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
}

func (b *board) got() []notice {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// notifyConfig writes a configuration with a section notify.
func notifyConfig(t *testing.T, section string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dropseed.yaml")
	if err := os.WriteFile(path, []byte("notify:\n  secret: "+notifySecret+"\n"+section), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNotificationsTellOfALife(t *testing.T) {
	t.Parallel()
	folder, out := t.TempDir(), filepath.Join(t.TempDir(), "told")
	b := newBoard(t, nil)
	script := filepath.Join(t.TempDir(), "tell")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$DROPSEED_EVENT $DROPSEED_NAME $DROPSEED_INFO_HASH $DROPSEED_TORRENT_URL\" >> \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := notifyConfig(t, fmt.Sprintf("  urls: [%q]\n  command: [%q, %q]\n", b.url, script, out))
	drop(t, filepath.Join(folder, "old.iso"), 1000)
	s := serve(t, folder) // nobody to tell yet
	s.published("old.iso")
	s.stop()

	s = serve(t, folder, "--config", config)
	told := func(want ...string) {
		t.Helper()
		s.eventually(fmt.Sprintf("%q are told", want), func() error {
			var have []string
			for _, n := range b.got() {
				have = append(have, n.String())
			}
			if !slices.Equal(have, want) {
				return fmt.Errorf("got %q", have)
			}
			return nil
		})
	}
	drop(t, filepath.Join(folder, "a b.iso"), 100_000)
	told("published a b.iso")
	first := s.published("a b.iso")[0]
	for _, url := range []string{b.got()[0].Data.PageURL, b.got()[0].Data.TorrentURL} {
		if status, body := s.get(url); status != http.StatusOK {
			t.Errorf("%s: %d %.100s", url, status, body)
		}
	}
	if d := b.got()[0].Data; d.InfoHash != first.InfoHash || d.Size != 100_000 || d.Magnet != first.Magnet || d.TorrentURL != first.TorrentURL {
		t.Errorf("told %+v of %+v", d, first)
	}
	drop(t, filepath.Join(folder, "a b.iso"), 200_000)
	told("published a b.iso", "retired a b.iso", "published a b.iso")
	if d := b.got()[2].Data; d.Previous != first.InfoHash {
		t.Errorf("told %+v", d)
	}
	if err := os.Remove(filepath.Join(folder, "a b.iso")); err != nil {
		t.Fatal(err)
	}
	told("published a b.iso", "retired a b.iso", "published a b.iso", "retired a b.iso")
	drop(t, filepath.Join(folder, "bad", "x\xff.iso"), 1000)
	told("published a b.iso", "retired a b.iso", "published a b.iso", "retired a b.iso", "failed bad")
	if d := b.got()[4].Data; d.Source != filepath.Base(folder) || d.Reason == "" || !strings.HasPrefix(d.Path, "bad/x") {
		t.Errorf("told %+v", d)
	}

	var lines []string
	s.eventually("the command has run", func() error {
		text, err := os.ReadFile(out)
		if lines = strings.Split(strings.TrimSpace(string(text)), "\n"); len(lines) < 5 {
			return fmt.Errorf("%q, %v", lines, err)
		}
		return nil
	})
	if len(lines) != 5 || lines[0] != "published a b.iso "+first.InfoHash+" "+first.TorrentURL || strings.TrimSpace(lines[4]) != "failed bad" {
		t.Errorf("the command was told %q", lines)
	}
	s.eventually("it is counted", func() error {
		_, metrics := s.get(s.url("/metrics"))
		for _, want := range []string{
			`dropseed_notify_deliveries_total{by="http",result="delivered"} 5`,
			`dropseed_notify_deliveries_total{by="command",result="delivered"} 5`,
			"dropseed_notify_queue_length 0", "dropseed_notify_oldest_age_seconds 0",
		} {
			if !strings.Contains(string(metrics), want) {
				return fmt.Errorf("no %s", want)
			}
		}
		return nil
	})
	if s.stop() != 0 {
		t.Error("it did not end well")
	}
	if log := s.logText(); strings.Contains(log, notifySecret) || strings.Contains(log, "/hook\"") {
		t.Error("a secret is in the log")
	}
}

func TestMissingNotifyCommandKeepsItFromStarting(t *testing.T) {
	t.Parallel()
	config := notifyConfig(t, "  command: [/nowhere/tell]\n")
	s := launch(t, []string{binary(t)}, t.TempDir(), "--config", config, "--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "127.0.0.1:0")
	<-s.exited
	if code := s.cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(s.logText(), "/nowhere/tell") {
		t.Errorf("it ended with %d", code)
	}
}

// The process is killed at many moments while trees come, change and go, and
// its receiver fails at times. In the end, each publication and retirement was
// told, always with the same id, and nothing else was.
func TestKilledAtAnyMomentTellsEverything(t *testing.T) {
	t.Parallel()
	rounds := 16
	if testing.Short() {
		rounds = 5
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng, luck := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	b := newBoard(t, func() int { return []int{0, 500, 204, 204, 204, 204, 204, 204, 204, 204, 204, 204, 204}[luck.IntN(13)] })
	config := notifyConfig(t, fmt.Sprintf("  urls: [%q]\n  events: [published, retired]\n", b.url))
	folder := t.TempDir()
	state := filepath.Join(folder, ".dropseed")
	want := map[string]bool{}
	args := []string{"--settle", "50ms", "--config", config, "--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "127.0.0.1:0"}
	for round := range rounds {
		s := launch(t, []string{binary(t)}, folder, args...)
		after := time.Duration(rng.IntN(500)) * time.Millisecond
		for i := range 1 + rng.IntN(3) {
			disturb(t, rng, folder, 10*round+i, want)
			time.Sleep(after / 3)
		}
		s.kill()
	}
	if len(b.got()) == 0 {
		t.Log("nothing was told before the last start")
	}
	s := serve(t, folder, "--settle", "50ms", "--config", config)
	var names []string
	for name := range want {
		names = append(names, name)
	}
	s.published(names...)
	s.eventually("just what there is was told", func() error {
		if _, metrics := s.get(s.url("/metrics")); !strings.Contains(string(metrics), "dropseed_notify_queue_length 0\n") {
			return errors.New("something is still to be told")
		}
		return toldAll(state, b.got())
	})
	before := len(b.got())
	s.stop()
	s = serve(t, folder, "--settle", "50ms", "--config", config)
	s.published(names...)
	s.stop()
	if after := b.got(); len(after) != before {
		t.Errorf("after everything was told, %q is told again", after[before:])
	}
	t.Logf("%d releases, %d requests", len(names), before)
}

// toldAll compares what was told with what is in the catalog.
func toldAll(state string, all []notice) error {
	type key struct {
		event, infoHash string
		created         int64 // Unix time, ns
	}
	told, ids := map[key]string{}, map[string]key{}
	for _, n := range all {
		k := key{n.Type, n.Data.InfoHash, n.Data.CreatedAt.UnixNano()}
		if other, ok := ids[n.ID]; ok && other != k || told[k] != "" && told[k] != n.ID {
			return fmt.Errorf("%v was told with the id %s, and %v with %s", k, n.ID, other, told[k])
		}
		told[k], ids[n.ID] = n.ID, k
	}
	paths, err := filepath.Glob(filepath.Join(state, "releases", "*.json"))
	if err != nil {
		return err
	}
	created, retired := map[string]int64{}, map[string]bool{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var r struct {
			InfoHash  string    `json:"info_hash"`
			CreatedAt time.Time `json:"created_at"`
			RetiredAt time.Time `json:"retired_at"`
		}
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		created[r.InfoHash], retired[r.InfoHash] = r.CreatedAt.UnixNano(), !r.RetiredAt.IsZero()
		if told[key{"published", r.InfoHash, r.CreatedAt.UnixNano()}] == "" {
			return fmt.Errorf("it was not told that %s was published", r.InfoHash)
		}
	}
	for k := range told {
		last, ok := created[k.infoHash]
		// A release that came back was published before, and retired.
		gone := ok && (retired[k.infoHash] || k.created < last)
		if !ok || k.created > last || k.event == "retired" && !gone {
			return fmt.Errorf("%v was told, and never was", k)
		}
		if gone && told[key{"retired", k.infoHash, k.created}] == "" {
			return fmt.Errorf("it was not told that %s was retired", k.infoHash)
		}
	}
	for ih, at := range created {
		if retired[ih] && told[key{"retired", ih, at}] == "" {
			return fmt.Errorf("it was not told that %s was retired", ih)
		}
	}
	return nil
}

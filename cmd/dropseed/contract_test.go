package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dropseed/webseed/site/contract"
)

// elsewhereTested are described answers that this server cannot be brought to
// give; they are held against the contract by the tests of webseed/site, but for
// the redirect, which has no body (see TestBucketModes).
var elsewhereTested = []string{"GET /readyz 200", "GET /files/{path} 307"}

// TestAnswersKeepTheContract asks a real server, with a real peer, for everything
// that the description has, and holds its answers against the description that it
// serves itself.
func TestAnswersKeepTheContract(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "big ü.iso"), 3<<20)
	drop(t, filepath.Join(folder, "set", "a b", "c#.bin"), 100_000)
	drop(t, filepath.Join(folder, "set", "empty"), 0)
	drop(t, filepath.Join(folder, "gone.iso"), 50_000)
	config := filepath.Join(t.TempDir(), "dropseed.yaml")
	text := fmt.Sprintf(`
state: %s
peers: {show_addresses: true}
sources:
  - {name: data, path: %s}
  - {type: bucket, name: isos, bucket: {name: isos, endpoint: "http://%s", access_key: a, secret_key: b, hook_secret: %s}}
`, t.TempDir(), folder, freeAddress(t), s3Hook) // nobody listens there, so it is never ready
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := launch(t, []string{need(t, "env"), "TZ=America/New_York", binary(t)}, "", "--config", config,
		"--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "127.0.0.1:0")
	s.client = &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.waitServing()
	rels := s.published("big ü.iso", "set", "gone.iso")
	if err := os.Remove(filepath.Join(folder, "gone.iso")); err != nil {
		t.Fatal(err)
	}
	status, document := s.get(s.url("/api/v1/openapi.json"))
	if status != http.StatusOK {
		t.Fatalf("the description: status %d", status)
	}
	c, err := contract.New(document)
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{s, t, c}
	hash, gone := rels[0].InfoHash, rels[2].InfoHash
	s.eventually("gone.iso is retired", func() error {
		if status, _, err := s.tryGet(s.url("/api/v1/releases/" + gone)); err != nil || status != http.StatusGone {
			return fmt.Errorf("status %d, %v", status, err)
		}
		return nil
	})
	a.withPeer(rels[0])
	a.everything(hash, gone)
	a.unavailable(folder)
	a.hook()
	a.methods(hash)
	a.events("/api/v1/events?release="+hash, "stats", "pending", "releases", "release", "swarm")
	for _, unseen := range c.Unseen() {
		if !slices.Contains(elsewhereTested, unseen) {
			t.Errorf("never answered: %s", unseen)
		}
	}
}

// asker asks a server and holds the answers against the contract.
type asker struct {
	*server
	t        *testing.T
	contract *contract.Contract
}

// ask returns the status of an answer, its headers and its body. Headers to send
// come in pairs.
func (a *asker) ask(method, path, body string, headers ...string) (int, http.Header, []byte) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url(path), strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.contract.Check(req, resp, got); err != nil {
		a.t.Error(err)
	}
	return resp.StatusCode, resp.Header, got
}

func (a *asker) want(status int, method, path, body string, headers ...string) {
	a.t.Helper()
	if got, _, text := a.ask(method, path, body, headers...); got != status {
		a.t.Errorf("%s %s: status %d, want %d: %.300s", method, path, got, status, text)
	}
}

// withPeer looks at a release while a slow peer is connected.
func (a *asker) withPeer(rel release) {
	a.t.Helper()
	hash := rel.InfoHash
	command := aria2Command(a.t, a.t.TempDir(), append(a.torrents([]release{rel}, "url-list"), "--max-download-limit=50K")...)
	client := exec.Command(command[0], command[1:]...)
	if err := client.Start(); err != nil {
		a.t.Fatal(err)
	}
	defer func() {
		_ = client.Process.Kill()
		_ = client.Wait() // it was killed
	}()
	a.eventually("there is a peer in the swarm's view", func() error {
		status, _, body := a.ask("GET", "/api/v1/releases/"+hash+"/swarm", "")
		if status != http.StatusOK || !strings.Contains(string(body), `"address":"127.0.0.1:`) {
			return fmt.Errorf("status %d: %s", status, body)
		}
		return nil
	})
	for _, path := range []string{"/api/v1/stats", "/api/v1/releases", "/api/v1/releases/" + hash, "/api/v1/history?range=hour&release=" + hash} {
		a.want(200, "GET", path, "")
	}
}

func (a *asker) everything(hash, gone string) {
	a.t.Helper()
	never := strings.Repeat("0", 40)
	for _, path := range []string{
		"/api/v1/releases", "/api/v1/releases?limit=1&offset=1&sort=size&source=data&q=s", "/api/v1/releases/" + hash,
		"/torrents/" + hash + ".torrent", "/torrents/set.torrent", "/files/big%20%C3%BC.iso", "/files/set/a%20b/c%23.bin", "/files/set/empty",
		"/api/v1/openapi.json", "/api/v1/openapi.yaml", "/feed.rss", "/feed.atom?q=set", "/feed.json?sort=name&limit=1", "/SHA256SUMS",
		"/files/set.meta4", "/files/set/a%20b/c%23.bin.meta4",
	} {
		status, h, body := a.ask("GET", path, "")
		if again, _, _ := a.ask("GET", path, "", "If-None-Match", h.Get("ETag")); status != 200 || len(body) == 0 != strings.HasSuffix(path, "empty") ||
			again != 304 && !strings.HasPrefix(path, "/api/v1/releases") { // whose figures may have changed
			a.t.Errorf("%s: status %d, then %d", path, status, again)
		}
	}
	a.eventually("figures stand still", func() error {
		for _, path := range []string{"/api/v1/releases", "/api/v1/releases/" + hash} {
			_, h, _ := a.ask("GET", path, "")
			if status, _, _ := a.ask("GET", path, "", "If-None-Match", h.Get("ETag")); status != 304 {
				return fmt.Errorf("%s: status %d", path, status)
			}
		}
		return nil
	})
	for _, want := range []struct {
		status int
		path   string
	}{
		{400, "/api/v1/releases?limit=none"}, {400, "/api/v1/releases?sort=best"}, {200, "/api/v1/releases?offset=1000"},
		{404, "/api/v1/releases/" + never}, {410, "/api/v1/releases/" + gone},
		{404, "/api/v1/releases/" + never + "/swarm"}, {410, "/api/v1/releases/" + gone + "/swarm"},
		{404, "/torrents/none.torrent"}, {410, "/torrents/" + gone + ".torrent"},
		{404, "/files/none"}, {404, "/files/set"}, {404, "/files/none.meta4"},
		{400, "/feed.rss?sort=best"}, {400, "/feed.atom?limit=0"}, {400, "/feed.json?offset=-1"}, {400, "/SHA256SUMS?q=" + strings.Repeat("q", 201)},
		{200, "/api/v1/pending"}, {400, "/api/v1/pending?offset=-1"},
		{200, "/api/v1/stats"},
		{200, "/api/v1/history?range=hour"}, {200, "/api/v1/history?range=day"}, {400, "/api/v1/history?range=year"},
		{404, "/api/v1/history?range=day&release=" + never}, {410, "/api/v1/history?range=day&release=" + gone},
		{400, "/api/v1/events?release=%zz"}, {404, "/api/v1/events?release=" + never}, {410, "/api/v1/events?release=" + gone},
		{200, "/healthz"}, {503, "/readyz"},
	} {
		a.want(want.status, "GET", want.path, "")
	}
	a.want(206, "GET", "/files/big%20%C3%BC.iso", "", "Range", "bytes=10-19")
	a.want(416, "GET", "/files/big%20%C3%BC.iso", "", "Range", "bytes=99999999-")
}

// unavailable asks for a file that is gone before the server knows.
func (a *asker) unavailable(folder string) {
	a.t.Helper()
	err := eventually(patience, func() error {
		const name = "short-lived"
		drop(a.t, filepath.Join(folder, name), 1000+time.Now().Nanosecond()%1000)
		a.published(name)
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			return err
		}
		if status, _, _ := a.ask("GET", "/files/"+name, ""); status != http.StatusServiceUnavailable {
			return fmt.Errorf("status %d", status) // it knew
		}
		return nil
	})
	if err != nil {
		a.t.Error(err)
	}
}

func (a *asker) hook() {
	a.t.Helper()
	const path = "/hooks/s3/isos?secret=" + s3Hook
	a.want(204, "POST", path, `{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"isos"},"object":{"key":"x"}}}]}`)
	a.want(204, "POST", "/hooks/s3/isos", "", "Authorization", "Bearer "+s3Hook)
	a.want(400, "POST", path, "no notification")
	a.want(401, "POST", "/hooks/s3/isos", "")
	a.want(413, "POST", path, strings.Repeat(" ", 2<<20))
}

// methods asks by all methods that are not described, and by HEAD.
func (a *asker) methods(hash string) {
	a.t.Helper()
	fill := strings.NewReplacer("{info_hash}", hash, "{release}", hash, "{path}", "set/empty", "{source}", "isos")
	for _, template := range a.contract.Paths() {
		path := fill.Replace(template) + "?range=hour"
		for _, method := range []string{"HEAD", "OPTIONS", "POST", "PUT", "DELETE"} {
			if !strings.HasPrefix(template, "/hooks/") || method != "POST" {
				a.ask(method, path, "")
			}
		}
	}
}

// events listens until all kinds of events have come, as often as one address
// may, and once more.
func (a *asker) events(path string, kinds ...string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	for streams := 0; ; streams++ {
		req, err := http.NewRequestWithContext(ctx, "GET", a.url(path), nil)
		if err != nil {
			a.t.Fatal(err)
		}
		resp, err := a.client.Do(req)
		if err != nil {
			a.t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || streams == 100 {
			body, err := io.ReadAll(resp.Body)
			if err == nil {
				err = a.contract.Check(req, resp, body)
			}
			if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
				a.t.Errorf("after %d streams: status %d, %v", streams, resp.StatusCode, err)
			}
			return
		}
		var seen, kind string
		lines := bufio.NewScanner(resp.Body)
		for missing := slices.Clone(kinds); len(missing) > 0; {
			if !lines.Scan() {
				a.t.Fatalf("the stream ended before there was any %q: %v", missing, lines.Err())
			}
			seen += lines.Text() + "\n"
			if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = k
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := a.contract.Event("/api/v1/events", kind, []byte(data)); err != nil {
					a.t.Error(err)
				}
				missing = slices.DeleteFunc(missing, func(k string) bool { return k == kind })
			}
		}
		if err := a.contract.Check(req, resp, []byte(seen)); err != nil {
			a.t.Error(err)
		}
	}
}

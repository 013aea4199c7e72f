package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dropseed/configs"
)

// newTestServer composes a server that is not run.
func newTestServer(t testing.TB, change func(c *configs.Config)) *server {
	t.Helper()
	c := configs.Default()
	dir := t.TempDir()
	c.State = filepath.Join(dir, "state")
	c.Sources = []configs.Source{{Name: "drop", Type: configs.TypeFolder, Path: filepath.Join(dir, "drop"), Watch: c.Watch}}
	c.HTTP.Listen, c.Peers.Listen, c.Tracker.UDP = "127.0.0.1:0", "127.0.0.1:0", ""
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// pipeListener gives a server one end of pipes, on which time is synctest's.
type pipeListener chan net.Conn

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func TestAClientThatReadsNothingIsCut(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/api/v1/releases", "/SHA256SUMS", "/metrics", "/announce"} {
		s := newTestServer(t, nil)
		synctest.Test(t, func(t *testing.T) {
			l := make(pipeListener)
			go s.http.Serve(l)
			defer close(l)
			client, serverEnd := net.Pipe()
			defer client.Close()
			l <- serverEnd
			fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			time.Sleep(answerTime + time.Second)
			if got, err := io.ReadAll(client); err != nil || len(got) > 0 {
				t.Errorf("%s: the client still gets %d bytes, %v", path, len(got), err)
			}
		})
	}
}

// However a path is spelled, nobody gets at what they may not see, wherever the
// router takes them.
func FuzzNoSpellingGetsPast(f *testing.F) {
	const viewer, operator = "viewer-token-0123456789", "operator-token-0123456789"
	private := func(c *configs.Config) {
		c.Access.Catalog, c.Access.Operator = configs.Private, configs.Private
		c.Access.Tokens, c.Access.OperatorTokens = []configs.Secret{viewer}, []configs.Secret{operator}
		c.Limits.Requests.Rate = 0
	}
	s := newTestServer(f, private)
	for _, path := range []string{
		"/", "/metrics", "/%6detrics", "//metrics", "/metrics/", "/status", "/st%61tus", "/api/v1/pending", "/%61pi/v1/pending",
		"//api/v1/pending", "/api//v1/pending", "/releases/../api/v1/pending", "/api/v1/releases/../pending", "/api/v1/releases/%2e%2e/pending",
		"/webseed/../metrics", "/assets/../metrics", "/healthz/../metrics", "/announce/../metrics", "/announce/metrics", "/x/announce",
		"/api/v1/releases/0123456789012345678901234567890123456789/swarm", "/files/x", "/%66iles/x", "/token/x/metrics", "/token/" + viewer + "/metrics",
		"/token/" + viewer + "/", "/token/" + viewer + "//token/x/api/v1/pending", "/metrics?token=" + viewer, "*", "http://x/metrics", "/metrics;x", "/metrics%00", "/hooks/x", "/scrape",
		"/%74oken/x/healthz", "/assets%2f..%2f..%2fmetrics",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if strings.ContainsAny(target, " \r\n") || strings.Contains(target, operator) {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		r.RemoteAddr = "203.0.113.7:1"
		if err := s.openAccess(); err != nil { // without memory of guesses
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if err := recover(); err != nil && err != http.ErrAbortHandler {
					panic(err)
				}
			}()
			s.route(w, r)
		}()
		body, _ := io.ReadAll(w.Result().Body)
		if strings.Contains(string(body), "go_goroutines") || strings.Contains(string(body), `{"pending"`) ||
			strings.Contains(string(body), `"started_at"`) || strings.Contains(string(body), `data-page="status"`) {
			t.Fatalf("%q shows what is the operator's", target)
		}
		// Whoever has a token of the catalog may see that it is empty.
		if w.Code < 400 && !strings.Contains(target, viewer) {
			switch text := string(body); {
			case text == "ok\n", strings.HasPrefix(text, "ready"), strings.HasPrefix(text, "d"), text == "":
				// A probe, the tracker's answer, or nothing.
			default:
				t.Fatalf("%q: status %d: %.200s", target, w.Code, body)
			}
		}
	})
}

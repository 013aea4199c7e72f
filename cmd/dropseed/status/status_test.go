package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
)

// server answers as a dropseed with one pending tree and n releases does.
func server(t *testing.T, n int, allow func(*http.Request) bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allow(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/below/api/v1/stats":
			io.WriteString(w, `{"version":"1.2","started_at":"2026-01-02T03:04:05Z","releases":7,"size":1234000000,"pending":1,
				"swarm":{"seeders":3,"leechers":4,"completed":5,"connected":6},"sent":{"peers":1000,"webseed":2000,"direct":3000},
				"copies":1.04,"peers_share":0.83,"rates":{"peers":10.5,"webseed":20,"direct":30,"carried":4000}}`)
		case "/below/api/v1/pending":
			io.WriteString(w, `{"pending":[{"name":"new.iso","source":"iso","state":"hashing","done":250,"total":1000},
				{"name":"bad\u001b[2J","source":"iso","state":"problem","reason":"a link that leads outside","done":0,"total":0}]}`)
		case "/below/api/v1/releases":
			if q := r.URL.Query(); q.Get("sort") != "peers" || q.Get("limit") != "10" {
				t.Errorf("asked for %s", r.URL)
			}
			rel := func(i int) string {
				return fmt.Sprintf(`{"name":"release-%d.iso","info_hash":"%040d","size":5000000,"copies":1.5,"peers_share":0.5,
					"swarm":{"seeders":1,"leechers":2,"completed":3,"connected":2,"progress":0.25},"files":[{"path":"x","size":1}]}`, i, i)
			}
			var list []string
			for i := range n {
				list = append(list, rel(i))
			}
			fmt.Fprintf(w, `{"releases":[%s],"total":%d}`, strings.Join(list, ","), n)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func everybody(*http.Request) bool { return true }

func client(t *testing.T, url, token string) *Client {
	t.Helper()
	c, err := New(url, token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTextSaysWhatTheServerDoes(t *testing.T) {
	c := client(t, server(t, 2, everybody).URL+"/below/", "")
	s, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := s.Text(0, 0, Looks{})
	for _, want := range []string{
		"dropseed 1.2 at http://127.0.0.1", "7, 1.2 GB", "60 B/s (peers 10 B/s, webseed 20 B/s, direct 30 B/s)", "4.0 kB/s, 83 %",
		"6.0 kB (peers 1.0 kB, webseed 2.0 kB, direct 3.0 kB)", "1.04", "3 other seeders, 4 leechers, 6 connected here, 5 downloads",
		"Not published yet (2)", "new.iso", "[#####...............]  25 % 250 B of 1.0 kB", "a link that leads outside", "bad·[2J",
		"release-0.iso", "release-1.iso", "25 %",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if strings.ContainsRune(text, '\x1b') {
		t.Errorf("what the server says reaches the terminal as it is: %q", text)
	}
	if b, err := json.Marshal(s); err != nil || !bytes.Contains(b, []byte(`"rates":{"peers":10.5`)) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestTextFitsTheTerminal(t *testing.T) {
	s, err := client(t, server(t, 10, everybody).URL+"/below", "").Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		s.Pending = append(s.Pending, s.Pending[0])
	}
	s.Releases[0].Name = strings.Repeat("長い名前", 50)
	for width := 1; width < 130; width += 3 {
		for _, height := range []int{0, 1, 10, 24, 50} {
			lines := strings.Split(strings.TrimSuffix(s.Text(width, height, looks()), "\n"), "\n")
			for _, line := range lines {
				if n := ansi.StringWidth(line); n > width {
					t.Fatalf("width %d: %d columns: %q", width, n, line)
				}
			}
			if height >= 24 && len(lines) > height {
				t.Errorf("height %d: %d lines", height, len(lines))
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	s := server(t, 1, func(r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		return user == "ada" && password == "secret" || r.Header.Get("Authorization") == "Bearer letmein"
	})
	base := s.URL + "/below"
	withUser := strings.Replace(base, "://", "://ada:secret@", 1)
	for _, row := range []struct {
		url, token string
		ok         bool
	}{{withUser, "", true}, {withUser, "wrong", true}, {base, "letmein", true}, {base, "", false}, {strings.Replace(base, "://", "://ada:wrong@", 1), "", false}} {
		c := client(t, row.url, row.token)
		snapshot, err := c.Fetch(t.Context())
		if (err == nil) != row.ok {
			t.Errorf("%s: %v", row.url, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "DROPSEED_TOKEN") || strings.Contains(err.Error(), "wrong")) {
			t.Errorf("the error is no help, or has the password: %v", err)
		}
		if strings.Contains(snapshot.URL, "secret") {
			t.Errorf("the snapshot has the password: %s", snapshot.URL)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer garbage.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for url, want := range map[string]string{
		closed.URL: "is it running?", garbage.URL: "something else", other.URL: "it is no dropseed", strings.TrimPrefix(closed.URL, "http://"): "is it running?",
	} {
		if _, err := client(t, url, "").Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	for _, url := range []string{"", "ftp://a", "http://", "http://a:b:c", "http://u:pass word@a/%zz"} {
		if _, err := New(url, ""); err == nil || strings.Contains(err.Error(), "pass word") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// What a server says of its own of a status does not reach the terminal.
func TestErrorsHoldNothingOfTheServers(t *testing.T) {
	for _, code := range []int{401, 500} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 %d \x1b[2J\r\nContent-Length: 0\r\n\r\n", code)
		}))
		_, err := client(t, s.URL, "").Fetch(t.Context())
		if err == nil || strings.ContainsRune(err.Error(), '\x1b') || !strings.Contains(err.Error(), fmt.Sprint(code)) {
			t.Errorf("%q", err)
		}
		s.Close()
	}
}

// The model alone, by the messages that it gets.
func TestModelAsksAgainAndKeepsTheLast(t *testing.T) {
	first := Snapshot{URL: "http://x", At: time.Now()}
	first.Stats.Releases = 1
	second := first
	second.Stats.Releases = 22
	answers := []answer{{second, nil}, {Snapshot{}, errors.New("http://x does not answer")}, {second, nil}}
	var m tea.Model = newModel(first, func() (Snapshot, error) {
		a := answers[0]
		answers = answers[1:]
		return a.snapshot, a.err
	}, Looks{})
	if m.Init() == nil {
		t.Fatal("the next answer is never asked for")
	}
	m, _ = m.Update(tea.WindowSizeMsg{Width: 100, Height: 30})
	for i, want := range [][]string{{"22, "}, {"22, ", "http://x does not answer"}, {"22, "}} {
		var ask tea.Cmd
		m, ask = m.Update(due{})
		if ask == nil {
			t.Fatal("nothing is asked when it is time to")
		}
		var wait tea.Cmd
		if m, wait = m.Update(ask()); wait == nil {
			t.Error("nothing follows an answer")
		}
		for _, text := range want {
			if !strings.Contains(m.View(), text) {
				t.Errorf("after answer %d the view lacks %q:\n%s", i, text, m.View())
			}
		}
		if len(want) == 1 && strings.Contains(m.View(), "does not answer") {
			t.Errorf("after answer %d the view still shows an error", i)
		}
	}
	for _, key := range []tea.KeyMsg{{Type: tea.KeyRunes, Runes: []rune("q")}, {Type: tea.KeyEsc}, {Type: tea.KeyCtrlC}} {
		_, cmd := m.Update(key)
		if cmd == nil {
			t.Fatalf("%v does nothing", key)
		}
		if _, ok := cmd().(tea.QuitMsg); !ok {
			t.Errorf("%v does not quit", key)
		}
	}
	if _, cmd := m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("x")}); cmd != nil {
		t.Error("any key does something")
	}
}

// The program as it runs, with a pipe in place of the terminal.
func TestWatchRefreshesUntilQ(t *testing.T) {
	asked := make(chan struct{}, 100)
	s := server(t, 1, func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/stats") {
			asked <- struct{}{}
		}
		return true
	})
	c := client(t, s.URL+"/below", "")
	first, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	in, keys := io.Pipe()
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, c, first, in, &out) }()
	for range 3 { // the first, and two more
		select {
		case <-asked:
		case <-ctx.Done():
			t.Fatal("it does not ask again")
		}
	}
	if _, err := keys.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "release-0.iso") {
		t.Errorf("it showed %q", out.String())
	}
	if ctx.Err() != nil {
		t.Error("q did not end it")
	}
}

func TestLongListsAreAskedForLessOften(t *testing.T) {
	lists := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/releases":
			lists++
			files := strings.Repeat(`{"path":"x","size":1},`, 100_000)
			fmt.Fprintf(w, `{"releases":[{"name":"a","files":[%s{"path":"y","size":1}]}],"total":1}`, files)
		default:
			io.WriteString(w, "{}")
		}
	}))
	defer s.Close()
	c := client(t, s.URL, "")
	for range 3 {
		got, err := c.Fetch(t.Context())
		if err != nil || len(got.Releases) != 1 || got.Releases[0].Name != "a" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if lists != 1 {
		t.Errorf("a long list was asked for %d times in a row", lists)
	}
}

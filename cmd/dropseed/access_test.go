package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Who asks, in the tests of access.
const (
	viewerToken   = "viewer-token-0123456789"
	operatorToken = "operator-token-0123456789"
)

// plain is a release whose name is the same however it is written.
const plain = "plain.iso"

func dropPlain(t testing.TB, more ...string) (folder string) {
	t.Helper()
	folder = dropTrees(t, more...)
	drop(t, filepath.Join(folder, plain), 1<<20)
	return folder
}

// configured returns arguments for a server with a configuration.
func configured(t testing.TB, yaml string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", path}
}

// account makes an account's line.
func account(t testing.TB, name, password string) string {
	t.Helper()
	return run(t, password+"\n", binary(t), "account", "hash", name)
}

// accountFiles writes files of the accounts ann (viewer) and bob (operator).
func accountFiles(t testing.TB) (accounts, operators string) {
	t.Helper()
	dir := t.TempDir()
	accounts, operators = filepath.Join(dir, "accounts"), filepath.Join(dir, "operators")
	for path, name := range map[string]string{accounts: "ann", operators: "bob"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(name+"'s password"), bcrypt.MinCost) // quick to check
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name+":"+string(hash)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return accounts, operators
}

// ask sends a GET with headers and does not follow redirects.
func (s *server) ask(target string, headers ...string) (*http.Response, []byte) {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := *s.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, body
}

// withQuery adds a query to a path that may have one.
func withQuery(path, query string) string {
	if query == "" {
		return path
	}
	if strings.Contains(path, "?") {
		return path + "&" + query
	}
	return path + "?" + query
}

func TestAccessOfEveryPath(t *testing.T) {
	t.Parallel()
	accounts, operators := accountFiles(t)
	both := fmt.Sprintf("accounts: %q, operators: %q, tokens: [%s], operator_tokens: [%s]", accounts, operators, viewerToken, operatorToken)
	type identity struct {
		name, query string
		basic       [2]string
		level       int // 0: nobody, 1: may see the catalog, 2: everything
	}
	identities := []identity{
		{name: "nobody"},
		{name: "ann", basic: [2]string{"ann", "ann's password"}, level: 1},
		{name: "bob", basic: [2]string{"bob", "bob's password"}, level: 2},
		{name: "a token", query: "token=" + viewerToken, level: 1},
		{name: "an operator's token", query: "token=" + operatorToken, level: 2},
		{name: "a guess", basic: [2]string{"bob", "ann's password"}},
	}
	for _, row := range []struct {
		name, yaml                string
		catalogFrom, operatorFrom int // the level that it takes
	}{
		{"public", "{}", 0, 0},
		{"operator private", fmt.Sprintf("{operator: private, operators: %q, operator_tokens: [%s]}", operators, operatorToken), 0, 2},
		{"operator local", "{operator: local}", 0, 9},
		{"catalog private", "{catalog: private, " + both + "}", 1, 1},
		{"all private", "{catalog: private, operator: private, " + both + "}", 1, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			// Every request comes from another address, so that wrong ones are not too many.
			s := serve(t, dropPlain(t), configured(t, "http: {trusted_proxies: [127.0.0.1]}\naccess: "+row.yaml)...)
			local := []string{}
			if row.operatorFrom != 9 {
				local = []string{"X-Forwarded-For", "198.51.100.1"}
			}
			var ih string
			s.eventually("it is published", func() error {
				target := withQuery(s.url("/api/v1/releases"), "token="+operatorToken)
				_, body := s.ask(target, local...)
				var list struct{ Releases []release }
				if err := json.Unmarshal(body, &list); err != nil || len(list.Releases) == 0 {
					return fmt.Errorf("%v: %.300s", err, body)
				}
				ih = list.Releases[0].InfoHash
				return nil
			})
			kinds := map[string][]string{
				"open": {"/webseed/" + ih + "/nothing", "/announce?info_hash=x", "/scrape", "/healthz", "/readyz", "/assets/x"},
				"catalog": {"/", "/?q=x", "/releases/" + plain, "/torrents/" + ih + ".torrent", "/files/" + plain, "/files/" + plain + ".meta4",
					"/api/v1/releases", "/api/v1/releases/" + ih, "/api/v1/openapi.json", "/feed.rss", "/feed.atom", "/feed.json", "/SHA256SUMS", "/nothing", "/%66iles/" + plain},
				"operator": {"/metrics", "/m%65trics", "/status", "/api/v1/pending", "/%61pi/v1/pending", "/api/v1/stats", "/api/v1/history?range=hour", "/api/v1/releases/" + ih + "/swarm",
					"/api/v1/releases/" + ih + "%2fswarm"},
			}
			address := 0
			for kind, paths := range kinds {
				from := map[string]int{"open": 0, "catalog": row.catalogFrom, "operator": row.operatorFrom}[kind]
				for _, path := range paths {
					for _, who := range identities {
						address++
						headers := []string{"X-Forwarded-For", fmt.Sprintf("203.0.%d.%d", 113+address/250, 1+address%250)}
						if who.basic[0] != "" {
							r := http.Request{Header: http.Header{}}
							r.SetBasicAuth(who.basic[0], who.basic[1])
							headers = append(headers, "Authorization", r.Header.Get("Authorization"))
						}
						resp, body := s.ask(withQuery(s.url(path), who.query), headers...)
						if row.name == "operator private" && who.level == 1 {
							who.level = 0 // is not known there
						}
						switch status := resp.StatusCode; {
						case who.level >= from && (status == 401 || status == 403 || status == 429):
							t.Errorf("%s %s: refused with status %d: %.200s", who.name, path, status, body)
						case who.level < from && from != 9 && who.level > 0 && status != 403:
							t.Errorf("%s %s: status %d, want 403: %.200s", who.name, path, status, body)
						case who.level < from && from != 9 && who.level == 0 && (status != 401 || resp.Header.Get("WWW-Authenticate") == ""):
							t.Errorf("%s %s: status %d, want 401: %.200s", who.name, path, status, body)
						case from == 9 && status != 403:
							t.Errorf("%s %s: status %d, want 403: %.200s", who.name, path, status, body)
						}
						if got := resp.Header.Get("Content-Type"); who.level < from && strings.Contains(path, "pi/v1/") && got != "application/problem+json" {
							t.Errorf("%s %s: a refusal of the API of type %q", who.name, path, got)
						}
						if kind == "catalog" && from > 0 {
							if cors := resp.Header.Get("Access-Control-Allow-Origin"); cors != "" {
								t.Errorf("%s %s: pages on other sites may read it: %q", who.name, path, cors)
							}
							cache := resp.Header.Get("Cache-Control")
							if !strings.Contains(cache, "private") && !strings.Contains(cache, "no-store") {
								t.Errorf("%s %s: status %d with Cache-Control %q", who.name, path, resp.StatusCode, cache)
							}
						}
					}
				}
			}
			// This machine itself is local.
			if resp, _ := s.ask(s.url("/metrics")); row.operatorFrom == 9 && resp.StatusCode != 200 {
				t.Errorf("from this machine: status %d", resp.StatusCode)
			}
			if log := s.logText(); strings.Contains(log, viewerToken) || strings.Contains(log, operatorToken) || strings.Contains(log, "password") {
				t.Error("the log holds secrets")
			}
		})
	}
}

// A browser's question whether it may ask passes everywhere, so its answer must
// tell nothing.
func TestOptionsTellNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, dropPlain(t), configured(t, "access: {operator: private, operator_tokens: ["+operatorToken+"]}")...)
	ih := s.published(plain)[0].InfoHash
	for _, path := range []string{"/metrics", "/m%65trics", "/status", "/api/v1/pending", "/api/v1/stats", "/api/v1/history?range=hour", "/api/v1/events", "/api/v1/releases/" + ih + "/swarm"} {
		req, err := http.NewRequest(http.MethodOptions, s.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusMethodNotAllowed || strings.Contains(string(body), "dropseed_") {
			t.Errorf("%s: status %d, %v: %.300s", path, resp.StatusCode, err, body)
		}
	}
}

func TestIndexShowsWhatIsPendingToOperatorsOnly(t *testing.T) {
	t.Parallel()
	folder := dropPlain(t)
	s := serve(t, folder, append(configured(t, "access: {operator: private, operator_tokens: ["+operatorToken+"]}"), "--settle", "1h")...)
	page := func(headers ...string) string {
		_, body := s.ask(s.url("/"), headers...)
		return string(body)
	}
	s.eventually("operators see it", func() error {
		if text := page("Authorization", "Bearer "+operatorToken); !strings.Contains(text, plain) {
			return fmt.Errorf("%.500s", text)
		}
		return nil
	})
	if strings.Contains(page(), plain) {
		t.Error("everybody sees it")
	}
}

func TestTokenIsCarriedOnToWherePeopleGo(t *testing.T) {
	t.Parallel()
	need(t, "aria2c")
	folder := dropPlain(t, nested)
	s := serve(t, folder, configured(t, "log: {level: debug}\naccess: {catalog: private, tokens: ["+viewerToken+"]}")...)
	var list struct{ Releases []release }
	s.eventually("it is published", func() error {
		_, body := s.ask(s.url("/api/v1/releases?token=" + viewerToken))
		if err := json.Unmarshal(body, &list); err != nil || len(list.Releases) != 2 {
			return fmt.Errorf("%d releases, %v", len(list.Releases), err)
		}
		return nil
	})
	for _, r := range list.Releases {
		if !strings.HasPrefix(r.TorrentURL, s.url("/token/"+viewerToken+"/torrents/")) {
			t.Errorf("the torrent of %q is at %s", r.Name, r.TorrentURL)
		}
		resp, torrent := s.ask(r.TorrentURL)
		if resp.StatusCode != 200 {
			t.Fatalf("GET %s: status %d", r.TorrentURL, resp.StatusCode)
		}
		for what, text := range map[string]string{"torrent": string(torrent), "magnet": r.Magnet, "webseed": r.WebseedURL} {
			if plain, err := url.QueryUnescape(text); strings.Contains(text, viewerToken) || err == nil && strings.Contains(plain, viewerToken) {
				t.Errorf("the %s of %q, which people pass on, holds the token", what, r.Name)
			}
		}
		out := aria2(t, r.TorrentURL)
		expectSame(t, filepath.Join(folder, r.Name), filepath.Join(out, r.Name))
	}

	// So do the feeds, and the documents that they lead to.
	for _, path := range []string{"/feed.rss", "/feed.atom", "/feed.json", "/files/" + plain + ".meta4"} {
		resp, body := s.ask(s.url(withQuery(path, "token="+viewerToken)))
		urls := regexp.MustCompile(regexp.QuoteMeta(s.url("/"))+`[^"<>\\ ]*`).FindAllString(string(body), -1)
		if resp.StatusCode != 200 || len(urls) == 0 {
			t.Errorf("%s: status %d, %d URLs: %.500s", path, resp.StatusCode, len(urls), body)
		}
		for _, u := range urls {
			u = html.UnescapeString(u)
			if resp, _ := s.ask(u); resp.StatusCode != 200 && !strings.Contains(u, "/announce") && !strings.Contains(u, "/webseed/") {
				t.Errorf("%s leads to %s: status %d", path, u, resp.StatusCode)
			}
		}
	}
	resp, _ := s.ask(s.url("/files/"+plain), "Authorization", "Bearer "+viewerToken)
	if link := resp.Header.Get("Link"); resp.StatusCode != 200 || link == "" || strings.Contains(link, viewerToken) {
		t.Errorf("a token in a header: status %d, Link %q", resp.StatusCode, link)
	}

	// A browser goes on with the token in the path, so that relative links carry it on.
	resp, _ = s.ask(s.url("/?q=x&token="+viewerToken), "Accept", "text/html")
	if got, want := resp.Header.Get("Location"), "/token/"+viewerToken+"/?q=x"; resp.StatusCode != http.StatusSeeOther || got != want {
		t.Errorf("status %d to %q, want a redirect to %q", resp.StatusCode, got, want)
	}
	resp, page := s.ask(s.url("/token/"+viewerToken+"/"), "Accept", "text/html")
	if resp.StatusCode != 200 || !bytes.Contains(page, []byte(`href="/token/`+viewerToken+`/files/`+plain)) {
		t.Errorf("status %d, page:\n%s", resp.StatusCode, page)
	}
	if resp, _ = s.ask(s.url("/token/" + viewerToken + "/files/" + plain)); resp.StatusCode != 200 || resp.ContentLength == 0 {
		t.Errorf("a link of the page: status %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
	// Everybody else has to log in, and is told so.
	resp, page = s.ask(s.url("/"), "Accept", "text/html")
	if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !bytes.Contains(page, []byte("This catalog is private.")) {
		t.Errorf("status %d, %v:\n%s", resp.StatusCode, resp.Header, page)
	}
	if resp, page = s.ask(s.url("/files/" + plain)); !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || len(page) > 300 {
		t.Errorf("for a program: %v\n%s", resp.Header, page)
	}
	if log := s.logText(); strings.Contains(log, viewerToken) {
		t.Errorf("the log holds the token:\n%s", log)
	}
}

func TestAccountsChangeWhileServing(t *testing.T) {
	t.Parallel()
	accounts, operators := accountFiles(t)
	s := serve(t, dropPlain(t), configured(t, fmt.Sprintf("access: {catalog: private, accounts: %q, operators: %q}", accounts, operators))...)
	became := func(want int, user, password string) {
		t.Helper()
		s.eventually(fmt.Sprintf("%s gets status %d", user, want), func() error {
			r := http.Request{Header: http.Header{}}
			r.SetBasicAuth(user, password)
			if resp, _ := s.ask(s.url("/"), "Authorization", r.Header.Get("Authorization")); resp.StatusCode != want {
				time.Sleep(300 * time.Millisecond) // guesses are counted
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		})
	}
	became(200, "ann", "ann's password")
	if err := os.WriteFile(accounts, []byte(account(t, "ann", "another password")), 0o600); err != nil {
		t.Fatal(err)
	}
	became(200, "ann", "another password")
	became(401, "ann", "ann's password")
	if err := os.WriteFile(accounts, []byte("ann:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.eventually("there is a warning", func() error {
		s.ask(s.url("/"), "Authorization", "Basic eDp5")
		if len(s.logged("level", "WARN")) == 0 {
			time.Sleep(300 * time.Millisecond)
			return fmt.Errorf("none in the log")
		}
		return nil
	})
	became(200, "ann", "another password")
	if strings.Contains(s.logText(), "secret") {
		t.Error("the log tells what was in the file")
	}
}

func TestGuessersAreTurnedAway(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, path, accept string }{
		{"a program", "/files/" + plain, "*/*"},
		{"a browser", "/", "text/html,*/*"}, // which gets a page
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			testGuessersAreTurnedAway(t, row.path, row.accept)
		})
	}
}

func testGuessersAreTurnedAway(t *testing.T, path, accept string) {
	accounts, _ := accountFiles(t)
	s := serve(t, dropPlain(t), configured(t, fmt.Sprintf("http: {trusted_proxies: [127.0.0.1]}\naccess: {catalog: private, accounts: %q}", accounts))...)
	counts := map[int]int{}
	began := time.Now()
	var last *http.Response
	for i := range 60 {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth("ann", fmt.Sprint("guess ", i))
		last, _ = s.ask(s.url(path), "Authorization", r.Header.Get("Authorization"), "X-Forwarded-For", "203.0.113.7", "Accept", accept)
		counts[last.StatusCode]++
	}
	most := 11 + int(time.Since(began)/(6*time.Second))
	if counts[401] < 10 || counts[401] > most || counts[401]+counts[429] != 60 {
		t.Errorf("60 guesses: %v, want 10 to %d looked at", counts, most)
	}
	if wait, err := strconv.Atoi(last.Header.Get("Retry-After")); last.StatusCode == 429 && (err != nil || wait < 1 || wait > 6) {
		t.Errorf("Retry-After %q", last.Header.Get("Retry-After"))
	}
	t.Logf("60 guesses in %v: %v", time.Since(began), counts)
}

func TestRequestsAreLimited(t *testing.T) {
	t.Parallel()
	s := serve(t, dropPlain(t), configured(t, "http: {trusted_proxies: [127.0.0.1]}\nlimits: {requests: {rate: 0.01, burst: 5}}")...)
	r := s.published(plain)[0]
	allowed := func(path, from string) (n int) {
		for range 8 {
			resp, body := s.ask(s.url(path), "X-Forwarded-For", from)
			if resp.StatusCode != 429 {
				n++
			} else if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || wait < 1 || len(body) == 0 {
				t.Errorf("%s: Retry-After %q, %.100s", path, resp.Header.Get("Retry-After"), body)
			}
		}
		return n
	}
	for i, path := range []string{"/", "/releases/" + plain, "/torrents/" + r.InfoHash + ".torrent", "/api/v1/releases", "/api/v1/pending", "/metrics", "/nothing"} {
		if n := allowed(path, fmt.Sprintf("203.0.113.%d", i+1)); n != 5 {
			t.Errorf("%s: %d of 8 requests were answered, want 5", path, n)
		}
	}
	for _, path := range []string{"/files/" + plain, "/webseed/" + r.InfoHash + "/" + plain, "/announce", "/healthz", "/assets/x"} {
		if n := allowed(path, "203.0.113.1"); n != 8 {
			t.Errorf("%s: %d of 8 requests were answered, want all", path, n)
		}
	}
	if n := allowed("/", "2001:db8::1") + allowed("/", "2001:db8::2"); n != 5 {
		t.Errorf("from one network: %d of 16 requests were answered, want 5", n)
	}
	if n := allowed("/", "127.0.0.1"); n != 8 {
		t.Errorf("from this machine: %d of 8 requests were answered, want all", n)
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	folder := dropPlain(t)
	page := "<script>document.title = 'run'</script>"
	for _, name := range []string{"page.html", "note.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, folder)
	s.published(plain, "page.html", "note.txt")
	for _, path := range []string{"/", "/releases/" + plain, "/nothing", "/api/v1/releases", "/metrics", "/healthz"} {
		resp, _ := s.ask(s.url(path))
		for header, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Strict-Transport-Security": "",
		} {
			if got := resp.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", path, header, got, want)
			}
		}
		if resp.Header.Get("Permissions-Policy") == "" {
			t.Errorf("%s: no Permissions-Policy", path)
		}
	}
	for _, path := range []string{"/files/page.html", "/files/note.txt"} {
		resp, _ := s.ask(s.url(path))
		h := resp.Header
		if h.Get("Content-Security-Policy") != "sandbox" || h.Get("X-Content-Type-Options") != "nosniff" || strings.HasPrefix(h.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %v", path, h)
		}
	}
}

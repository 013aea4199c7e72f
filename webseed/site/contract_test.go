package site

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dropseed/webseed/site/contract"
	"dropseed/webseed/site/openapi"
)

// contracted is a fixture whose answers are all held against the description
// that it serves.
type contracted struct {
	*fixture
	contract *contract.Contract
}

func newContracted(tb testing.TB) *contracted {
	tb.Helper()
	f := newFixture(tb)
	c, err := contract.New([]byte(f.get(tb, "/api/v1/openapi.json").body))
	if err != nil {
		tb.Fatal(err)
	}
	return &contracted{f, c}
}

// ask makes a request, with headers in pairs, and checks the answer.
func (c *contracted) ask(tb testing.TB, method, path string, headers ...string) answer {
	tb.Helper()
	req, err := http.NewRequest(method, c.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	a := c.send(tb, req)
	if err := c.contract.Check(req, a.Response, []byte(a.body)); err != nil {
		tb.Error(err)
	}
	return a
}

// elsewhere are the paths that other packages answer.
var elsewhere = []string{"/files/", "/hooks/"}

func TestAnswersKeepTheContract(t *testing.T) {
	c := newContracted(t)
	for i := range 30 {
		c.publish(t, fmt.Sprintf("r%02d", i), 5, "a", "b")
	}
	rel := c.publish(t, "my disk.iso", 5, "")
	gone := c.publish(t, "gone", 5, "")
	if err := c.catalog.Retire(gone.InfoHash); err != nil {
		t.Fatal(err)
	}
	c.pending = []Pending{{Name: "a", Source: "src", State: Hashing, Done: 1, Total: 2}, {Name: "b", Source: "src", Path: "b/p", State: Problem, Reason: "why"}}
	hash, never := rel.InfoHash.HexString(), strings.Repeat("0", 40)

	for _, path := range []string{"/api/v1/releases?limit=10&offset=10", "/api/v1/releases/" + hash, "/torrents/" + hash + ".torrent", "/api/v1/openapi.json", "/api/v1/openapi.yaml",
		"/feed.rss?q=r", "/feed.atom?source=src&limit=1", "/feed.json?sort=name", "/SHA256SUMS"} {
		a := c.ask(t, "GET", path)
		if again := c.ask(t, "GET", path, "If-None-Match", a.Header.Get("ETag")); a.StatusCode != 200 || again.StatusCode != 304 {
			t.Errorf("%s: status %d, then %d", path, a.StatusCode, again.StatusCode)
		}
		if other := c.ask(t, "GET", path, "If-None-Match", `"other"`); other.StatusCode != 200 {
			t.Errorf("%s: status %d for who has something else", path, other.StatusCode)
		}
	}
	for path, status := range map[string]int{
		"/api/v1/releases?limit=x":                            400,
		"/api/v1/releases?unknown=1":                          200,
		"/api/v1/releases?q=100%":                             400,
		"/api/v1/releases/" + strings.ToUpper(hash):           200,
		"/api/v1/releases/" + never:                           404,
		"/api/v1/releases/xyz":                                404,
		"/api/v1/releases/" + gone.InfoHash.HexString():       410,
		"/torrents/my%20disk.iso.torrent":                     200,
		"/torrents/nothing.torrent":                           404,
		"/torrents/" + gone.InfoHash.HexString() + ".torrent": 410,
		"/api/v1/pending":                                     200,
		"/api/v1/pending?limit=1":                             200,
		"/api/v1/pending?limit=0":                             400,
		"/feed.rss?sort=x":                                    400, "/feed.atom?limit=0": 400, "/feed.json?offset=x": 400, "/SHA256SUMS?limit=5": 200,
		"/SHA256SUMS?source=" + strings.Repeat("s", 201): 400,
		"/api/v1/stats":                             200,
		"/api/v1/history?range=hour":                200,
		"/api/v1/history?range=day&release=" + hash: 200,
		"/api/v1/history":                           400,
		"/api/v1/history?range=hour&release=x":      404,
		"/api/v1/history?range=hour&release=" + gone.InfoHash.HexString(): 410,
		"/api/v1/releases/" + hash + "/swarm":                             200,
		"/api/v1/releases/" + never + "/swarm":                            404,
		"/api/v1/releases/" + gone.InfoHash.HexString() + "/swarm":        410,
		"/api/v1/events?%zz":                                              400,
		"/api/v1/events?release=" + never:                                 404,
		"/api/v1/events?release=" + gone.InfoHash.HexString():             410,
		"/healthz": 200,
		"/readyz":  200,
	} {
		if a := c.ask(t, "GET", path); a.StatusCode != status {
			t.Errorf("%s: status %d, want %d: %s", path, a.StatusCode, status, a.body)
		}
	}
	c.listen(t, "/api/v1/events?release="+hash, "stats", "pending", "releases", "release", "swarm")
	c.ready = errors.New("not yet")
	c.ask(t, "GET", "/readyz")

	for _, unseen := range c.contract.Unseen() {
		_, path, _ := strings.Cut(unseen, " ")
		if !slices.ContainsFunc(elsewhere, func(e string) bool { return strings.HasPrefix(path, e) }) {
			t.Errorf("never answered: %s", unseen)
		}
	}
}

// TestRefusalsAreProblems is about what is refused before it comes to a route, and
// about what tests cannot bring about.
func TestRefusalsAreProblems(t *testing.T) {
	c := newContracted(t)
	for _, k := range kinds {
		req := httptest.NewRequest("GET", "/api/v1/releases?token=secret", nil)
		w := httptest.NewRecorder()
		w.Header().Set("ETag", `"of something else"`)
		c.site.fail(w, req, k.Status, "This is why.")
		if err := c.contract.Schema("Problem", w.Body.Bytes()); err != nil {
			t.Errorf("%d: %v", k.Status, err)
		}
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != k.Status || p.Status != k.Status || p.Detail != "This is why." || p.Instance != "/api/v1/releases" || w.Header().Get("ETag") != "" {
			t.Errorf("%d: status %d, %v, %+v", k.Status, w.Code, w.Header(), p)
		}
		if again := w.Header().Get("Retry-After"); (again != "") != (k.Status == 429 || k.Status == 503) {
			t.Errorf("%d: Retry-After %q", k.Status, again)
		}
	}
	w := httptest.NewRecorder()
	w.Header().Set("Retry-After", "77")
	c.site.fail(w, httptest.NewRequest("GET", "/api/x", nil), 429, "")
	if got := w.Header().Get("Retry-After"); got != "77" {
		t.Errorf("Retry-After was %q, and should have stayed 77", got)
	}
	w = httptest.NewRecorder()
	c.site.fail(w, httptest.NewRequest("GET", "/api/x", nil), 418, "") // has no code
	if body := w.Body.String(); !strings.Contains(body, `"type":"about:blank"`) || strings.Contains(body, `"code"`) {
		t.Errorf("418: %s", body)
	}
}

// TestCodesAreDescribed holds the codes against the description's.
func TestCodesAreDescribed(t *testing.T) {
	described := openapi.ForPage().Codes
	for _, k := range kinds {
		if described[string(k.Code)] == "" {
			t.Errorf("%s is not described", k.Code)
		}
	}
	if len(described) != len(kinds) {
		t.Errorf("%d codes are described, but there are %d", len(described), len(kinds))
	}
}

// listen checks the events of a stream until those kinds have come, and then what
// is said to as many as may not listen as well.
func (c *contracted) listen(t *testing.T, path string, kinds ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range streamsFrom {
		req, err := http.NewRequestWithContext(ctx, "GET", c.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		missing := slices.Clone(kinds)
		var kind, body string
		for lines := bufio.NewScanner(resp.Body); len(missing) > 0; {
			if !lines.Scan() {
				t.Fatalf("%s ended before there was any %q: %v", path, missing, lines.Err())
			}
			body += lines.Text() + "\n"
			if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kind = k
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := c.contract.Event("/api/v1/events", kind, []byte(data)); err != nil {
					t.Error(err)
				}
				missing = slices.DeleteFunc(missing, func(k string) bool { return k == kind })
			}
		}
		if err := c.contract.Check(req, resp, []byte(body)); err != nil {
			t.Error(err)
		}
	}
	if a := c.ask(t, "GET", path); a.StatusCode != 503 {
		t.Errorf("%s: status %d for one too many", path, a.StatusCode)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	c := newContracted(t)
	hash := c.publish(t, "a", 5, "").InfoHash.HexString()
	for _, template := range c.contract.Paths() {
		if slices.ContainsFunc(elsewhere, func(e string) bool { return strings.HasPrefix(template, e) }) || template == "/api/v1/events" {
			continue
		}
		path := strings.NewReplacer("{info_hash}", hash, "{release}", hash).Replace(template) + "?range=hour"
		get, head := c.ask(t, "GET", path), c.ask(t, "HEAD", path)
		if get.StatusCode != head.StatusCode || get.Header.Get("Content-Type") != head.Header.Get("Content-Type") {
			t.Errorf("%s: GET gets %d, %s and HEAD %d, %s", path, get.StatusCode, get.Header.Get("Content-Type"), head.StatusCode, head.Header.Get("Content-Type"))
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			if a := c.ask(t, method, path); a.StatusCode != 405 {
				t.Errorf("%s %s: status %d", method, path, a.StatusCode)
			}
		}
		a := c.ask(t, "OPTIONS", path)
		if want := 204; a.StatusCode != want && !strings.HasSuffix(template, "z") {
			t.Errorf("OPTIONS %s: status %d", path, a.StatusCode)
		}
	}
}

// TestEveryRouteIsDescribed reads the routes from where they are taken, so that
// none can be forgotten.
func TestEveryRouteIsDescribed(t *testing.T) {
	c := newContracted(t)
	undescribed := []string{"/", "/releases/", "/api/", "/api", "/api/v1", "/api/v1/", "/status", assetPrefix} // pages
	routes := routesOf(t)
	if len(routes) < 10 {
		t.Fatalf("only these routes were found: %q", routes)
	}
	for _, route := range routes {
		if slices.Contains(undescribed, route) {
			continue
		}
		if strings.HasSuffix(route, "/") {
			route += "x"
		}
		if strings.HasPrefix(route, "/torrents/") {
			route += ".torrent"
		}
		if c.contract.Find(route) == "" {
			t.Errorf("%s is answered, but not described", route)
		}
	}
	for _, template := range c.contract.Paths() {
		if slices.ContainsFunc(elsewhere, func(e string) bool { return strings.HasPrefix(template, e) }) {
			continue
		}
		head, _, _ := strings.Cut(template, "{")
		if !slices.Contains(routes, head) {
			t.Errorf("%s is described, but no route leads to it", template)
		}
	}
}

// routesOf returns what the cases of ServeHTTP's switch over paths are.
func routesOf(t *testing.T) []string {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := make(map[string]string)
	var cases []ast.Expr
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, v := range n.Values {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						constants[n.Names[i].Name], _ = strconv.Unquote(lit.Value)
					}
				}
			case *ast.FuncDecl:
				if n.Name.Name != "ServeHTTP" {
					return true
				}
				ast.Inspect(n, func(n ast.Node) bool {
					if sw, ok := n.(*ast.SwitchStmt); ok && sw.Tag != nil {
						for _, c := range sw.Body.List {
							cases = append(cases, c.(*ast.CaseClause).List...)
						}
					}
					return true
				})
			}
			return true
		})
	}
	var routes []string
	for _, c := range cases {
		switch c := c.(type) {
		case *ast.BasicLit:
			route, err := strconv.Unquote(c.Value)
			if err != nil {
				t.Fatal(err)
			}
			routes = append(routes, route)
		case *ast.Ident:
			routes = append(routes, constants[c.Name])
		default:
			t.Errorf("a case of ServeHTTP is a %T, which this test cannot read", c)
		}
	}
	return routes
}

// queried are the paths whose parameters are tried out.
var queried = []string{"/api/v1/releases", "/api/v1/pending", "/api/v1/history", "/feed.rss", "/feed.atom", "/feed.json", "/SHA256SUMS"}

func TestAnyQueryGetsADescribedAnswer(t *testing.T) {
	c := newContracted(t)
	for i := range 12 {
		c.publish(t, fmt.Sprintf("release %d ü", i), 5, "a", "b")
	}
	values := map[string][]string{
		"limit":   {"0", "1", "7", "100", "101", "2147483647", "2147483648", "-1", "+1", "01", "1e3", "0x10", "1.0", " 1", "", "٣", "null"},
		"offset":  {"0", "3", "11", "12", "13", "2147483647", "2147483648", "-0", "-1", "", "x"},
		"q":       {"", "release", "RELEASE 1", "ü", "%", "\x00", "\xff", strings.Repeat("ü", 100), strings.Repeat("x", 201), "<script>", "'\"`;--"},
		"sort":    {"newest", "oldest", "name", "size", "peers", "", "Newest", "name,size", "-name"},
		"source":  {"src", "other", "", "\xfe", strings.Repeat("s", 300)},
		"range":   {"hour", "day", "", "week", "HOUR"},
		"release": {"", "x", strings.Repeat("0", 40), strings.Repeat("z", 40)},
		"unknown": {"", "1"},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		v := make(url.Values)
		for key, of := range values {
			for n := r.IntN(4); n > 2; n-- { // one in four
				v.Add(key, of[r.IntN(len(of))])
			}
		}
		path := queried[r.IntN(len(queried))] + "?" + v.Encode()
		if a := c.ask(t, "GET", path); a.StatusCode >= 500 {
			t.Errorf("%s: status %d", path, a.StatusCode)
		}
	}
}

func FuzzQueries(f *testing.F) {
	c := newContracted(f)
	for i := range 12 {
		c.publish(f, fmt.Sprintf("release %d", i), 5, "a", "b")
	}
	for i, query := range []string{"limit=5&offset=3&q=release+1&sort=name&source=src", "limit=&q=%zz", "a;b", "limit=1&limit=2", "q=%00%ff", "&&==", "sort=size&sort=", "offset=2147483647&limit=2147483647"} {
		f.Add(uint8(i), query)
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		path := queried[int(which)%len(queried)]
		u := &url.URL{Path: path, RawQuery: query}
		req := &http.Request{Method: "GET", URL: u, Host: "h", RequestURI: path + "?" + query, Header: make(http.Header)}
		w := httptest.NewRecorder()
		c.site.ServeHTTP(w, req)
		if err := c.contract.Check(req, w.Result(), w.Body.Bytes()); err != nil || w.Code >= 500 {
			t.Errorf("%q: status %d, %v", query, w.Code, err)
		}
	})
}

func TestPartsLeadToEachOther(t *testing.T) {
	c := newContracted(t)
	for i := range 25 {
		c.publish(t, fmt.Sprintf("r %02d", i), 5, "")
		c.pending = append(c.pending, Pending{Name: fmt.Sprintf("p%02d", i), Source: "src", State: Queued})
	}
	c.base = "https://dl.example.org/seed"
	for _, start := range []string{"/api/v1/releases?limit=10&q=r&unknown=1", "/api/v1/pending?limit=10"} {
		seen := 0
		for path, parts := start, 0; path != ""; parts++ {
			a := c.ask(t, "GET", path)
			seen += strings.Count(a.body, `"source":"src"`)
			links := linksOf(t, a)
			for rel, offset := range map[string]string{"first": "", "last": "20"} {
				u, err := url.Parse(links[rel])
				if err != nil || u.Query().Get("offset") != offset || u.Query().Get("limit") != "10" || u.Query().Has("unknown") {
					t.Errorf("%s: %s is %q", path, rel, links[rel])
				}
			}
			if _, before := links["prev"]; before != (parts > 0) {
				t.Errorf("%s: %v", path, links)
			}
			if parts > 3 {
				t.Fatal("there is no end")
			}
			path = strings.TrimPrefix(links["next"], c.base)
		}
		if seen != 25 {
			t.Errorf("%s: %d were seen by following the links", start, seen)
		}
	}
	if links := linksOf(t, c.ask(t, "GET", "/api/v1/releases?offset=500&limit=10")); !strings.HasSuffix(links["prev"], "limit=10&offset=20") || links["next"] != "" {
		t.Errorf("beyond the end: %v", links)
	}
}

// linksOf returns an answer's links by relation.
func linksOf(t *testing.T, a answer) map[string]string {
	links := make(map[string]string)
	for link := range strings.SplitSeq(a.Header.Get("Link"), ", ") {
		target, rel, ok := strings.Cut(link, `>; rel="`)
		if !ok {
			t.Fatalf("%s: Link %q", a.Request.URL, a.Header.Get("Link"))
		}
		links[strings.TrimSuffix(rel, `"`)] = strings.TrimPrefix(target, "<")
	}
	return links
}

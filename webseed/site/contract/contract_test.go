package contract_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dropseed/webseed/site/contract"
	"dropseed/webseed/site/openapi"
)

// TestBreachesAreFound makes one mistake at a time in an answer that is right.
func TestBreachesAreFound(t *testing.T) {
	c, err := contract.New(openapi.JSON("1.2.3", "http://host"))
	if err != nil {
		t.Fatal(err)
	}
	const (
		stats = `{"version":"1","started_at":"2026-05-04T12:00:00Z","releases":1,"size":2,"pending":0,` +
			`"swarm":{"seeders":1,"leechers":0,"completed":0,"connected":0},"sent":{"peers":1,"webseed":0,"direct":0},` +
			`"carried":0,"copies":0.5,"peers_share":0,"rates":{"peers":0,"webseed":0,"direct":0,"carried":0}}`
		problem = `{"type":"/api/#not-found","title":"t","status":404,"detail":"d","instance":"/","code":"not-found"}`
		isJSON  = "Content-Type: application/json"
		isError = "Content-Type: application/problem+json"
		hash    = "0123456789012345678901234567890123456789"
	)
	for name, tt := range map[string]struct {
		method, path string
		status       int
		headers      string // lines
		body         string
		fits         bool
	}{
		"right":                   {"GET", "/api/v1/stats", 200, isJSON, stats, true},
		"unknown parameter":       {"GET", "/api/v1/stats?x=y", 200, isJSON, stats, true},
		"HEAD":                    {"HEAD", "/api/v1/stats", 200, isJSON, "", true},
		"unknown member":          {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, `"size"`, `"more":1,"size"`, 1), false},
		"unknown member within":   {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, `"direct"`, `"more":1,"direct"`, 1), false},
		"missing member":          {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, `"size":2,`, "", 1), false},
		"time with an offset":     {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, "12:00:00Z", "12:00:00-04:00", 1), false},
		"size that is no integer": {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, `"size":2`, `"size":2.5`, 1), false},
		"size beyond 2^53":        {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, `"size":2`, `"size":9007199254740993`, 1), false},
		"null":                    {"GET", "/api/v1/stats", 200, isJSON, strings.Replace(stats, `"size":2`, `"size":null`, 1), false},
		"other type":              {"GET", "/api/v1/stats", 200, "Content-Type: text/plain", stats, false},
		"other status":            {"GET", "/api/v1/stats", 202, isJSON, stats, false},
		"status 418":              {"GET", "/api/v1/stats", 418, isError, strings.Replace(problem, "404", "418", 1), false},
		"HEAD with a body":        {"HEAD", "/api/v1/stats", 200, isJSON, stats, false},
		"unknown path":            {"GET", "/api/v1/more", 200, isJSON, stats, false},
		"method":                  {"DELETE", "/api/v1/stats", 200, isJSON, stats, false},
		"405":                     {"DELETE", "/api/v1/stats", 405, "Allow: GET, HEAD", "", true},
		"405 without Allow":       {"DELETE", "/api/v1/stats", 405, "", "", false},
		"405 that allows it":      {"DELETE", "/api/v1/stats", 405, "Allow: GET, DELETE", "", false},
		"bad parameter served":    {"GET", "/api/v1/pending?limit=0", 200, isJSON + "\nLink: <x>; rel=\"first\"", `{"pending":[],"total":0}`, false},
		"missing header":          {"GET", "/api/v1/pending", 200, isJSON, `{"pending":[],"total":0}`, false},
		"with the header":         {"GET", "/api/v1/pending", 200, isJSON + "\nLink: <x>; rel=\"first\"", `{"pending":[],"total":0}`, true},
		"a release with no files": {"GET", "/api/v1/releases/" + hash, 200, isJSON + "\nETag: \"x\"", `{}`, false},
		"problem":                 {"GET", "/api/v1/releases/" + hash, 404, isError, problem, true},
		"problem's status":        {"GET", "/api/v1/releases/" + hash, 404, isError, strings.Replace(problem, "404", "410", 1), false},
		"problem's type":          {"GET", "/api/v1/releases/" + hash, 404, isError, strings.Replace(problem, "/api/#", "/x#", 1), false},
		"problem's code":          {"GET", "/api/v1/releases/" + hash, 404, isError, strings.ReplaceAll(problem, "not-found", "lost"), false},
		"problem as JSON":         {"GET", "/api/v1/releases/" + hash, 404, isJSON, problem, false},
		"304 with a body":         {"GET", "/api/v1/releases/" + hash, 304, "ETag: \"x\"", "x", false},
		"503 for ever": {"GET", "/api/v1/stats", 503, isError,
			`{"type":"/api/#unavailable","title":"t","status":503,"detail":"d","instance":"/","code":"unavailable"}`, false},
	} {
		resp := &http.Response{StatusCode: tt.status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(""))}
		for line := range strings.Lines(tt.headers) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			resp.Header.Set(key, value)
		}
		err := c.Check(httptest.NewRequest(tt.method, tt.path, nil), resp, []byte(tt.body))
		if (err == nil) != tt.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Event("/api/v1/events", "stats", []byte(stats)); err != nil {
		t.Error(err)
	}
	if c.Event("/api/v1/events", "other", []byte(stats)) == nil || c.Event("/api/v1/events", "pending", []byte(stats)) == nil {
		t.Error("an event that is not described passes")
	}
	unseen := strings.Join(c.Unseen(), "\n")
	if strings.Contains(unseen, "GET /api/v1/stats 200") || !strings.Contains(unseen, "GET /api/v1/events 200") {
		t.Errorf("the account of what was seen is wrong:\n%s", unseen)
	}
}

func TestPathsAreFound(t *testing.T) {
	c, err := contract.New(openapi.JSON("1.2.3", "http://host"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/api/v1/releases": "/api/v1/releases", "/api/v1/releases/x": "/api/v1/releases/{info_hash}",
		"/api/v1/releases/x/swarm": "/api/v1/releases/{info_hash}/swarm", "/api/v1/releases/x/y": "",
		"/files/a/b/c": "/files/{path}", "/files/a/b.meta4": "/files/{path}.meta4", "/files/": "",
		"/torrents/a%2Fb.torrent": "/torrents/{release}.torrent", "/torrents/a": "", "/api/v1": "",
	} {
		if got := c.Find(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

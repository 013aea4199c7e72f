package site

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestAPIPage(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "my disk.iso", 5, "")
	f.base = "https://dl.example.org/seed"
	a := f.get(t, "/api/")
	wantAll(t, a, 200,
		"<code><b>GET</b> /api/v1/releases</code>",
		"curl https://dl.example.org/seed/api/v1/releases/"+rel.InfoHash.HexString()+"<",
		"curl -C - -O https://dl.example.org/seed/files/my%20disk.iso<",
		`href="/seed/api/v1/openapi.json"`, "&#34;info_hash&#34;: &#34;6e4a", `<a href="#Release">`, "required",
	)
	ids := make(map[string]int)
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		ids[m[1]]++
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%d elements have the id %q", n, id)
		}
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		if ids[m[1]] == 0 {
			t.Errorf("a link leads to #%s, which is not there", m[1])
		}
	}
	if strings.Contains(a.body, "ZgotmplZ") || strings.Contains(a.body, "<!-- raw HTML omitted -->") || strings.Contains(a.body, "%BASE%") {
		t.Error("a part of the page could not be shown")
	}
	if len(a.body) > 150_000 {
		t.Errorf("the page has %d bytes", len(a.body))
	}
}

func TestTypesOfProblemsLeadToThePage(t *testing.T) {
	f := newFixture(t)
	page := f.get(t, "/api/").body
	for _, k := range kinds {
		if !regexp.MustCompile(`(?s)<tr id="` + string(k.Code) + `">.*?<td class="prose"><p><b>` + k.Title + `\.</b></p>\s*<p>`).MatchString(page) {
			t.Errorf("the page does not say what %s is", k.Code)
		}
		if http.StatusText(k.Status) == "" {
			t.Errorf("%s: status %d", k.Code, k.Status)
		}
	}
	f.base = "https://dl.example.org/seed"
	wantAll(t, f.get(t, "/api/v1/nothing?secret=x"), 404, `"type":"/seed/api/#not-found"`, `"instance":"/seed/api/v1/nothing"`)
}

func TestAPILeadsToItsPage(t *testing.T) {
	f := newFixture(t)
	f.base = "https://dl.example.org/seed"
	for _, path := range []string{"/api", "/api/v1", "/api/v1/"} {
		if a := f.get(t, path); a.StatusCode != 307 || a.Header.Get("Location") != "/seed/api/" {
			t.Errorf("%s: status %d to %q", path, a.StatusCode, a.Header.Get("Location"))
		}
	}
}

func TestDescriptionIsServedOnce(t *testing.T) {
	f := newFixture(t)
	for path, mediaType := range map[string]string{"/api/v1/openapi.json": "application/json", "/api/v1/openapi.yaml": "application/yaml"} {
		a := f.get(t, path)
		if a.StatusCode != 200 || a.Header.Get("Content-Type") != mediaType || !strings.Contains(a.body, f.URL) {
			t.Errorf("%s: status %d, %v", path, a.StatusCode, a.Header)
		}
		req, err := http.NewRequest("GET", f.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", a.Header.Get("ETag"))
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 304 {
			t.Errorf("%s: status %d the second time", path, resp.StatusCode)
		}
	}
}

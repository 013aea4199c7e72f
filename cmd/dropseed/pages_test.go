package main_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The pages of a running server look as its configuration says, and show what
// releases say of themselves.
func TestPagesAreTheOperatorsAndTheReleases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const logo = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><script>alert(1)</script></svg>`
	config := "site:\n  description: Films for everybody\n  logo: " + filepath.Join(dir, "logo.svg") + "\n  accent: '#7A3CC8'\n  announcement: '**Closed** today'\n"
	folder := filepath.Join(dir, "drop")
	for name, text := range map[string]string{
		"logo.svg": logo, "dropseed.yaml": config, "drop/film/film.mkv": "content", "drop/film/README.md": "# The *film*\n\n![shot](shot.png) <script>alert(1)</script>",
		"drop/film/shot.png": "png", "drop/disk.iso": "content", "drop/disk.txt": "Boot it & see.",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, folder, "--config", filepath.Join(dir, "dropseed.yaml"))
	s.published("film", "disk.iso", "disk.txt")

	page := func(path string, parts ...string) string {
		t.Helper()
		status, body := s.get(s.url(path))
		for _, p := range parts {
			if status != http.StatusOK || !strings.Contains(string(body), p) {
				t.Errorf("%s: status %d, no %q in\n%s", path, status, p, body)
			}
		}
		return string(body)
	}
	index := page("/", "Films for everybody", "<strong>Closed</strong> today", "3 releases")
	page("/status", "Status", "<strong>Closed</strong> today", `data-live="stats.releases" data-format="count">3<`)
	page("/releases/disk.iso", "Boot it &amp; see.", "sha256sum -c")
	if film := page("/releases/film", ">The <em>film</em></h3>", `<img src="../files/film/shot.png" alt="shot">`, "SHA-256"); strings.Contains(film, "<script>") {
		t.Error("the README brings a script")
	}
	if status, body := s.get(s.url("/files/film/shot.png")); status != 200 || string(body) != "png" {
		t.Errorf("the README's picture: status %d", status)
	}

	m := regexp.MustCompile(`<img src="(/assets/logo[^"]+)"`).FindStringSubmatch(index)
	if m == nil {
		t.Fatalf("no logo in\n%s", index)
	}
	resp, err := s.client.Get(s.url(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if policy := resp.Header.Get("Content-Security-Policy"); err != nil || string(body) != logo || !strings.Contains(policy, "sandbox") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the logo: %v, %q, policy %q", err, body, policy)
	}
}

package main_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// publishedTo waits until so many releases are listed for who has a token.
func (s *server) publishedTo(token string, n int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d releases are published", n), func() error {
		_, body := s.ask(s.url("/api/v1/releases"), "Authorization", "Bearer "+token)
		var list struct{ Total int }
		if err := json.Unmarshal(body, &list); err != nil || list.Total != n {
			return fmt.Errorf("%d releases, %v: %.200s", list.Total, err, body)
		}
		return nil
	})
}

// A link with a token is all that a visitor needs: pages, their scripts and live
// figures, and downloads.
func TestBrowserOfAPrivateCatalog(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	folder := dropPlain(t)
	page := "<title>hosted</title><script>document.title = 'it ran'</script>"
	if err := os.WriteFile(filepath.Join(folder, "note.txt"), []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder, configured(t, "access: {catalog: private, tokens: ["+viewerToken+"]}")...)
	s.publishedTo(viewerToken, 2)
	b := newBrowser(t, s)
	b.open("/?token=" + viewerToken)
	if got, want := js[string](b, `location.pathname + location.search`), "/token/"+viewerToken+"/"; got != want {
		t.Errorf("it is at %s, want %s", got, want)
	}
	b.until(`document.documentElement.dataset.events === "open"`)
	drop(t, filepath.Join(folder, "second.iso"), 60_000)
	b.until(`document.querySelector("#releases").textContent.includes("second.iso")`)
	links := js[[]string](b, `[...document.querySelectorAll("a[href]")].map(a => a.href).filter(h => h.startsWith(location.origin))`)
	for _, link := range links {
		if resp, body := s.ask(link); resp.StatusCode != 200 {
			t.Errorf("%s: status %d: %.200s", link, resp.StatusCode, body)
		}
	}
	if len(links) < 5 {
		t.Errorf("the page has the links %q", links)
	}

	out := t.TempDir()
	_, err := chromedp.Call(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: "allow", DownloadPath: out})
	b.must(err)
	js[bool](b, fmt.Sprintf(`(document.querySelector('a[href$="/files/%s"]').click(), true)`, plain))
	s.eventually("the file is downloaded", func() error { return compare(filepath.Join(folder, plain), filepath.Join(out, plain)) })

	b.open("/token/" + viewerToken + "/files/note.txt")
	if got := js[string](b, `document.body.textContent`); got != page {
		t.Errorf("a file that may be shown is shown as %q", got)
	}
	if got := js[string](b, `self.origin`); got != "null" {
		t.Errorf("what is hosted has the origin %s", got)
	}
}

// Visitors are not asked for the operator's password by what scripts do.
func TestBrowserOfAPublicCatalogOfAPrivateOperator(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	s := serve(t, dropPlain(t), configured(t, "access: {operator: private, operator_tokens: ["+operatorToken+"]}")...)
	s.published(plain)
	b := newBrowser(t, s)
	for _, path := range []string{"/", "/releases/" + plain} {
		b.open(path)
		b.until(`document.readyState === "complete"`)
	}
	b.mu.Lock()
	for _, path := range b.requests {
		if strings.HasPrefix(path, "/api/") {
			t.Errorf("a page asked for %s", path)
		}
	}
	b.mu.Unlock()
}

func TestQBittorrentDownloadsWhatAPrivateFeedBrings(t *testing.T) {
	t.Parallel()
	q := startQBittorrent(t)
	folder := dropPlain(t)
	s := serve(t, folder, configured(t, "access: {catalog: private, tokens: ["+viewerToken+"]}")...)
	s.publishedTo(viewerToken, 1)
	feed := s.url("/feed.rss?token=" + viewerToken)
	rule, err := json.Marshal(map[string]any{"enabled": true, "mustContain": "", "affectedFeeds": []string{feed}, "savePath": q.out})
	if err != nil {
		t.Fatal(err)
	}
	q.call("rss/setRule", url.Values{"ruleName": {"all"}, "ruleDef": {string(rule)}})
	q.call("rss/addFeed", url.Values{"url": {feed}, "path": {"feed"}})
	s.eventually("qBittorrent has it", func() error { return compare(filepath.Join(folder, plain), filepath.Join(q.out, plain)) })
}

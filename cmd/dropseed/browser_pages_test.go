package main_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// sparse writes a file of zeros that takes no space on the disk.
func sparse(t testing.TB, path string, size int64) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// catalogue drops n releases called release-00.bin, release-01.bin, …, of 1000,
// 1001, … bytes, waits until they are published, and returns the server.
func catalogue(t testing.TB, n int) *server {
	t.Helper()
	folder := t.TempDir()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("release-%02d.bin", i))
		drop(t, filepath.Join(folder, names[i]), 1000+i)
	}
	s := serve(t, folder)
	s.eventually("all are published", func() error {
		_, body, err := s.tryGet(s.url("/api/v1/releases?limit=1"))
		if err == nil && !strings.Contains(string(body), fmt.Sprintf(`"total":%d`, n)) {
			err = fmt.Errorf("there is %.200s", body)
		}
		return err
	})
	return s
}

const names = "#releases a.name" // the releases' names on the front page

func TestBrowserCatalog(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	s := catalogue(t, 60)
	b := newBrowser(t, s)
	b.open("/")
	if n := len(b.texts(names)); n != 50 {
		t.Errorf("the first page has %d releases, want 50", n)
	}
	// What a first visit costs: everything but images, which a page may have of its own.
	received, requests := b.traffic()
	t.Logf("the front page takes %.1f kB in %d requests: %q", received/1000, len(requests), requests)
	if received > 200_000 || received < 1000 {
		t.Errorf("the front page takes %.0f bytes, want less than 200 kB", received)
	}

	b.click(`a[rel="next"]`)
	b.until(`location.search.includes("offset=50") && document.readyState === "complete"`)
	if n := len(b.texts(names)); n != 10 {
		t.Errorf("the second page has %d releases, want 10", n)
	}
	b.click(`a[rel="prev"]`)
	b.until(`document.querySelectorAll("` + names + `").length === 50`)

	b.do(chromedp.SendKeys(chromedp.CSS(`input[name="q"]`), "release-4"+kb.Enter))
	b.until(`new URLSearchParams(location.search).get("q") === "release-4" && document.readyState === "complete"`)
	if got := b.texts(names); len(got) != 10 || !strings.HasPrefix(got[0], "release-4") {
		t.Errorf("the search finds %q", got)
	}

	b.open("/")
	js[bool](b, `(s => { s.value = "name"; s.dispatchEvent(new Event("change", {bubbles: true})); return true })(document.querySelector('select[name="sort"]'))`)
	js[bool](b, `(f => { f.requestSubmit(); return true })(document.querySelector('select[name="sort"]').form)`)
	b.until(`new URLSearchParams(location.search).get("sort") === "name" && document.readyState === "complete"`)
	if got := b.texts(names); !slices.IsSorted(got) || got[0] != "release-00.bin" {
		t.Errorf("sorted by name: %q", got)
	}

	b.click(names)
	b.until(`document.body?.dataset.page === "release" && document.readyState === "complete"`)
	if h := b.text("h1"); h != "release-00.bin" {
		t.Errorf("the release's page is headed %q", h)
	}

	b.excuse("status of 404")
	b.open("/releases/nothing-of-that-name")
	if page := js[string](b, `document.body.dataset.page`); page != "error" {
		t.Errorf("the page of no release is %q", page)
	}
}

// Everything that a mouse does, keys do, and one always sees where one is.
func TestBrowserKeyboard(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	b := newBrowser(t, catalogue(t, 3))
	b.open("/")
	tabTo := func(selector string) {
		t.Helper()
		for range 60 {
			b.key(kb.Tab)
			if js[bool](b, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
				if !js[bool](b, `document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
					t.Errorf("one does not see that %s has the focus", selector)
				}
				return
			}
		}
		t.Fatalf("tab does not get to %s", selector)
	}
	tabTo(`input[name="q"]`)
	b.key("r", "e", "l", "e", "a", "s", "e", "-", "0", "1", kb.Enter)
	b.until(`location.search.includes("q=release-01") && document.readyState === "complete"`)
	tabTo(names)
	b.key(kb.Enter)
	b.until(`document.body?.dataset.page === "release" && document.readyState === "complete"`)

	// The charts are shown, with tabs that the arrows move between.
	b.until(`document.querySelector("#charts [role=tab]")`)
	tabTo(`#charts [role="tab"]`)
	b.key(kb.ArrowRight)
	b.until(`document.activeElement.textContent === "Last day" && document.activeElement.getAttribute("aria-selected") === "true"`)
}

// Pages need no scripts: what searches, pages and downloads is there without.
func TestBrowserWithoutScripts(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	b := newBrowser(t, catalogue(t, 60))
	b.scripts(false)
	b.open("/")
	b.click(`a[rel="next"]`)
	b.until(`location.search.includes("offset=50") && document.readyState === "complete"`)
	if n := len(b.texts(names)); n != 10 {
		t.Errorf("the second page has %d releases, want 10", n)
	}
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name="q"]`), "release-4"+kb.Enter))
	b.until(`location.search.includes("q=release-4") && document.readyState === "complete"`)
	if n := len(b.texts(names)); n != 10 {
		t.Errorf("the search finds %d releases, want 10", n)
	}
	b.click(names)
	b.until(`document.body?.dataset.page === "release" && document.readyState === "complete"`)
	if shown := js[int](b, `Array.from(document.querySelectorAll("button.copy")).filter(e => e.checkVisibility()).length`); shown > 0 {
		t.Errorf("%d buttons that would do nothing are shown", shown)
	}
	for _, id := range []string{"charts", "swarm"} {
		if js[bool](b, fmt.Sprintf(`Boolean(document.querySelector("#%s:not([hidden])"))`, id)) {
			t.Errorf("an empty section %s is shown", id)
		}
	}
	if _, requests := b.traffic(); slices.ContainsFunc(requests, func(p string) bool { return strings.HasPrefix(p, "/api/") }) {
		t.Errorf("without scripts, these were asked for: %q", requests)
	}
}

func TestBrowserRelease(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	folder := dropTrees(t, single, nested)
	s := serve(t, folder)
	rels := s.published(single, nested)
	b := newBrowser(t, s)
	b.allowClipboard()
	for _, r := range rels {
		b.open("/releases/" + url.PathEscape(r.Name))
		if h := b.text("h1"); h != r.Name {
			t.Errorf("the page of %q is headed %q", r.Name, h)
		}
		// The magnet is copied as the API says it, and each command as it is shown.
		magnet := fmt.Sprintf("button.copy[data-copy^=%q]", "magnet:")
		b.click(magnet)
		b.until(fmt.Sprintf(`document.querySelector(%q).textContent === "Copied"`, magnet))
		b.until(`document.getElementById("said").textContent === "Copied"`)
		got := js[string](b, `navigator.clipboard.readText()`)
		if hash := "xt=urn:btih:" + r.InfoHash; !strings.Contains(got, hash) {
			t.Errorf("the copied magnet is %q, without %s", got, hash)
		}
		b.until(fmt.Sprintf(`document.querySelector(%q).textContent !== "Copied"`, magnet))
		for i, line := range js[[]string](b, `Array.from(document.querySelectorAll("pre + button.copy, .commands button.copy"), e => e.dataset.copy)`) {
			if !strings.Contains(js[string](b, `document.body.textContent`), line) {
				t.Errorf("button %d copies %q, which the page does not show", i, line)
			}
		}
		// Only https and localhost have a clipboard to write to; elsewhere the browser copies a selection.
		js[bool](b, `(window.clip = navigator.clipboard, Object.defineProperty(navigator, "clipboard", {value: undefined}), true)`)
		b.click(".commands button.copy")
		b.until(`document.querySelector(".commands button.copy").textContent === "Copied"`)
		if got, want := js[string](b, `window.clip.readText()`), b.text(".commands pre"); got != want {
			t.Errorf("without a clipboard to write to, %q was copied, want %q", got, want)
		}
		// All pictures are there, and all that a visitor may fetch.
		b.until(`Array.from(document.images).every(i => i.complete)`)
		if broken := js[[]string](b, `Array.from(document.images).filter(i => !i.naturalWidth).map(i => i.src)`); len(broken) > 0 {
			t.Errorf("broken pictures: %q", broken)
		}
		links := js[[]string](b, `Array.from(document.querySelectorAll("main a[href^='/'], main a[href^='?']"), a => a.href)`)
		if len(links) < 3 {
			t.Errorf("the page links to %q only", links)
		}
		for _, link := range links {
			if status, _ := s.get(link); status != 200 {
				t.Errorf("GET %s: status %d", link, status)
			}
		}
	}
}

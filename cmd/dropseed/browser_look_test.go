package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// contrast is the contrast of an element's text with what is behind it, as WCAG
// counts it: 4.5 is enough, 21 is black on white.
const contrast = `(selector => {
  const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return {rgb: m.slice(0, 3), a: m[3] ?? 1}; };
  const light = ({rgb}) => rgb.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const e = document.querySelector(selector);
  let behind = e, back;
  do { back = parse(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; } while (back.a < 1 && behind);
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(back)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
})`

// What is laid out badly is long: names without spaces, and without an end.
var longNames = []string{
	strings.Repeat("a-very-long-name-without-any-space-", 6) + ".iso",
	"Ünï ço#de 100% a+b & ? " + strings.Repeat("words of a long name ", 8),
	"debian-12.7.0-amd64-netinst.iso",
}

// shop publishes releases with long names, and has one pending that failed.
func shop(t testing.TB) *server {
	t.Helper()
	folder := t.TempDir()
	for i, name := range longNames {
		drop(t, filepath.Join(folder, name), 40_000+i)
	}
	drop(t, filepath.Join(folder, "dataset", "README.md"), 0)
	text := "# A data set\n\nWith a [link](https://example.org/), `code` and\n\n| a | table |\n|---|---|\n| of | cells |\n\n- a list\n\n" +
		"```\nand a very long line of code that does not wrap and does not wrap and does not wrap and does not wrap\n```\n"
	if err := os.WriteFile(filepath.Join(folder, "dataset", "README.md"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	drop(t, filepath.Join(folder, "dataset", strings.Repeat("deep/", 12)+strings.Repeat("name", 20)+".csv"), 5000)
	if err := os.Symlink("nowhere", filepath.Join(folder, "broken-link")); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder)
	s.published(append(longNames, "dataset")...)
	return s
}

// sticksOut are the controls that reach over the right edge of the panel that they are in.
const sticksOut = `Array.from(document.querySelectorAll(".panel button, .panel .button, .panel img"))
  .filter(e => e.offsetHeight && e.getBoundingClientRect().right > e.closest(".panel").getBoundingClientRect().right)
  .map(e => e.className + " " + e.textContent)`

// lookedAt are the pages whose looks are tested, and what each has when it is whole.
var lookedAt = []struct{ name, path, ready string }{
	{"index", "/", `document.documentElement.dataset.events === "open"`},
	{"release", "/releases/dataset", `document.querySelector("#charts .uplot") && document.documentElement.dataset.events === "open"`},
	{"status", "/status", `document.querySelector("#charts .uplot") && document.documentElement.dataset.events === "open"`},
	{"API", "/api/", `true`},
	{"404", "/nothing", `true`},
}

func TestBrowserThemesAndPhone(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	s := shop(t)
	b := newBrowser(t, s)
	b.excuse("status of 404")
	for _, page := range lookedAt {
		b.size(1280, 900)
		var backs []string
		for _, theme := range []string{"light", "dark"} {
			b.theme(theme)
			b.open(page.path)
			b.until(page.ready)
			backs = append(backs, js[string](b, `getComputedStyle(document.body).backgroundColor`))
			for _, selector := range []string{"h1", "main p, main .meta, main small", "header a", "footer a, footer span"} {
				if c := js[float64](b, contrast+fmt.Sprintf("(%q)", selector)); c < 4.5 {
					t.Errorf("%s, %s: the contrast of %q is %.2f, want 4.5", page.name, theme, selector, c)
				}
			}
		}
		if out := js[[]string](b, sticksOut); len(out) > 0 {
			t.Errorf("%s: sticks out of its panel: %q", page.name, out)
		}
		if backs[0] == backs[1] {
			t.Errorf("%s: both themes have the background %s", page.name, backs[0])
		}
		b.size(360, 740)
		for _, path := range []string{page.path, strings.Replace(page.path, "dataset", strings.ReplaceAll(longNames[0], " ", "%20"), 1)} {
			b.open(path)
			b.until(page.ready)
			if wide := js[int](b, `document.documentElement.scrollWidth`); wide > 360 {
				what := js[[]string](b, `Array.from(document.querySelectorAll("body *")).filter(e => e.getBoundingClientRect().right > 361).slice(0, 8).map(e => e.tagName + "." + e.className + " " + Math.round(e.getBoundingClientRect().right))`)
				t.Errorf("%s is %d wide on a phone of 360; too wide: %q", path, wide, what)
			}
			if small := js[[]string](b, `Array.from(document.querySelectorAll("main .button, main button")).filter(e => e.offsetHeight && e.offsetHeight < 24).map(e => e.textContent)`); len(small) > 0 {
				t.Errorf("%s: too small for a finger: %q", path, small)
			}
		}
	}
}

func TestBrowserAccessibility(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	axe(t)
	b := newBrowser(t, shop(t))
	b.excuse("status of 404")
	start := time.Now()
	for _, page := range lookedAt {
		for _, look := range []struct {
			name, theme string
			width       int64
		}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "light", 360}} {
			b.size(look.width, 900)
			b.theme(look.theme)
			b.open(page.path)
			b.until(page.ready)
			b.accessible(page.name + ", " + look.name)
		}
	}
	t.Logf("looked at %d pages in 3 looks in %v", len(lookedAt), time.Since(start).Round(time.Millisecond))

	// What says that nothing is wrong must be able to find something.
	js[bool](b, `(() => { document.querySelector("main").append(new Image(), document.createElement("select")); return true })()`)
	if found := b.violations(); len(found) == 0 {
		t.Error("nothing is found in a page with a picture that has no text and a field without a label")
	}
}

// axe is the script that finds what keeps people with disabilities from using a page.
func axe(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join("..", "..", ".tools", "axe-core@*"))
	if len(found) == 0 {
		missing(t, "axe-core is not installed: run make tools")
	}
	script, err := os.ReadFile(found[len(found)-1])
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

type violation struct {
	ID, Impact, Help string
	At               []string // elements, and what is wrong with each
}

func (v violation) String() string {
	return fmt.Sprintf("%s: %s (%s)\n%s", v.Impact, v.Help, v.ID, strings.Join(v.At, "\n"))
}

// violations returns what is seriously wrong with the page as it is now, and logs
// the rest. The page's policy does not keep the browser's owner from running a script.
func (b *tab) violations() (serious []violation) {
	b.t.Helper()
	if !js[bool](b, `"axe" in window`) {
		b.do(chromedp.Evaluate[chromedp.Void](axe(b.t)))
	}
	report := js[string](b, `axe.run({resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({
		id: v.id, impact: v.impact, help: v.help, at: v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " – " + n.failureSummary)}))))`)
	var all []violation
	if err := json.Unmarshal([]byte(report), &all); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range all {
		if v.Impact == "serious" || v.Impact == "critical" {
			serious = append(serious, v)
		} else {
			b.t.Logf("%v", v)
		}
	}
	return serious
}

// accessible fails the test unless everybody can use the page as it is now.
func (b *tab) accessible(what string) {
	b.t.Helper()
	for _, v := range b.violations() {
		b.t.Errorf("%s: %v", what, v)
	}
}

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A page that is open shows what happens to the folder, without being loaded anew.
func TestBrowserShowsWhatIsDropped(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "first.iso"), 50_000)
	s := serve(t, folder)
	s.published("first.iso")
	b := newBrowser(t, s)
	b.open("/")
	b.until(`document.documentElement.dataset.events === "open"`)
	js[bool](b, `window.sameDocument = true`)

	// Who is at a link stays there, however often the list around it is swapped.
	const torrent = `#releases a[href$=".torrent"]`
	at := js[string](b, fmt.Sprintf(`(a => { a.focus(); return a.href })(document.querySelector(%q))`, torrent))
	drop(t, filepath.Join(folder, "second.iso"), 60_000)
	b.until(`document.querySelector("#releases").textContent.includes("second.iso")`)
	if now := js[string](b, `document.activeElement.href ?? document.activeElement.tagName`); now != at {
		t.Errorf("the focus was at %s, and is at %s", at, now)
	}

	// Hashing is seen to move, in the same element. How large a file has to be for
	// that depends on the machine.
	for i := range 4 {
		big := fmt.Sprintf("big-%d.img", i)
		js[bool](b, fmt.Sprintf(`(() => {
			clearInterval(window.looking);
			window.seen = [];
			window.looking = setInterval(() => {
				const bar = document.querySelector("#pending li[data-name='%s'] progress");
				if (bar && window.seen.at(-1) !== bar.value / bar.max) window.seen.push(bar.value / bar.max);
			}, 20);
			return true;
		})()`, big))
		sparse(t, filepath.Join(folder, big), 1<<30<<(2*i))
		b.until(fmt.Sprintf(`document.querySelector("#releases").textContent.includes(%q)`, big))
		b.until(`!document.querySelector("#pending li")`)
		if js[int](b, `window.seen.length`) >= 3 {
			break
		}
	}
	t.Logf("hashing was shown at %v", js[[]float64](b, `window.seen`))
	if !js[bool](b, `window.seen.length >= 3 && window.seen.every((v, i) => v <= 1 && (i === 0 || v > window.seen[i - 1]))`) {
		t.Errorf("hashing was shown at %v, want it to grow in at least three steps", js[[]float64](b, `window.seen`))
	}

	if err := os.Remove(filepath.Join(folder, "first.iso")); err != nil {
		t.Fatal(err)
	}
	b.until(`!document.querySelector("#releases").textContent.includes("first.iso")`)
	if !js[bool](b, `window.sameDocument === true`) {
		t.Error("the page was loaded anew")
	}
}

// A stream is held while the page is seen, and found again after the server was away.
func TestBrowserReconnects(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "first.iso"), 50_000)
	s := serve(t, folder)
	s.published("first.iso")
	b := newBrowser(t, s)
	b.open("/")
	b.until(`document.documentElement.dataset.events === "open"`)
	js[bool](b, `(() => {
		window.sameDocument = true;
		window.show = state => {
			Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
			document.dispatchEvent(new Event("visibilitychange"));
		};
		return true;
	})()`)
	js[bool](b, `(window.show("hidden"), document.documentElement.dataset.events === "closed")`)
	b.until(`document.documentElement.dataset.events === "closed"`)
	drop(t, filepath.Join(folder, "second.iso"), 60_000)
	s.published("first.iso", "second.iso")
	js[bool](b, `(window.show("visible"), true)`)
	b.until(`document.querySelector("#releases").textContent.includes("second.iso")`)

	b.excuse("net::ERR_") // the browser says itself that the server is away
	s.kill()
	b.until(`document.documentElement.dataset.events === "closed"`)
	drop(t, filepath.Join(folder, "third.iso"), 70_000)
	again := serve(t, folder, "--http", s.http)
	again.published("third.iso")
	b.until(`document.querySelector("#releases").textContent.includes("third.iso")`)
	if !js[bool](b, `window.sameDocument === true`) {
		t.Error("the page was loaded anew")
	}
}

// leech starts an aria2 that downloads torrents at a limited rate until the test
// ends, or it is killed.
func leech(t testing.TB, torrents []string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{
		"--no-conf", "--dir=" + t.TempDir(), "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
		"--disable-ipv6=true", "--file-allocation=none", "--summary-interval=0", "--console-log-level=warn",
		"--seed-ratio=0", "--stop-with-process=" + fmt.Sprint(os.Getpid()),
	}, append(args, torrents...)...)
	cmd := exec.Command(need(t, "aria2c"), args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd
}

// painted counts the pixels of an element's canvas that are near a color of the theme.
const painted = `((selector, name) => {
  const canvas = document.querySelector(selector);
  if (!canvas || !canvas.width) return 0;
  const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  probe.fillRect(0, 0, 1, 1);
  const want = probe.getImageData(0, 0, 1, 1).data;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 100 && Math.abs(data[i] - want[0]) + Math.abs(data[i + 1] - want[1]) + Math.abs(data[i + 2] - want[2]) < 40) n++;
  }
  return n;
})`

// While clients download, the page shows who has what, at which rates, and the
// charts of it.
func TestBrowserShowsTheSwarm(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	need(t, "aria2c")
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "linux.iso"), 24<<20)
	s := serve(t, folder)
	r := s.published("linux.iso")[0]
	b := newBrowser(t, s)
	b.open("/releases/linux.iso")
	b.until(`document.documentElement.dataset.events === "open"`)
	b.until(`document.querySelector("#swarm").innerText.includes("No peer is connected")`)

	torrents := s.torrents([]release{r}, "url-list")
	first := leech(t, torrents, "--max-download-limit=400K")
	leech(t, torrents, "--max-download-limit=300K")
	b.until(`document.querySelectorAll("#swarm tr.peer").length === 2`)
	rows := b.texts("#swarm tr.peer th")
	for _, who := range rows {
		if !strings.HasPrefix(strings.ToLower(who), "aria2") {
			t.Errorf("an aria2 is called %q", who)
		}
	}
	if shown := b.text("#swarm"); strings.Contains(shown, "127.0.0.1") {
		t.Errorf("the addresses of peers are shown: %q", shown)
	}
	progress := `parseFloat(document.querySelector("#swarm tr.peer td:nth-child(3)").innerText)`
	b.until(progress + ` > 0`)
	before := js[float64](b, progress)
	b.until(fmt.Sprintf(`%s > %v`, progress, before))
	b.until(`Array.from(document.querySelectorAll("#swarm tr.peer td:nth-child(4)"), e => e.innerText).some(v => v.endsWith("B/s"))`)
	b.until(painted + `("#swarm tr.peer canvas", "--peers") > 50`)
	b.until(painted + `("#swarm tr.all canvas", "--orange") + ` + painted + `("#swarm tr.all canvas", "--carried") > 50`)
	if label := js[string](b, `document.querySelector("#swarm tr.peer canvas").getAttribute("aria-label")`); !strings.HasPrefix(label, "has ") {
		t.Errorf("the picture of a peer's parts is called %q", label)
	}
	b.until(`document.querySelector("[data-live='release.swarm.leechers']").innerText === "2 leechers"`)

	// The charts know of it with their next point.
	start := time.Now()
	b.until(painted + `("#charts figure:nth-of-type(1) canvas", "--peers") > 20`)
	b.until(painted + `("#charts figure:nth-of-type(2) canvas", "--orange") > 20`)
	t.Logf("the charts showed it after another %v", time.Since(start).Round(time.Millisecond))
	if label := js[string](b, `document.querySelector("#charts .plot").getAttribute("aria-label")`); !strings.Contains(label, "B/s now") || strings.Contains(label, "NaN") {
		t.Errorf("the chart is called %q", label)
	}
	js[bool](b, `(document.querySelector("#charts details").open = true)`)
	b.until(`document.querySelectorAll("#charts details tbody tr").length >= 6`)
	if cells := strings.Join(b.texts("#charts details tbody td"), " "); !strings.Contains(cells, "kB/s") || strings.Contains(cells, "NaN") {
		t.Errorf("the table of the figures says %q", cells)
	}

	if found, _ := filepath.Glob(filepath.Join("..", "..", ".tools", "axe-core@*")); len(found) > 0 {
		b.accessible("a release's page with a swarm, and its table open")
	}

	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	b.until(`document.querySelectorAll("#swarm tr.peer").length === 1`)

	// The operator's page has all of it in one place.
	b.open("/status")
	b.until(painted + `("#charts figure:nth-of-type(1) canvas", "--peers") > 20`)
	b.until(`document.querySelector("[data-live='stats.rates.peers']").innerText !== "0 B/s"`)
}

package main_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// webTorrent is the script of a BitTorrent client that runs in browsers, whose
// tracker client is npm's bittorrent-tracker.
func webTorrent(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join("..", "..", ".tools", "webtorrent@*"))
	if len(found) == 0 {
		missing(t, "webtorrent is not installed: run make tools")
	}
	b, err := os.ReadFile(slices.Max(found))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBrowsersFindEachOther has two browsers, one of which has the content, meet by
// our tracker over WebSocket alone: offer and answer go through it, the bytes do not.
func TestBrowsersFindEachOther(t *testing.T) {
	t.Parallel()
	script := webTorrent(t)
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "a.bin"), 3<<20)
	content, err := os.ReadFile(filepath.Join(folder, "a.bin"))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder)
	r := s.published("a.bin")[0]
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,"><title>peer</title><script type="module">
				import WebTorrent from "/webtorrent.js"
				window.client = new WebTorrent({dht: false, lsd: false, utPex: false, tracker: {rtcConfig: {iceServers: []}}})
			</script>`)
		case "/webtorrent.js":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprint(w, script)
		case "/content":
			w.Write(content)
		default:
			http.NotFound(w, r)
		}
	}))
	defer page.Close()
	host := strings.TrimPrefix(page.URL, "http://")
	announce := "ws://" + s.http + "/announce"

	seed := newBrowserFor(t, host)
	seed.open("/")
	seed.until("window.client")
	hash := js[string](seed, fmt.Sprintf(`(async () => {
		const bytes = await (await fetch("/content")).arrayBuffer()
		const torrent = await new Promise(done => client.seed(new File([bytes], "a.bin"), {announce: [%q], pieceLength: %d}, done))
		return torrent.infoHash
	})()`, announce, r.PieceLength))
	if hash != r.InfoHash {
		t.Fatalf("the browser's torrent is %s, ours %s", hash, r.InfoHash)
	}
	leech := newBrowserFor(t, host)
	leech.open("/")
	leech.until("window.client")
	js[bool](leech, fmt.Sprintf(`(client.add("magnet:?xt=urn:btih:%s&tr=" + encodeURIComponent(%q), torrent => torrent.on("done", async () => {
		const sum = await crypto.subtle.digest("SHA-256", await (await torrent.files[0].blob()).arrayBuffer())
		window.sum = Array.from(new Uint8Array(sum), b => b.toString(16).padStart(2, "0")).join("")
	})), true)`, hash, announce))
	leech.until("window.sum")
	if got, want := js[string](leech, "window.sum"), fmt.Sprintf("%x", sha256.Sum256(content)); got != want {
		t.Errorf("SHA-256 %s, want %s", got, want)
	}
	s.expectSent("a.bin", "nothing by us", func(r release) bool { return r.Sent.Peers+r.Sent.Webseed+r.Sent.Direct == 0 })
}

//go:build screenshots

package main_test

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// maxPicture is how large a picture in the repository may be, in bytes.
const maxPicture = 300_000

// TestScreenshots writes pictures of the pages into deploy/screenshots, see make
// screenshots: what is seen is a real server with real downloads.
func TestScreenshots(t *testing.T) {
	pictures := filepath.Join("..", "..", "deploy", "screenshots")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		t.Fatal(err)
	}
	python := need(t, "python3")
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		python = "/usr/bin/python3" // the one with Debian's libtorrent
	}
	folder := filepath.Join(t.TempDir(), "mirror")
	const main = "debian-12.7.0-amd64-netinst.iso"
	for _, f := range []struct {
		path string
		size int64
	}{
		{"alpine-standard-3.20.3-x86_64.iso", 218_000_000},
		{"archlinux-2024.11.01-x86_64.iso", 1_185_000_000},
		{"Fedora-Workstation-Live-x86_64-41-1.4.iso", 2_390_000_000},
		{"openstreetmap-andorra-2024-11/andorra-latest.osm.pbf", 3_100_000},
		{"openstreetmap-andorra-2024-11/andorra-shapes.zip", 7_800_000},
		{"handwritten-digits-v3/train/images.parquet", 41_000_000},
		{"handwritten-digits-v3/train/labels.parquet", 1_200_000},
		{"handwritten-digits-v3/test/images.parquet", 7_100_000},
		{"handwritten-digits-v3/test/labels.parquet", 210_000},
		{"emberfall-patch-1.4.2/emberfall-1.4.2-linux-x86_64.pak", 812_000_000},
		{"emberfall-patch-1.4.2/emberfall-1.4.2-windows-x86_64.pak", 845_000_000},
		{"emberfall-patch-1.4.2/manifest.json", 18_000},
		{main, 661_651_456},
	} {
		sparse(t, filepath.Join(folder, f.path), f.size)
	}
	write := func(path, text string) {
		if err := os.WriteFile(filepath.Join(folder, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("handwritten-digits-v3/README.md", "# Handwritten digits, version 3\n\n70,000 pictures of 28 × 28 pixels, with what they show.\n")
	write(main+".txt", "The smallest installer of Debian 12 “bookworm”: boots, and fetches the rest over the network.\n")
	config := filepath.Join(t.TempDir(), "pictures.yaml")
	text := "http: {title: Hackerspace Mirror}\nsite: {description: 'Linux images, data sets and game patches, from our rack to yours.'}\n" +
		"limits: {upload: 2500KB}\n" // a small line, so that peers have to help each other
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder, "--config", config)
	r := s.published(main)[0]
	s.published("emberfall-patch-1.4.2", "Fedora-Workstation-Live-x86_64-41-1.4.iso", "handwritten-digits-v3")

	// Clients of two makes, slow enough to be watched, come one after the other: one
	// takes from the webseed too, the others from peers only; then a direct download.
	peersOnly, all := s.torrents([]release{r}, "url-list"), s.torrents([]release{r})
	start := func(program string, args ...string) {
		cmd := exec.Command(program, args...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		})
	}
	comers := []func(){
		func() { leech(t, peersOnly, "--max-download-limit=2000K") },
		func() { leech(t, all, "--max-download-limit=3000K") },
		func() { start(python, "-c", slowLibtorrent, peersOnly[0], t.TempDir(), "2500000") },
		func() { start(need(t, "curl"), "-s", "--limit-rate", "700K", "-o", "/dev/null", s.url("/files/"+main)) },
	}
	b := newBrowser(t, s)
	b.size(1200, 860)
	b.open("/releases/" + main)
	for _, come := range comers {
		come()
		time.Sleep(25 * time.Second) // so that the charts have something to tell
	}
	b.until(`document.querySelectorAll("#swarm tr.peer").length >= 3`)
	b.picture(pictures, "release")
	b.theme("dark")
	b.until(`document.querySelector("#charts .uplot")`)
	b.part(pictures, "swarm", "#swarm", "#charts .chart:last-of-type")
	b.open("/status")
	b.until(`document.querySelector("#charts .uplot")`)
	b.picture(pictures, "status")

	b.theme("light")
	b.open("/")
	b.until(`document.documentElement.dataset.events === "open"`)
	sparse(t, filepath.Join(folder, "raspios-bookworm-arm64-full.img"), 12_000_000_000)
	b.until(`document.querySelector("#pending progress")?.value > 4e9`)
	b.picture(pictures, "catalog-light")
	b.theme("dark")
	b.picture(pictures, "catalog-dark")
	b.size(390, 844)
	b.picture(pictures, "phone")
}

const slowLibtorrent = `
import sys, time
import libtorrent as lt
session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "download_rate_limit": int(sys.argv[3])})
everywhere = lt.ip_filter()  # the limit holds on the local network too
everywhere.add_rule("0.0.0.0", "255.255.255.255", 1 << lt.session.global_peer_class_id)
session.set_peer_class_filter(everywhere)
session.add_torrent({"ti": lt.torrent_info(sys.argv[1]), "save_path": sys.argv[2]})
time.sleep(600)
`

// picture writes what the window shows.
func (b *tab) picture(dir, name string) {
	b.t.Helper()
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.must(err)
	b.write(dir, name, shot)
}

// part writes what is from the top of one element to the bottom of another.
func (b *tab) part(dir, name, from, to string) {
	b.t.Helper()
	box := js[[]float64](b, fmt.Sprintf(`(() => {
		const a = document.querySelector(%q).getBoundingClientRect(), z = document.querySelector(%q).getBoundingClientRect();
		return [a.left + scrollX - 24, a.top + scrollY - 8, a.width + 48, z.bottom - a.top + 24];
	})()`, from, to))
	beyond := true
	shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Clip: &page.Viewport{X: box[0], Y: box[1], Width: box[2], Height: box[3], Scale: 1}, CaptureBeyondViewport: &beyond,
	})
	b.must(err)
	b.write(dir, name, shot.Data)
}

// write compresses a picture as well as PNG can.
func (b *tab) write(dir, name string, shot []byte) {
	b.t.Helper()
	img, err := png.Decode(bytes.NewReader(shot))
	b.must(err)
	var out bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	b.must(enc.Encode(&out, img))
	if out.Len() > maxPicture {
		b.t.Errorf("%s.png has %d bytes, want at most %d", name, out.Len(), maxPicture)
	}
	b.must(os.WriteFile(filepath.Join(dir, name+".png"), out.Bytes(), 0o644))
	b.t.Logf("%s.png: %v, %d bytes", name, img.Bounds().Size(), out.Len())
}

package webseed

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"

	"dropseed/publisher/catalog"
)

// awkward are files whose names clients encode differently.
var awkward = map[string]string{
	"d 1/with space":         pattern(100_000),
	"d 1/#1 sharp":           "sharp",
	"d 1/100% percent":       "percent",
	"d 1/%41 encoded":        "encoded",
	"d 1/a+b plus":           "plus",
	"d 1/what? query":        "query",
	"d 1/über/straße":        "umlauts",
	"d 1/u\u0308ber/stra ße": "decomposed",
	"d 1/a&b=c;d,e":          "reserved",
	"d 1/[x] (y) {z}":        "brackets",
	"d 1/empty":              "",
}

// torrent writes a release's .torrent with its webseed as the only place to
// get it from, and returns its path.
func (f *fixture) torrent(t *testing.T, s *httptest.Server, rel catalog.Release) string {
	t.Helper()
	stored, err := f.catalog.Torrent(rel.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	var mi metainfo.MetaInfo
	if err := bencode.Unmarshal(stored, &mi); err != nil {
		t.Fatal(err)
	}
	mi.UrlList = metainfo.UrlList{WebseedURL(s.URL, rel)}
	path := filepath.Join(t.TempDir(), "it.torrent")
	if err := os.WriteFile(path, bencode.MustMarshal(mi), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a client that has to end by itself.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// wantFiles checks what a client has downloaded.
func wantFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for path, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%q: %d bytes, %v, want %d", path, len(got), err, len(want))
		}
	}
}

// releases are what the torrent clients download: many files, one, and one in a folder.
var releases = []map[string]string{awkward, {"#1 ü+50%?.iso": pattern(70_000)}, {"one/only": pattern(40_000)}, {"1/2/3": pattern(40_000)}}

func TestAria2FetchesFromTheWebseedAlone(t *testing.T) {
	aria2 := needTool(t, "aria2c")
	f := newFixture(t)
	s := f.start(t)
	dir := t.TempDir()
	args := []string{"--no-conf", "--quiet", "--dir=" + dir, "--seed-time=0", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
		"--listen-port=6900-6999", "--interface=127.0.0.1", "--file-allocation=none", "--bt-hash-check-seed=true", "--force-sequential", "--max-concurrent-downloads=9"}
	for _, files := range releases {
		args = append(args, f.torrent(t, s, f.publish(t, files)))
	}
	run(t, aria2, args...)
	for _, files := range releases {
		wantFiles(t, dir, files)
	}
}

func TestLibtorrentFetchesFromTheWebseedAlone(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, "python3-libtorrent", exec.Command(python, "-c", "import libtorrent").Run())
	const script = `
import libtorrent as lt, sys, time
ses = lt.session({'listen_interfaces': '127.0.0.1:0', 'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False,
                  'enable_natpmp': False, 'alert_mask': lt.alert.category_t.all_categories})
h = ses.add_torrent({'ti': lt.torrent_info(sys.argv[1]), 'save_path': sys.argv[2]})
end = time.time() + 20
while not h.status().is_seeding:
    if time.time() > end:
        sys.exit('at %f of it after 20 s\n' % h.status().progress + '\n'.join(str(a) for a in ses.pop_alerts()))
    time.sleep(0.05)
ses.pause(); h.flush_cache(); time.sleep(0.2)
`
	f := newFixture(t)
	s := f.start(t)
	for _, files := range releases {
		rel, dir := f.publish(t, files), t.TempDir()
		run(t, python, "-c", script, f.torrent(t, s, rel), dir)
		wantFiles(t, dir, files)
	}
}

func TestCurlFetchesAndResumes(t *testing.T) {
	curl := needTool(t, "curl")
	f := newFixture(t)
	s := f.start(t)
	rel := f.publish(t, awkward)
	for path, want := range awkward {
		for _, target := range []string{FileURL(s.URL, path), WebseedURL(s.URL, rel) + Escape(path)} {
			out := filepath.Join(t.TempDir(), "out")
			if err := os.WriteFile(out, []byte(want[:len(want)/2]), 0o644); err != nil {
				t.Fatal(err)
			}
			run(t, curl, "-sSf", "-C", "-", "-o", out, target)
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, []byte(want)) {
				t.Errorf("%s: %d bytes, %v, want %d", target, len(got), err, len(want))
			}
		}
	}
}

func TestAria2FetchesFilesInPieces(t *testing.T) {
	aria2 := needTool(t, "aria2c")
	f := newFixture(t)
	s := f.start(t)
	files := map[string]string{"big #1.iso": pattern(8 << 20)}
	f.publish(t, files)
	dir := t.TempDir()
	run(t, aria2, "--no-conf", "--quiet", "--dir="+dir, "--split=4", "--max-connection-per-server=4", "--min-split-size=1M",
		"--file-allocation=none", "--out=big #1.iso", FileURL(s.URL, "big #1.iso"))
	wantFiles(t, dir, files)
}

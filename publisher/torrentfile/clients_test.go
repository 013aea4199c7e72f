package torrentfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dropseed/watcher"
)

const python = "/usr/bin/python3"

// libtorrentScript makes v1 torrents of the cases on its standard input and
// prints their info-hashes. It then loads each of our .torrent files.
const libtorrentScript = `
import json, sys
import libtorrent as lt
out = []
for case in json.load(sys.stdin):
    fs = lt.file_storage()
    for f in case["files"]:
        fs.add_file(f["path"], f["size"])
    ct = lt.create_torrent(fs, case["piece_length"], lt.create_torrent.v1_only)
    if case["private"]:
        ct.set_priv(True)
    lt.set_piece_hashes(ct, case["dir"])
    theirs = lt.torrent_info(lt.bencode(ct.generate()))
    ours = lt.torrent_info(case["torrent"])
    out.append({"theirs": str(theirs.info_hash()), "ours": str(ours.info_hash()), "size": ours.total_size(),
        "paths": [ours.files().file_path(i) for i in range(ours.num_files())]})
json.dump(out, sys.stdout)
`

type libtorrentFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

type libtorrentCase struct {
	Dir         string           `json:"dir"`
	Files       []libtorrentFile `json:"files"`
	PieceLength int64            `json:"piece_length"`
	Private     bool             `json:"private"`
	Torrent     string           `json:"torrent"`
	ours        *Torrent
}

func requireLibtorrent(t *testing.T) {
	t.Helper()
	if err := exec.Command(requireTool(t, python), "-c", "import libtorrent").Run(); err != nil {
		skip(t, "python3-libtorrent is not installed")
	}
}

// writeTree puts the files of a tree on disk.
func writeTree(t *testing.T, dir string, content map[string][]byte) {
	t.Helper()
	for path, b := range content {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func newLibtorrentCase(t *testing.T, name string, content map[string][]byte, o Options) libtorrentCase {
	c := libtorrentCase{Dir: t.TempDir(), PieceLength: o.PieceLength, Private: o.Private}
	writeTree(t, c.Dir, content)
	tree := newMemory(content).tree(name)
	for _, f := range tree.Files {
		c.Files = append(c.Files, libtorrentFile{f.Path, f.Size})
	}
	c.ours = mustBuild(t, tree, folder(c.Dir), o)
	c.Torrent = filepath.Join(c.Dir, "ours.torrent")
	if err := os.WriteFile(c.Torrent, c.ours.Bytes, 0o644); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuildT21InfoHashIsLibtorrents(t *testing.T) {
	requireLibtorrent(t)
	r := rand.New(rand.NewPCG(9, 10))
	var cases []libtorrentCase
	for i := range 30 {
		pieceLength := []int{16 << 10, 64 << 10, 512 << 10}[i%3]
		files := 1 + r.IntN(50)
		if i%3 == 2 {
			files = 1 + r.IntN(5) // big ones
		}
		name, content := hardTree(r, files, pieceLength)
		cases = append(cases, newLibtorrentCase(t, name, content, Options{PieceLength: int64(pieceLength), Private: i%4 == 0}))
	}
	for _, size := range []int{1, 16383, 16384, 16385, 100_000} {
		content := map[string][]byte{"a # b%.iso": randomBytes(uint64(size), size)}
		cases = append(cases, newLibtorrentCase(t, "a # b%.iso", content, Options{PieceLength: 16 << 10}))
	}
	in, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", libtorrentScript)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var got []struct {
		Theirs, Ours string
		Size         int64
		Paths        []string
	}
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(cases) {
		t.Fatalf("%d answers for %d cases: %v", len(got), len(cases), err)
	}
	for i, g := range got {
		c := cases[i]
		if g.Theirs != c.ours.InfoHash.HexString() || g.Ours != g.Theirs {
			t.Errorf("case %d: info-hash %v; libtorrent makes %s, and %s of our file\nfiles %v", i, c.ours.InfoHash, g.Theirs, g.Ours, c.Files)
		}
		var paths []string
		for _, f := range c.Files {
			paths = append(paths, f.Path)
		}
		if g.Size != c.ours.Size || strings.Join(g.Paths, "\n") != strings.Join(paths, "\n") {
			t.Errorf("case %d: libtorrent loads %d bytes in %q", i, g.Size, g.Paths)
		}
	}
}

func TestMagnetT17IsReadByLibtorrent(t *testing.T) {
	requireLibtorrent(t)
	m := Magnet{
		Name: "a b&c=d+e%ü.iso", Trackers: []string{"http://t:80/a?k=1&x=2"}, Webseeds: []string{"http://w/a%20b"},
		Peers: []string{"192.0.2.1:6881", "[2001:db8::1]:6882"},
	}
	m.InfoHash[0] = 0xab
	const script = `
import json, sys, libtorrent as lt
p = lt.parse_magnet_uri(sys.argv[1])
json.dump([str(p.info_hashes.v1), p.name, p.trackers, p.url_seeds, [[a, n] for a, n in p.peers]], sys.stdout, ensure_ascii=False)`
	got, err := exec.Command(python, "-c", script, m.String()).Output()
	want := fmt.Sprintf(`["%v", "a b&c=d+e%%ü.iso", ["http://t:80/a?k=1&x=2"], ["http://w/a%%20b"], [["192.0.2.1", 6881], ["2001:db8::1", 6882]]]`, m.InfoHash)
	if err != nil || string(got) != want {
		t.Errorf("libtorrent reads %s as\n%s, want\n%s (%v)", m, got, want, err)
	}
}

func TestBuildIsReadByStockClients(t *testing.T) {
	m := newMemory(map[string][]byte{
		"d/a #1%.bin": randomBytes(1, 100_000), "d/empty": nil, "d/sub/ü + b": []byte("x"), "d/one/file": []byte("y"),
	})
	trees := []watcher.Tree{m.tree("d")}
	m.files["single.iso"] = randomBytes(2, 16384)
	trees = append(trees, m.tree("single.iso"))
	for _, tree := range trees {
		torrent := mustBuild(t, tree, m, Options{Comment: "c", CreatedBy: "dropseed"})
		b, err := WithNetwork(torrent.Bytes, Network{
			Trackers: [][]string{{"http://127.0.0.1:1/announce"}, {"udp://127.0.0.1:1"}}, Webseeds: []string{"http://127.0.0.1:1/"},
		})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "a.torrent")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, client := range [][]string{{"/usr/bin/transmission-show", path}, {"/usr/bin/aria2c", "-S", path}} {
			t.Run(filepath.Base(client[0])+"/"+tree.Name, func(t *testing.T) {
				out, err := exec.Command(requireTool(t, client[0]), client[1:]...).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				want := []string{torrent.InfoHash.HexString(), "http://127.0.0.1:1/announce"}
				for _, f := range tree.Files {
					want = append(want, f.Path)
				}
				for _, w := range want {
					if !strings.Contains(string(out), w) {
						t.Errorf("no %q in its output:\n%s", w, out)
					}
				}
			})
		}
	}
}

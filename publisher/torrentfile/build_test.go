package torrentfile

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"golang.org/x/sync/semaphore"

	"dropseed/watcher"
)

// hardTree returns a tree whose sizes lie around those where blocks and pieces end.
func hardTree(r *rand.Rand, files int, pieceLength int) (name string, content map[string][]byte) {
	sizes := []int{0, 1, 16383, 16384, 16385, pieceLength - 1, pieceLength, pieceLength + 1, 3*pieceLength + 7}
	dirs := []string{"", "", "a/", "a.d/", "a/b/", "z y/ü/"}
	content = make(map[string][]byte)
	for i := range files {
		path := fmt.Sprintf("tree/%s%c%d.bin", dirs[r.IntN(len(dirs))], 'a'+rune(r.IntN(26)), i)
		content[path] = randomBytes(r.Uint64(), sizes[r.IntN(len(sizes))])
	}
	content["tree/some"] = []byte("x") // never all empty
	return "tree", content
}

// naivePieces is the definition in BEP 3, to compare with.
func naivePieces(m *memory, tree watcher.Tree, pieceLength int) []byte {
	var all, hashes []byte
	for _, f := range tree.Files {
		all = append(all, m.files[f.Path]...)
	}
	for piece := range slices.Chunk(all, pieceLength) {
		h := sha1.Sum(piece)
		hashes = append(hashes, h[:]...)
	}
	return hashes
}

func TestBuildT01BytesOfSingleFile(t *testing.T) {
	m := newMemory(map[string][]byte{"a.iso": []byte("hello")})
	got := mustBuild(t, m.tree("a.iso"), m, Options{
		Comment: "c", CreatedBy: "dropseed", CreationDate: time.Unix(1700000000, 5), Private: true, Source: "s",
	})
	h := sha1.Sum([]byte("hello"))
	want := "d7:comment1:c10:created by8:dropseed13:creation datei1700000000e4:info" +
		"d6:lengthi5e4:name5:a.iso12:piece lengthi16384e6:pieces20:" + string(h[:]) + "7:privatei1e6:source1:see"
	if string(got.Bytes) != want {
		t.Errorf("got  %q\nwant %q", got.Bytes, want)
	}
}

func TestBuildT01BytesOfDirectory(t *testing.T) {
	m := newMemory(map[string][]byte{"d/x/y": []byte("hel"), "d/x.z": []byte("lo"), "d/e": nil})
	got := mustBuild(t, m.tree("d"), m, Options{})
	h := sha1.Sum([]byte("hello"))
	want := "d4:infod5:filesld6:lengthi0e4:pathl1:eeed6:lengthi3e4:pathl1:x1:yeed6:lengthi2e4:pathl3:x.zeee" +
		"4:name1:d12:piece lengthi16384e6:pieces20:" + string(h[:]) + "ee"
	if string(got.Bytes) != want {
		t.Errorf("got  %q\nwant %q", got.Bytes, want)
	}
}

func TestBuildT02DecodedAndEncodedIsTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	name, content := hardTree(r, 20, 32<<10)
	m := newMemory(content)
	torrent := mustBuild(t, m.tree(name), m, Options{Private: true, Comment: "ü", CreatedBy: "x"})
	var v any
	if err := bencode.Unmarshal(torrent.Bytes, &v); err != nil {
		t.Fatal(err)
	}
	if again := bencode.MustMarshal(v); !bytes.Equal(again, torrent.Bytes) {
		t.Error("encoding again what was decoded gives other bytes")
	}
}

func TestAutoPieceLengthT03(t *testing.T) {
	for _, c := range []struct{ size, want int64 }{
		{1, 16 << 10},
		{8 << 20, 16 << 10},
		{8<<20 + 1, 32 << 10},
		{128 << 20, 256 << 10},
		{512 << 20, 1 << 20},
		{2 << 30, 1 << 20},
		{2<<30 + 1, 2 << 20},
		{3 << 30, 2 << 20},
		{4 << 30, 2 << 20},
		{4<<30 + 1, 4 << 20},
		{32 << 30, 16 << 20},
		{10 << 40, 16 << 20},
		{MaxSize, 16 << 20},
	} {
		got := AutoPieceLength(c.size)
		if got != c.want {
			t.Errorf("AutoPieceLength(%d) = %d, want %d", c.size, got, c.want)
		}
		if err := CheckPieceLength(got); err != nil {
			t.Error(err)
		}
	}
}

func TestBuildT03RefusesOtherPieceLengths(t *testing.T) {
	m := newMemory(map[string][]byte{"a": []byte("x")})
	for _, n := range []int64{-1, 1, 8 << 10, 16<<10 + 1, 48 << 10, 32 << 20, 1 << 62} {
		_, err := Build(t.Context(), m.tree("a"), m, Options{PieceLength: n})
		if err == nil || !strings.Contains(err.Error(), "power of two") {
			t.Errorf("piece length %d: %v", n, err)
		}
	}
	if m.reads > 0 {
		t.Error("content was read before the options were checked")
	}
}

func TestBuildT05FilesAreSortedByComponent(t *testing.T) {
	m := newMemory(map[string][]byte{})
	want := []string{"d/B", "d/a/b/c", "d/a/b.c", "d/a/z", "d/a-b", "d/a.txt", "d/ab", "d/\u00fc", "d/\uff5e", "d/\U0001f600"}
	for _, p := range want {
		m.files[p] = []byte("x")
	}
	got := mustParse(t, mustBuild(t, m.tree("d"), m, Options{}).Bytes)
	for i, f := range got.Files {
		if f.Path != want[i] {
			t.Errorf("file %d is %q, want %q", i, f.Path, want[i])
		}
	}
}

func TestBuildT13InfoHashIsOfTheBytesInTheFile(t *testing.T) {
	m := newMemory(map[string][]byte{"a": []byte("x")})
	torrent := mustBuild(t, m.tree("a"), m, Options{Comment: "c"})
	_, info, ok := bytes.Cut(torrent.Bytes, []byte("4:info"))
	if !ok {
		t.Fatal("no info dictionary")
	}
	if want := sha1.Sum(info[:len(info)-1]); torrent.InfoHash != want {
		t.Errorf("info-hash %v, want %x", torrent.InfoHash, want)
	}
}

func TestBuildT16SameTreeSameBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	name, content := hardTree(r, 40, 32<<10)
	m := newMemory(content)
	tree := m.tree(name)
	o := Options{PieceLength: 32 << 10, Workers: 1, Comment: "c", CreationDate: time.Unix(1, 0)}
	want := mustBuild(t, tree, m, o)
	for workers := range 9 {
		o.Workers = workers
		shuffled := tree
		shuffled.Files = slices.Clone(tree.Files)
		r.Shuffle(len(shuffled.Files), func(i, j int) {
			shuffled.Files[i], shuffled.Files[j] = shuffled.Files[j], shuffled.Files[i]
		})
		for i := range shuffled.Files {
			shuffled.Files[i].ModTime = time.Unix(r.Int64N(1e9), 0)
		}
		before := slices.Clone(shuffled.Files)
		if got := mustBuild(t, shuffled, m, o); !bytes.Equal(got.Bytes, want.Bytes) {
			t.Errorf("other bytes with %d workers", workers)
		}
		if !slices.Equal(before, shuffled.Files) {
			t.Error("the tree that was passed in was changed")
		}
	}
}

func TestBuildT16DescriptionIsOutsideTheInfoHash(t *testing.T) {
	m := newMemory(map[string][]byte{"a": []byte("x")})
	want := mustBuild(t, m.tree("a"), m, Options{}).InfoHash
	got := mustBuild(t, m.tree("a"), m, Options{Comment: "c", CreatedBy: "b", CreationDate: time.Now()}).InfoHash
	if got != want {
		t.Errorf("info-hash %v, want %v", got, want)
	}
}

func TestBuildT18PrivateAndSourceChangeTheInfoHash(t *testing.T) {
	m := newMemory(map[string][]byte{"a": []byte("x")})
	seen := map[string]Options{}
	for _, o := range []Options{{}, {Private: true}, {Source: "s"}, {Private: true, Source: "s"}} {
		torrent := mustBuild(t, m.tree("a"), m, o)
		if other, ok := seen[torrent.InfoHash.HexString()]; ok {
			t.Errorf("%+v and %+v have the same info-hash", o, other)
		}
		seen[torrent.InfoHash.HexString()] = o
		got := mustParse(t, torrent.Bytes)
		if got.Private != o.Private || got.Source != o.Source {
			t.Errorf("parsed private %v, source %q; want %+v", got.Private, got.Source, o)
		}
	}
}

func TestAutoPieceLengthT20KeepsTheTorrentSmall(t *testing.T) {
	for size := int64(1); size <= 800<<30; size = size*3 + 1 {
		if n := pieceCount(size, AutoPieceLength(size)) * v1HashSize; n > 1<<20 {
			t.Errorf("%d bytes have %d bytes of hashes", size, n)
		}
	}
}

func TestBuildHashesAsBEP3Says(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 30 {
		pieceLength := 16 << 10 << r.IntN(6) // below, at and above what is read at once
		name, content := hardTree(r, r.IntN(20), pieceLength)
		m := newMemory(content)
		tree := m.tree(name)
		var progress atomic.Int64
		torrent := mustBuild(t, tree, m, Options{PieceLength: int64(pieceLength), Workers: 1 + r.IntN(4), SHA256: true, Progress: &progress})
		if got := mustParse(t, torrent.Bytes); !bytes.Equal(got.Pieces, naivePieces(m, tree, pieceLength)) {
			t.Errorf("tree %d with pieces of %d bytes has wrong hashes", i, pieceLength)
		}
		if progress.Load() != tree.Size() {
			t.Errorf("progress ended at %d of %d bytes", progress.Load(), tree.Size())
		}
		if torrent.Size != tree.Size() || !slices.Equal(torrent.Files, tree.Files) {
			t.Error("the torrent and the tree do not agree")
		}
		for i, f := range torrent.Files {
			if torrent.SHA256[i] != sha256.Sum256(content[f.Path]) {
				t.Errorf("tree %d: the SHA-256 of %q, %d bytes, is wrong", i, f.Path, f.Size)
			}
		}
		for path, b := range content {
			if want := min(len(b), 1); m.opens[path] != want {
				t.Errorf("%q with %d bytes was opened %d times", path, len(b), m.opens[path])
			}
		}
		if m.open != 0 {
			t.Errorf("%d files are still open", m.open)
		}
	}
}

func TestBuildEmptyFilesKeepTheirPlace(t *testing.T) {
	m := newMemory(map[string][]byte{"d/a": nil, "d/b": []byte("x"), "d/c": nil})
	got := mustParse(t, mustBuild(t, m.tree("d"), m, Options{}).Bytes)
	var paths []string
	for _, f := range got.Files {
		paths = append(paths, fmt.Sprintf("%s:%d", f.Path, f.Size))
	}
	if want := []string{"d/a:0", "d/b:1", "d/c:0"}; !slices.Equal(paths, want) {
		t.Errorf("files %q, want %q", paths, want)
	}
}

func TestBuildDirectoryWithOneFileIsMultiFile(t *testing.T) {
	m := newMemory(map[string][]byte{"d/d": []byte("x")})
	got := mustParse(t, mustBuild(t, m.tree("d"), m, Options{}).Bytes)
	if len(got.Files) != 1 || got.Files[0].Path != "d/d" {
		t.Errorf("files %v, want only d/d", got.Files)
	}
}

func TestBuildRefusesNothingButEmptyFiles(t *testing.T) {
	m := newMemory(map[string][]byte{"d/a": nil, "d/b": nil, "e": nil})
	for _, name := range []string{"d", "e", "nothing"} {
		if _, err := Build(t.Context(), m.tree(name), m, Options{}); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: %v, want ErrEmpty", name, err)
		}
	}
}

func TestBuildKeepsFewFilesOpen(t *testing.T) {
	m := newMemory(map[string][]byte{})
	for i := range 2000 {
		m.files[fmt.Sprintf("d/%04d", i)] = randomBytes(uint64(i), 1000+i)
	}
	const workers = 4
	mustBuild(t, m.tree("d"), m, Options{PieceLength: 16 << 10, Workers: workers})
	if m.maxOpen > 2*workers {
		t.Errorf("%d files were open at once", m.maxOpen)
	}
}

func TestBuild50000FilesTakesSeconds(t *testing.T) {
	m := newMemory(map[string][]byte{})
	for i := range 50_000 {
		m.files[fmt.Sprintf("d/%03d/%03d.bin", i/250, i%250)] = []byte{byte(i)}
	}
	start := time.Now()
	torrent := mustBuild(t, m.tree("d"), m, Options{})
	mustParse(t, torrent.Bytes)
	// Well below a second by itself; this leaves room for the race detector and a busy machine.
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
	if len(torrent.Bytes) > 4<<20 {
		t.Errorf("the torrent has %d bytes", len(torrent.Bytes))
	}
}

func TestBuildFailsWithEachRead(t *testing.T) {
	name, content := hardTree(rand.New(rand.NewPCG(7, 8)), 12, 64<<10)
	m := newMemory(content)
	tree := m.tree(name)
	mustBuild(t, tree, m, Options{PieceLength: 64 << 10, Workers: 2})
	broken := errors.New("input/output error")
	for n := range m.reads {
		m.reads = 0
		var path string
		m.onRead = func(read int, p string) error {
			if read == n+1 {
				path = p
				return broken
			}
			return nil
		}
		_, err := Build(t.Context(), tree, m, Options{PieceLength: 64 << 10, Workers: 2})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
			t.Fatalf("read %d of %q failed and Build said: %v", n+1, path, err)
		}
		if m.open != 0 {
			t.Fatalf("%d files are still open", m.open)
		}
	}
}

func TestBuildNoticesContentThatChanges(t *testing.T) {
	content := randomBytes(1, 1<<20)
	for what, after := range map[string][]byte{
		"rewritten": randomBytes(2, len(content)), "longer": append(slices.Clone(content), 'x'),
		"shorter": content[: 1<<19 : 1<<19], "emptied": {},
	} {
		t.Run(what, func(t *testing.T) {
			m := newMemory(map[string][]byte{"d/a": []byte("x"), "d/b": slices.Clone(content)})
			m.onRead = func(read int, path string) error {
				if read == 3 {
					m.set("d/b", after)
				}
				return nil
			}
			_, err := Build(t.Context(), m.tree("d"), m, Options{Workers: 2})
			if !errors.Is(err, watcher.ErrChanged) || !strings.Contains(err.Error(), `"d/b"`) {
				t.Errorf("Build said: %v", err)
			}
			if m.open != 0 {
				t.Errorf("%d files are still open", m.open)
			}
		})
	}
}

func TestBuildNoticesContentThatChangedBefore(t *testing.T) {
	m := newMemory(map[string][]byte{"a": []byte("old")})
	tree := m.tree("a")
	m.set("a", []byte("new"))
	if _, err := Build(t.Context(), tree, m, Options{}); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Build said: %v", err)
	}
}

func TestBuildEndsSoonAfterItsContext(t *testing.T) {
	m := newMemory(map[string][]byte{"a": make([]byte, 64<<20)})
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	m.onRead = func(read int, _ string) error {
		switch {
		case read == 10:
			cancelled = time.Now()
			cancel()
		case read > 12:
			t.Error("reads go on after the context ended")
		}
		return nil
	}
	_, err := Build(ctx, m.tree("a"), m, Options{PieceLength: 16 << 20, Workers: 2})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Build said: %v", err)
	}
	if d := time.Since(cancelled); d > 100*time.Millisecond {
		t.Errorf("it took %v to end", d)
	}
	if m.open != 0 {
		t.Errorf("%d files are still open", m.open)
	}
}

// The sums of whole files have readers wait for each other, who must not wait for
// turns that the others have.
func TestBuildsShareTheirTurns(t *testing.T) {
	m := newMemory(map[string][]byte{"a": randomBytes(1, 5<<20), "b": randomBytes(2, 5<<20)})
	var busy atomic.Int64
	m.onRead = func(int, string) error {
		if n := busy.Add(1); n > 2 {
			t.Errorf("%d workers read at once", n)
		}
		time.Sleep(time.Millisecond)
		busy.Add(-1)
		return nil
	}
	turns := semaphore.NewWeighted(2)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		wg.Go(func() {
			if _, err := Build(t.Context(), m.tree(name), m, Options{Workers: 4, Turns: turns, SHA256: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCheckRefusesWhatNoTorrentCanHold(t *testing.T) {
	tree := watcher.Tree{Name: "a", Files: []watcher.File{{Path: "a", Size: 200 << 40}}}
	if err := Check(tree, Options{}); err == nil || !strings.Contains(err.Error(), "too much") {
		t.Errorf("200 TiB: %v", err)
	}
	tree.Files[0].Size = 40 << 40
	if err := Check(tree, Options{}); err != nil {
		t.Errorf("40 TiB: %v", err)
	}
	if err := Check(tree, Options{PieceLength: 16 << 10}); err == nil || !strings.Contains(err.Error(), "too much") {
		t.Errorf("40 TiB in pieces of 16 KiB: %v", err)
	}
}

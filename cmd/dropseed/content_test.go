package main_test

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/metainfo"
)

// The trees that clients download.
const (
	oneByte  = "one byte.bin"
	onePiece = "exactly one piece.bin"
	single   = "Grüße #1 100% a+b.iso"
	nested   = "Ünï ço#de 100% a+b & ?"
	portable = "Größe #1 100% a+b" // as nested, without what Transmission changes: it writes _ for ? and ", and no empty files
	many     = "many"
)

// trees are the files of each tree with their sizes; "" is the tree itself.
var trees = map[string]map[string]int{
	oneByte:  {"": 1},
	onePiece: {"": onePieceSize},
	single:   {"": 5<<20 + 123},
	nested: {
		"read me.txt":                    700,
		"empty":                          0,
		"a+b=c&d.bin":                    1,
		"100%25 %zz.bin":                 40_000,
		"deep/#1/what?/ö ä ü.iso":        1<<20 + 17,
		"deep/#1/what?/일/二/三.iso":        300_000,
		"deep/#1/ [x] {y} 'z' \"q\".txt": 16_384,
		"deep.txt":                       33,
	},
	portable: {
		"read me.txt":          700,
		"a+b=c&d.bin":          1,
		"100%25 %zz.bin":       40_000,
		"deep/#1/ö ä ü.iso":    1<<20 + 17,
		"deep/#1/일/二/三.iso":    300_000,
		"deep/[x] {y} 'z'.txt": 16_384,
		"deep.txt":             33,
	},
	many: manyFiles(),
}

var (
	allTrees = []string{oneByte, onePiece, single, nested, many}
	fewFiles = allTrees[:4] // many takes its time
)

const onePieceSize = 16 << 10 // the automatic piece length of small content

func manyFiles() map[string]int {
	files := map[string]int{}
	for i := range 2000 {
		files[fmt.Sprintf("%02d/file %04d.dat", i%20, i)] = 1 + i%997
	}
	return files
}

// dropTrees writes trees into a new folder.
func dropTrees(t testing.TB, names ...string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for _, name := range names {
		for path, size := range trees[name] {
			drop(t, filepath.Join(folder, name, path), size)
		}
	}
	return folder
}

// drop writes a file of random bytes; the same path and size give the same.
func drop(t testing.TB, path string, size int) {
	t.Helper()
	var seed [32]byte
	sum := sha1.Sum(fmt.Appendf(nil, "%s %d", path, size))
	copy(seed[:], sum[:])
	data := make([]byte, size)
	if _, err := rand.NewChaCha8(seed).Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// expectSame fails unless got, a file or directory, has the same files with
// the same bytes as want.
func expectSame(t testing.TB, want, got string) {
	t.Helper()
	if err := compare(want, got); err != nil {
		t.Error(err)
	}
}

func compare(want, got string) error {
	files := 0
	err := filepath.WalkDir(want, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		return compareFile(path, got+strings.TrimPrefix(path, want))
	})
	if err != nil {
		return fmt.Errorf("%w; there is: %q", err, listing(filepath.Dir(got)))
	}
	extra := -files
	err = filepath.WalkDir(got, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			extra++
		}
		return err
	})
	if err == nil && extra != 0 {
		err = fmt.Errorf("%s has %d files too many", got, extra)
	}
	return err
}

// listing is some of the files below path, for messages.
func listing(path string) []string {
	var names []string
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && len(names) < 20 {
			names = append(names, strings.TrimPrefix(p, path))
		}
		return nil
	})
	return names
}

func compareFile(want, got string) error {
	w, err := os.Open(want)
	if err != nil {
		return err
	}
	defer w.Close()
	g, err := os.Open(got)
	if err != nil {
		return err
	}
	defer g.Close()
	wb, gb := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, werr := io.ReadFull(w, wb)
		m, gerr := io.ReadFull(g, gb)
		if !bytes.Equal(wb[:n], gb[:m]) {
			return fmt.Errorf("%s differs from %s between bytes %d and %d", got, want, at, at+int64(max(n, m)))
		}
		at += int64(n)
		if werr != nil || gerr != nil {
			if errors.Is(werr, io.EOF) || errors.Is(werr, io.ErrUnexpectedEOF) {
				return nil // and got ended at the same byte
			}
			return errors.Join(werr, gerr)
		}
	}
}

// without returns a .torrent with these keys of its root dictionary left out,
// so that a client cannot use the trackers or the webseed.
func without(t testing.TB, torrent []byte, keys ...string) []byte {
	t.Helper()
	var root map[string]bencode.Bytes // keeps the info dictionary as it is
	if err := bencode.Unmarshal(torrent, &root); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if _, ok := root[key]; !ok {
			t.Errorf("the .torrent has no %s", key)
		}
		delete(root, key)
	}
	out, err := bencode.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// verify re-hashes content, a file or directory, against a .torrent.
func verify(torrent []byte, infoHash, content string) error {
	if err := verifyInfoHash(torrent, infoHash); err != nil {
		return err
	}
	mi, err := metainfo.Load(bytes.NewReader(torrent))
	if err != nil {
		return err
	}
	info, err := mi.UnmarshalInfo()
	if err != nil {
		return err
	}
	var readers []io.Reader
	for _, f := range info.UpvertedFiles() {
		file, err := os.Open(filepath.Join(append([]string{content}, f.Path...)...))
		if err != nil {
			return err
		}
		defer file.Close()
		if st, err := file.Stat(); err != nil || st.Size() != f.Length {
			return fmt.Errorf("%s has %v bytes, want %d (%v)", file.Name(), st.Size(), f.Length, err)
		}
		readers = append(readers, file)
	}
	all := io.MultiReader(readers...)
	piece := make([]byte, info.PieceLength)
	for i := range info.NumPieces() {
		n, err := io.ReadFull(all, piece)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("piece %d: %w", i, err)
		}
		sum := sha1.Sum(piece[:n])
		if !bytes.Equal(sum[:], info.Pieces[i*sha1.Size:][:sha1.Size]) {
			return fmt.Errorf("piece %d of %s does not match", i, content)
		}
	}
	return nil
}

// verifyInfoHash says whether a .torrent is that of infoHash.
func verifyInfoHash(torrent []byte, infoHash string) error {
	mi, err := metainfo.Load(bytes.NewReader(torrent))
	if err != nil {
		return err
	}
	if got := mi.HashInfoBytes().HexString(); got != infoHash {
		return fmt.Errorf("the info-hash is %s, want %s", got, infoHash)
	}
	return nil
}

// escape makes an URL path of a slash-separated path of names.
func escape(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

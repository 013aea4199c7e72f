package torrentfile

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"

	"dropseed/watcher"
)

const (
	aHash   = "20:aaaaaaaaaaaaaaaaaaaa"
	oneFile = "d4:infod6:lengthi5e4:name1:a12:piece lengthi16384e6:pieces" + aHash + "ee"
)

func TestParseReadsWhatBuildMade(t *testing.T) {
	m := newMemory(map[string][]byte{"d/a": randomBytes(1, 40_000), "d/b/c": []byte("x"), "d/e": nil})
	o := Options{Comment: "c", CreatedBy: "b", CreationDate: time.Unix(1700000000, 0).UTC(), Private: true, Source: "s"}
	torrent := mustBuild(t, m.tree("d"), m, o)
	got := mustParse(t, torrent.Bytes)
	if got.Name != "d" || got.InfoHash != torrent.InfoHash || got.PieceLength != torrent.PieceLength || got.Size != 40_001 ||
		got.Comment != "c" || got.CreatedBy != "b" || !got.CreationDate.Equal(o.CreationDate) || !got.Private || got.Source != "s" {
		t.Errorf("got %+v", got)
	}
	for i, f := range torrent.Files {
		if want := (watcher.File{Path: f.Path, Size: f.Size}); got.Files[i] != want {
			t.Errorf("file %d is %+v, want %+v", i, got.Files[i], want)
		}
	}
	if got.NumPieces() != 3 || !bytes.Equal(bytes.Join([][]byte{sl(got.Piece(0)), sl(got.Piece(1)), sl(got.Piece(2))}, nil), got.Pieces) {
		t.Error("the pieces do not add up")
	}
	if !bytes.Contains(torrent.Bytes, got.Info) || got.Info[0] != 'd' {
		t.Error("Info is not the info dictionary")
	}
}

func sl(h [20]byte) []byte { return h[:] }

func TestParseKeepsAnotherOrder(t *testing.T) {
	got := mustParse(t, []byte("d4:infod5:filesld6:lengthi3e4:pathl1:beed6:lengthi2e4:pathl1:aeee4:name1:d12:piece lengthi16384e6:pieces"+aHash+"ee"))
	if got.Files[0].Path != "d/b" || got.Files[1].Path != "d/a" {
		t.Errorf("files %v", got.Files)
	}
}

func TestParseRefuses(t *testing.T) {
	if _, err := Parse([]byte(oneFile)); err != nil {
		t.Fatal(err)
	}
	one := func(old, new string) string {
		if !strings.Contains(oneFile, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(oneFile, old, new, 1)
	}
	many := func(files string) string { return one("6:lengthi5e", "5:filesl"+files+"e") }
	for what, s := range map[string]string{
		"nothing":                    "",
		"no info":                    "de",
		"another type":               "i1e",
		"bytes after the end":        oneFile + "e",
		"an end that is missing":     oneFile[:len(oneFile)-1],
		"unsorted keys":              "d4:infod6:lengthi5e12:piece lengthi16384e4:name1:a6:pieces" + aHash + "ee",
		"a repeated key":             one("4:name1:a", "4:name1:a4:name1:a"),
		"a leading zero":             one("i5e", "i05e"),
		"minus zero":                 one("i5e", "i-0e"),
		"an empty number":            one("i5e", "ie"),
		"a plus sign":                one("i5e", "i+5e"),
		"a number that overflows":    one("i5e", "i9223372036854775808e"),
		"a string length with zero":  one("1:a", "01:a"),
		"a string past the end":      one("1:a", "999999999999:a"),
		"a number as a name":         one("1:a", "i1e"),
		"a list as a name":           one("1:a", "l1:ae"),
		"a string as a length":       one("i5e", "1:5"),
		"deep nesting":               one("6:lengthi5e", "1:x"+strings.Repeat("l", 1e6)+strings.Repeat("e", 1e6)+"6:lengthi5e"),
		"a negative length":          one("i5e", "i-5e"),
		"no length and no files":     one("6:lengthi5e", ""),
		"both length and files":      one("6:lengthi5e", "5:filesld6:lengthi5e4:pathl1:aeee6:lengthi5e"),
		"no content":                 one("i5e", "i0e"),
		"no name":                    one("4:name1:a", ""),
		"an empty name":              one("1:a", "0:"),
		"the name ..":                one("1:a", "2:.."),
		"a slash in the name":        one("1:a", "3:a/b"),
		"a NUL in the name":          one("1:a", "2:a\x00"),
		"a name that is not UTF-8":   one("1:a", "1:\xff"),
		"no pieces":                  one("6:pieces"+aHash, ""),
		"part of a hash":             one(aHash, "19:aaaaaaaaaaaaaaaaaaa"),
		"too many hashes":            one(aHash, "40:"+strings.Repeat("a", 40)),
		"too few hashes":             one("i5e", "i16385e"),
		"no piece length":            one("12:piece lengthi16384e", ""),
		"a negative piece length":    one("i16384e", "i-16384e"),
		"a zero piece length":        one("i16384e", "i0e"),
		"a tiny piece length":        one("i16384e", "i8192e"),
		"an odd piece length":        one("i16384e", "i16385e"),
		"a huge piece length":        one("i16384e", "i268435456e"),
		"absurd content":             one("i5e", "i9223372036854775807e"),
		"absurd content in two":      many("d6:lengthi9223372036854775807e4:pathl1:aeed6:lengthi9223372036854775807e4:pathl1:bee"),
		"v2":                         one("4:name1:a", "12:meta versioni2e4:name1:a"),
		"no files at all":            many(""),
		"a file without a path":      many("d6:lengthi5ee"),
		"a file with an empty path":  many("d6:lengthi5e4:pathlee"),
		"a file without a length":    many("d4:pathl1:aee"),
		"a file of negative length":  many("d6:lengthi-5e4:pathl1:aee"),
		"the path ..":                many("d6:lengthi5e4:pathl2:..1:aee"),
		"an empty component":         many("d6:lengthi5e4:pathl0:1:aee"),
		"a slash in a path":          many("d6:lengthi5e4:pathl3:a/bee"),
		"the same file twice":        many("d6:lengthi2e4:pathl1:aeed6:lengthi3e4:pathl1:aee"),
		"a file that is a directory": many("d6:lengthi2e4:pathl1:a1:beed6:lengthi3e4:pathl1:aee"),
		"padding (T14)":              many("d4:attr1:p6:lengthi5e4:pathl1:aee"),
		"a symbolic link":            many("d4:attr1:l6:lengthi5e4:pathl1:aee"),
	} {
		if m, err := Parse([]byte(s)); err == nil {
			t.Errorf("%s: accepted as %+v", what, m)
		}
	}
	if _, err := Parse(make([]byte, MaxBytes+1)); err == nil {
		t.Error("a file that is too long: accepted")
	}
}

func FuzzParse(f *testing.F) {
	m := newMemory(map[string][]byte{"d/a": randomBytes(1, 40_000), "d/b/c": []byte("x"), "d/e": nil})
	torrent, err := Build(f.Context(), m.tree("d"), m, Options{Private: true, CreationDate: time.Unix(1, 0)})
	if err != nil {
		f.Fatal(err)
	}
	full, err := WithNetwork(torrent.Bytes, Network{Trackers: [][]string{{"a"}, {"b"}}, Webseeds: []string{"c"}, Nodes: []Node{{"d", 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(torrent.Bytes)
	f.Add(full)
	f.Add([]byte(oneFile))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if path.Clean(file.Path) != file.Path || path.IsAbs(file.Path) || file.Size < 0 ||
				file.Path != m.Name && !strings.HasPrefix(file.Path, m.Name+"/") {
				t.Errorf("file %+v in %q", file, m.Name)
			}
		}
		if n := int64(m.NumPieces()); m.Size > n*m.PieceLength || m.Size <= (n-1)*m.PieceLength {
			t.Errorf("%d pieces of %d bytes for %d bytes", n, m.PieceLength, m.Size)
		}
		// T02: what was accepted has this one encoding only.
		var v any
		if err := bencode.Unmarshal(b, &v); err != nil {
			t.Fatalf("the library refuses it: %v", err)
		}
		if !bytes.Equal(bencode.MustMarshal(v), b) {
			t.Error("it was not canonical")
		}
		with, err := WithNetwork(b, Network{Trackers: [][]string{{"x"}}})
		if err != nil {
			t.Fatalf("WithNetwork refuses it: %v", err)
		}
		again, err := Parse(with)
		if err != nil {
			t.Fatalf("with trackers, it is refused: %v", err)
		}
		if again.InfoHash != m.InfoHash || !slices.Equal(again.Files, m.Files) {
			t.Error("with trackers, it is another torrent")
		}
	})
}

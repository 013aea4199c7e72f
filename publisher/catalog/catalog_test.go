package catalog

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/watcher"
)

func open(t *testing.T, dir string) *Catalog {
	t.Helper()
	c, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// release makes a New whose info-hash depends on name and version, as a real one's would.
func release(name, version string) New {
	return releaseOf(name, version, "src")
}

func releaseOf(name, version, source string) New {
	return New{
		InfoHash:    infohash.T(sha1.Sum([]byte(name + version))),
		PieceLength: 16 << 10,
		Torrent:     []byte("d4:info" + name + version + "e"),
		Tree: watcher.Tree{Source: source, Name: name, Files: []watcher.File{
			{Path: name + "/a", Size: 3, Version: version, ModTime: time.Unix(1, 0).UTC()},
			{Path: name + "/empty", Version: version, ModTime: time.Unix(2, 0).UTC()},
			{Path: name + "/z z", Size: 4, Version: version, ModTime: time.Unix(3, 0).UTC()},
		}},
	}
}

func put(t *testing.T, c *Catalog, n New) Release {
	t.Helper()
	r, err := c.Put(n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// state is everything that a catalog says, for comparing two.
func state(t *testing.T, c *Catalog) string {
	t.Helper()
	var lines []string
	for _, r := range c.byHash {
		content, err := c.Content(r.InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		torrent, err := c.Torrent(r.InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		latest, _ := c.Latest(r.Name)
		lines = append(lines, fmt.Sprintf("%v live=%v latest=%v %+v %q", r, r.Live(), latest.InfoHash == r.InfoHash, content.Files, torrent))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestEverythingIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	a := put(t, c, release("a", "1"))
	put(t, c, release("b", "1"))
	put(t, c, release("b", "2"))
	gone := put(t, c, release("c", "1"))
	if err := c.Retire(gone.InfoHash); err != nil {
		t.Fatal(err)
	}
	if a.Size != 7 || a.Files != 3 || a.IsFile || a.Pieces() != 1 {
		t.Errorf("release = %+v", a)
	}
	before := state(t, c)
	if n := strings.Count(before, "live=true"); n != 2 {
		t.Fatalf("%d live releases, want 2:\n%s", n, before)
	}
	c.Close()
	if after := state(t, open(t, dir)); after != before {
		t.Errorf("after reopening:\n%s\nbefore:\n%s", after, before)
	}
}

func TestPutRetiresTheOlderReleaseOfTheName(t *testing.T) {
	c := open(t, t.TempDir())
	one := put(t, c, release("a", "1"))
	changed := c.Changed()
	two := put(t, c, release("a", "2"))
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	if r, _ := c.Get(one.InfoHash); r.Live() {
		t.Error("the older release is still live")
	}
	if r, ok := c.Latest("a"); !ok || r.InfoHash != two.InfoHash {
		t.Errorf("Latest = %v", r)
	}
	if live := c.Live(); len(live) != 1 || live[0].InfoHash != two.InfoHash {
		t.Errorf("Live = %v", live)
	}
	put(t, c, release("a", "1"))
	if r, _ := c.Latest("a"); r.InfoHash != one.InfoHash {
		t.Errorf("after going back, Latest = %v", r)
	}
	if r, _ := c.Get(two.InfoHash); r.Live() {
		t.Error("after going back, the other is still live")
	}
}

func TestPutAgainRecordsVersionsOnly(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	first := put(t, c, release("a", "1"))
	touched := release("a", "1")
	for i := range touched.Tree.Files {
		touched.Tree.Files[i].Version = "touched"
	}
	touched.Torrent = []byte("another comment")
	again := put(t, c, touched)
	if again.Digest == first.Digest || !again.CreatedAt.Equal(first.CreatedAt) || !again.Live() {
		t.Errorf("first %+v, again %+v", first, again)
	}
	content, err := c.Content(first.InfoHash)
	if err != nil || content.Files[0].Version != "touched" {
		t.Errorf("Content = %+v, %v", content, err)
	}
	c.Close()
	if r, ok := open(t, dir).Latest("a"); !ok || r.Digest != again.Digest {
		t.Errorf("after reopening: %+v", r)
	}
}

func TestSumsAreKeptWithTheirFiles(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	n := release("a", "1")
	n.SHA256 = [][32]byte{{1}, {2}, {0xff, 3}}
	check := func(c *Catalog, when string) {
		t.Helper()
		content, err := c.Content(n.InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		for i := range content.Files {
			if sum, ok := content.SHA256(i); !ok || sum != n.SHA256[i] {
				t.Errorf("%s: file %d has %x, %v", when, i, sum, ok)
			}
		}
	}
	put(t, c, n)
	check(c, "put")
	touched := release("a", "1")
	touched.Tree.Files[0].Version = "touched"
	put(t, c, touched) // by one who does not know them
	check(c, "put again")
	if err := c.Retire(n.InfoHash); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revive(touched.Tree); err != nil {
		t.Fatal(err)
	}
	check(c, "revived")
	c.Close()
	check(open(t, dir), "reopened")
}

func TestAReleaseMayHaveNoSums(t *testing.T) {
	c := open(t, t.TempDir())
	r := put(t, c, release("a", "1"))
	content, err := c.Content(r.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	if sum, ok := content.SHA256(0); ok {
		t.Errorf("SHA256 = %x", sum)
	}
}

func TestPastIsNewestFirst(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	for _, v := range []string{"1", "2", "3"} {
		put(t, c, release("a", v))
	}
	put(t, c, release("b", "1"))
	check := func(c *Catalog) {
		t.Helper()
		past := c.Past("a")
		if len(past) != 2 || past[0].InfoHash != release("a", "2").InfoHash || past[1].InfoHash != release("a", "1").InfoHash || past[0].Live() {
			t.Errorf("Past = %+v", past)
		}
		if past := c.Past("b"); len(past) != 0 {
			t.Errorf("Past of what has none = %+v", past)
		}
	}
	check(c)
	c.Close()
	check(open(t, dir))
}

func TestANameBelongsToOneSource(t *testing.T) {
	c := open(t, t.TempDir())
	mine := put(t, c, release("a", "1"))
	if _, err := c.Put(releaseOf("a", "2", "other")); !errors.Is(err, ErrNameTaken) {
		t.Fatalf("err = %v, want ErrNameTaken", err)
	}
	if err := c.Retire(mine.InfoHash); err != nil {
		t.Fatal(err)
	}
	put(t, c, releaseOf("a", "2", "other"))
}

func TestReviveNeedsTheSameTree(t *testing.T) {
	c := open(t, t.TempDir())
	n := release("a", "1")
	r := put(t, c, n)
	if err := c.Retire(r.InfoHash); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Latest("a"); ok {
		t.Fatal("a retired release is still the latest of its name")
	}
	if _, err := c.Revive(release("a", "2").Tree); !errors.Is(err, ErrUnknown) {
		t.Errorf("err = %v, want ErrUnknown", err)
	}
	back, err := c.Revive(n.Tree)
	if err != nil || back.InfoHash != r.InfoHash || !back.Live() {
		t.Errorf("Revive = %+v, %v", back, err)
	}
}

// TestACrashBetweenAnyTwoStepsOfACommit replays a commit that replaces a
// release, and stops after each of its steps.
func TestACrashBetweenAnyTwoStepsOfACommit(t *testing.T) {
	base := t.TempDir()
	c := open(t, base)
	one := put(t, c, release("a", "1"))
	before := snapshot(t, base)
	two := put(t, c, release("a", "2"))
	after := snapshot(t, base)
	c.Close()

	torrent, record, old := two.InfoHash.HexString()+".torrent", two.InfoHash.HexString()+".json", one.InfoHash.HexString()+".json"
	steps := []struct {
		name   string
		change func(files map[string]string)
		want   infohash.T
	}{
		{"nothing", func(map[string]string) {}, one.InfoHash},
		{"half a torrent", func(f map[string]string) { f[tempPrefix+"1"] = after[torrent][:3] }, one.InfoHash},
		{"the torrent", func(f map[string]string) { f[torrent] = after[torrent] }, one.InfoHash},
		{"half a record", func(f map[string]string) { f[torrent] = after[torrent]; f[tempPrefix+"2"] = after[record][:40] }, one.InfoHash},
		{"the record", func(f map[string]string) { f[torrent] = after[torrent]; f[record] = after[record] }, two.InfoHash},
		{"all", func(f map[string]string) {
			f[torrent], f[record], f[old] = after[torrent], after[record], after[old]
		}, two.InfoHash},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			files := make(map[string]string)
			for k, v := range before {
				files[k] = v
			}
			s.change(files)
			os.Mkdir(filepath.Join(dir, "releases"), 0o755)
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(dir, "releases", name), []byte(b), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second time, what the first repaired must stand
				c := open(t, dir)
				live := c.Live()
				if len(live) != 1 || live[0].InfoHash != s.want {
					t.Fatalf("live = %v, want %v", live, s.want)
				}
				if aside, _ := os.ReadDir(filepath.Join(dir, "set-aside")); len(aside) != 0 {
					t.Errorf("set aside: %v", aside)
				}
				state(t, c)
				c.Close()
			}
		})
	}
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(filepath.Join(dir, "releases"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, "releases", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func TestWhatIsCorruptOrForeignIsSetAside(t *testing.T) {
	for name, damage := range map[string]func(dir, hash string) (file, content string){
		"cut record":        func(_, h string) (string, string) { return h + ".json", `{"format":1,` },
		"record of another": func(_, h string) (string, string) { return h + ".json", `{"format":1,"info_hash":"00"}` },
		"newer format":      func(_, h string) (string, string) { return h + ".json", `{"format":99}` },
		"corrupt torrent":   func(_, h string) (string, string) { return h + ".torrent", `d4:infoXe` },
		"foreign file":      func(_, _ string) (string, string) { return "notes.txt", "mine" },
		"upper case":        func(_, h string) (string, string) { return strings.ToUpper(h) + ".json", "{}" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := open(t, dir)
			bad := put(t, c, release("bad", "1"))
			good := put(t, c, release("good", "1"))
			c.Close()
			file, content := damage(dir, bad.InfoHash.HexString())
			if err := os.WriteFile(filepath.Join(dir, "releases", file), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			c = open(t, dir)
			if _, ok := c.Latest(good.Name); !ok {
				t.Error("the good release is gone too")
			}
			aside, _ := filepath.Glob(filepath.Join(dir, "set-aside", "*"+file))
			if len(aside) != 1 {
				t.Fatalf("set aside: %v", aside)
			}
			if b, _ := os.ReadFile(aside[0]); string(b) != content {
				t.Errorf("what was set aside was changed: %q", b)
			}
			if _, err := c.Put(release("bad", "1")); err != nil {
				t.Errorf("publishing it again: %v", err)
			}
		})
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrInUse) {
		t.Errorf("err = %v, want ErrInUse", err)
	}
}

func TestOldRetiredReleasesAreForgotten(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	r := put(t, c, release("a", "1"))
	live := put(t, c, release("b", "1"))
	if err := c.markRetired(r.InfoHash, time.Now().Add(-retiredFor-time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c = open(t, dir)
	if _, ok := c.Get(r.InfoHash); ok {
		t.Error("it is still known")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "releases", r.InfoHash.HexString()+"*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, ok := c.Get(live.InfoHash); !ok {
		t.Error("the live one was forgotten too")
	}
}

// Whoever has seen a serial takes nothing that has the same for new.
func TestSerialsAreNotGivenAgain(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	put(t, c, release("b", "1"))
	last := put(t, c, release("a", "1"))
	if err := c.markRetired(last.InfoHash, time.Now().Add(-retiredFor-time.Hour)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.Close()
		c = open(t, dir)
	}
	if next := put(t, c, release("c", "1")); next.serial <= last.serial {
		t.Errorf("the serial %d comes after %d", next.serial, last.serial)
	}
}

func TestContentFindsFilesByOffsetAndPath(t *testing.T) {
	c := open(t, t.TempDir())
	r := put(t, c, release("a", "1"))
	content, err := c.Content(r.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]int{0: 0, 2: 0, 3: 2, 6: 2} {
		if got := content.At(off); got != want {
			t.Errorf("At(%d) = %d, want %d", off, got, want)
		}
	}
	if i, ok := content.Lookup("a/z z"); !ok || i != 2 {
		t.Errorf("Lookup = %d, %v", i, ok)
	}
	if _, ok := content.Lookup("a/nothing"); ok {
		t.Error("a file that is not there was found")
	}
	if got := content.WithPrefix("a/z"); !slices.Equal(got, []int32{2}) {
		t.Errorf("WithPrefix = %v", got)
	}
	if _, err := c.Content(infohash.T{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("err = %v, want ErrUnknown", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for v := range 5 {
				name := fmt.Sprintf("r%d", i)
				r, err := c.Put(release(name, fmt.Sprint(v)))
				if err != nil {
					t.Error(err)
				}
				c.Live()
				if _, err := c.Content(r.InfoHash); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(c.Live()); n != 8 {
		t.Errorf("%d live releases, want 8", n)
	}
}

func TestContentCacheIsBounded(t *testing.T) {
	var cc contentCache
	many := make([]watcher.File, contentFiles/2+1)
	for i := range 5 {
		cc.put(infohash.T{byte(i)}, newContent(Release{InfoHash: infohash.T{byte(i)}}, many, nil))
	}
	if cc.used.Len() != 1 || cc.files != len(many) || cc.get(infohash.T{4}) == nil {
		t.Errorf("%d contents, %d files", cc.used.Len(), cc.files)
	}
}

func TestModifiedIsWhenAReleaseCameOrWent(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	if at := c.Modified(); !at.IsZero() {
		t.Errorf("Modified of nothing = %v", at)
	}
	a := put(t, c, release("a", "1"))
	if at := c.Modified(); !at.Equal(a.CreatedAt) {
		t.Errorf("Modified = %v, want %v", at, a.CreatedAt)
	}
	put(t, c, release("b", "1"))
	if err := c.Retire(a.InfoHash); err != nil {
		t.Fatal(err)
	}
	a, _ = c.Get(a.InfoHash)
	check := func(c *Catalog) {
		t.Helper()
		if at := c.Modified(); !at.Equal(a.RetiredAt) {
			t.Errorf("Modified = %v, want %v", at, a.RetiredAt)
		}
	}
	check(c)
	c.Close()
	check(open(t, dir))
}

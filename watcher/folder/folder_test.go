package folder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

// disk is the Content of a folder.
type disk string

func (d disk) at(path string) string { return filepath.Join(string(d), filepath.FromSlash(path)) }

func (d disk) Write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(d.at(path)), 0o777); err != nil {
		return err
	}
	return os.WriteFile(d.at(path), data, 0o666)
}

func (d disk) Remove(path string) error       { return os.RemoveAll(d.at(path)) }
func (d disk) Rename(from, to string) error   { return os.Rename(d.at(from), d.at(to)) }
func (d disk) Link(target, path string) error { return os.Symlink(target, d.at(path)) }

func (d disk) Spoil(path string) error {
	if err := os.MkdirAll(filepath.Dir(d.at(path)), 0o777); err != nil {
		return err
	}
	return os.Symlink("leads nowhere", d.at(path))
}

// logBuffer takes down what is logged.
type logBuffer struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newFolder(t *testing.T) (*Folder, disk, *logBuffer) {
	t.Helper()
	d, log := disk(t.TempDir()), &logBuffer{}
	f, err := New(string(d), Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, d, log
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// list returns the files by path, and the problems by path.
func list(t *testing.T, f *Folder, name string) (map[string]watcher.File, map[string]string) {
	t.Helper()
	files, problems := make(map[string]watcher.File), make(map[string]string)
	for file, err := range f.List(t.Context(), name) {
		if p, ok := errors.AsType[*watcher.Problem](err); ok {
			problems[p.Path] = p.Err.Error()
			continue
		}
		must(t, err)
		files[file.Path] = file
	}
	return files, problems
}

// wantList fails unless f lists these files, and problems with these paths for
// reasons that contain what is given.
func wantList(t *testing.T, f *Folder, name string, files []string, problems map[string]string) {
	t.Helper()
	got, gotProblems := list(t, f, name)
	if paths := slices.Sorted(maps.Keys(got)); !slices.Equal(paths, slices.Sorted(slices.Values(files))) {
		t.Errorf("List(%q) = %q, want %q", name, paths, files)
	}
	for path, why := range problems {
		if !strings.Contains(gotProblems[path], why) || why == "" {
			t.Errorf("List(%q): the problem with %q is %q, want %q", name, path, gotProblems[path], why)
		}
	}
	if len(gotProblems) != len(problems) {
		t.Errorf("List(%q): problems %q, want %q", name, gotProblems, problems)
	}
}

func TestFolderIsASource(t *testing.T) {
	t.Parallel()
	watchertest.TestSource(t, func(t *testing.T) (watcher.Source, watchertest.Content) {
		f, d, _ := newFolder(t)
		return f, d
	})
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	d := disk(t.TempDir())
	must(t, d.Write("file", nil))
	for _, row := range []struct {
		path   string
		ignore []string
		want   string
	}{
		{d.at("none"), nil, "no such file"},
		{d.at("file"), nil, "not a directory"},
		{string(d), []string{"*.iso", "[a", "b[", ""}, `"[a"`},
		{string(d), []string{"[a", "b["}, `"b["`},
	} {
		if _, err := New(row.path, Options{Ignore: row.ignore}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("New(%q, %q): %v, want %q", row.path, row.ignore, err, row.want)
		}
	}
}

func TestIgnoredNamesAreLeftOut(t *testing.T) {
	f, d, _ := newFolder(t)
	for _, path := range []string{
		"a.iso", ".hidden", ".dropseed/releases/x", "d/.git/x", "d/x.PART", "d/x.tmp", "x.Partial", "x.crdownload",
		"x.filepart", "x.aria2", "x.!qB", "x.!QB", "x~", "d/e/ok", "x.part/ok", "apart", "x.tmp2",
	} {
		must(t, d.Write(path, []byte("x")))
	}
	wantList(t, f, "", []string{"a.iso", "d/e/ok", "apart", "x.tmp2"}, nil)
	for _, name := range []string{".hidden", ".dropseed", "x~", "x.part"} {
		wantList(t, f, name, nil, nil)
	}
	files, _ := list(t, f, "a.iso")
	for _, path := range []string{".hidden", "x.part/ok", ".dropseed/releases/x"} {
		file := files["a.iso"]
		file.Path = path
		if _, err := f.Open(t.Context(), file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open of %q, which is left out: %v", path, err)
		}
	}

	f, err := New(string(d), Options{Ignore: []string{"D/E", "*.iso", ".*"}})
	must(t, err)
	files, _ = list(t, f, "")
	if _, ok := files["d/x.PART"]; !ok || len(files) != 12 {
		t.Errorf("with globs of its own: %q", slices.Sorted(maps.Keys(files)))
	}
}

func TestLinksAreFollowedInsideOnly(t *testing.T) {
	f, d, _ := newFolder(t)
	outside := disk(t.TempDir())
	must(t, outside.Write("secret", []byte("secret")))
	must(t, os.Symlink(string(d), outside.at("back")))
	must(t, d.Write("real/sub/f", []byte("first")))
	must(t, d.Write(".hidden/f", []byte("state")))
	good := map[string]string{
		"file":       "real/sub/f",
		"abs":        d.at("real/sub/f"),
		"hops":       "hop1",
		"hop1":       "./hop2",
		"hop2":       "real/../real/sub/../sub/f",
		"dir":        "real",
		"absdir":     d.at("real/sub"),
		"through":    "dir/sub/f",
		"real/up":    "../t.txt",
		"t.txt":      "real/sub/f",
		"real/sub/l": "f",
	}
	bad := map[string][2]string{
		"out":      {outside.at("secret"), "out of the folder"},
		"outdir":   {string(outside), "out of the folder"},
		"outrel":   {"../" + filepath.Base(string(outside)) + "/secret", "out of the folder"},
		"outdeep":  {"real/../../x", "out of the folder"},
		"outhop":   {"out", "out of the folder"},
		"outback":  {outside.at("back/real/sub/f"), "out of the folder"},
		"etc":      {"/etc/passwd", "out of the folder"},
		"dangling": {"none", "does not exist"},
		"notadir":  {"real/sub/f/x", "does not exist"},
		"self":     {"self", "too many"},
		"hidden":   {".hidden/f", "left out"},
		"hidden2":  {".hidden", "left out"},
		"top":      {".", "directory that it is in"},
		"abstop":   {string(d), "directory that it is in"},
	}
	want := []string{"real/sub/f"}
	for path, target := range good {
		must(t, d.Link(target, path))
	}
	for path := range good {
		switch path {
		case "dir":
			want = append(want, "dir/sub/f", "dir/up", "dir/sub/l")
		case "absdir":
			want = append(want, "absdir/f", "absdir/l")
		default:
			want = append(want, path)
		}
	}
	problems := make(map[string]string)
	for path, row := range bad {
		must(t, d.Link(row[0], path))
		problems[path] = row[1]
	}
	wantList(t, f, "", want, problems)

	files, _ := list(t, f, "")
	for path, file := range files {
		one, _ := list(t, f, strings.Split(path, "/")[0])
		if one[path] != file {
			t.Errorf("%q by its tree: %+v, among all: %+v", path, one[path], file)
		}
		o, err := f.Open(t.Context(), file)
		if err != nil {
			t.Error(err)
			continue
		}
		b := make([]byte, 5)
		if _, err := o.ReadAt(b, 0); string(b) != "first" {
			t.Errorf("%q reads as %q, %v", path, b, err)
		}
		o.Close()
	}

	// A listed file that becomes a link that leads out is not opened.
	file := files["real/sub/f"]
	must(t, d.Remove("real/sub/f"))
	must(t, d.Link(outside.at("secret"), "real/sub/f"))
	if _, err := f.Open(t.Context(), file); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Open through a link that leads out: %v", err)
	}
	must(t, d.Remove("real/sub"))
	must(t, d.Link(string(outside), "real/sub"))
	file.Path = "real/sub/secret"
	if _, err := f.Open(t.Context(), file); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Open in a directory that leads out: %v", err)
	}
}

func TestLinkCyclesAreProblems(t *testing.T) {
	f, d, _ := newFolder(t)
	must(t, d.Write("a/x/f", nil))
	must(t, d.Write("b/f", nil))
	must(t, d.Link("..", "a/x/up"))
	must(t, d.Link("../b", "a/b"))
	must(t, d.Link("../a", "b/a"))
	cycle := "directory that it is in"
	wantList(t, f, "", []string{"a/x/f", "a/b/f", "b/f", "b/a/x/f"}, map[string]string{
		"a/x/up": cycle, "a/b/a": cycle, "b/a/x/up": cycle, "b/a/b": cycle,
	})
	wantList(t, f, "a", []string{"a/x/f", "a/b/f"}, map[string]string{"a/x/up": cycle, "a/b/a": cycle})
}

// Without a bound, 40 directories of two links each would be walked 2^40 times.
func TestLinksDoNotMultiplyWithoutEnd(t *testing.T) {
	f, d, _ := newFolder(t)
	f.maxLinked = 1000
	for i := range 40 {
		must(t, d.Write(fmt.Sprintf("%d/f", i), nil))
		if i > 0 {
			must(t, d.Link(fmt.Sprintf("../%d", i-1), fmt.Sprintf("%d/a", i)))
			must(t, d.Link(fmt.Sprintf("../%d", i-1), fmt.Sprintf("%d/b", i)))
		}
	}
	_, problems := list(t, f, "39")
	if len(problems) != 1 {
		t.Fatalf("problems: %q", problems)
	}
	for _, why := range problems {
		if !strings.Contains(why, "through links") {
			t.Error(why)
		}
	}
}

func TestDeepDirectoriesAreListed(t *testing.T) {
	f, d, _ := newFolder(t)
	deep := "d" + strings.Repeat("/x", 200)
	must(t, d.Write(deep+"/f", nil))
	wantList(t, f, "d", []string{deep + "/f"}, nil)
}

func TestOpenFileIsLocalAndCheckCostsNothing(t *testing.T) {
	f, d, _ := newFolder(t)
	must(t, d.Write("f", []byte("first")))
	files, _ := list(t, f, "f")
	o, err := f.Open(t.Context(), files["f"])
	must(t, err)
	defer o.Close()
	if l, ok := o.(watcher.Local); !ok || l.OSFile() == nil {
		t.Fatal("not a watcher.Local")
	}
	if runtime.GOOS != "windows" {
		if n := testing.AllocsPerRun(100, func() { must(t, o.Check()) }); n != 0 {
			t.Errorf("Check allocates %v times", n)
		}
	}
	must(t, os.Truncate(d.at("f"), 2))
	if err := o.Check(); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Check of a truncated file: %v", err)
	}
}

func TestFolderThatIsAwayListsNothingAsGone(t *testing.T) {
	f, d, _ := newFolder(t)
	must(t, d.Write("a/f", []byte("first")))
	files, _ := list(t, f, "a")
	away := string(d) + ".away"
	refused := func(how string) {
		t.Helper()
		for _, name := range []string{"", "a", "none"} {
			n := 0
			var last error
			for _, err := range f.List(t.Context(), name) {
				n++
				last = err
			}
			if _, ok := errors.AsType[*watcher.Problem](last); n != 1 || last == nil || ok || errors.Is(last, fs.ErrNotExist) {
				t.Errorf("List(%q) of a folder that was %s yields %d, %v", name, how, n, last)
			}
		}
		if _, err := f.Open(t.Context(), files["a/f"]); err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, watcher.ErrChanged) {
			t.Errorf("Open in a folder that was %s: %v", how, err)
		}
	}
	must(t, os.Rename(string(d), away))
	refused("moved away")
	must(t, os.Mkdir(string(d), 0o777)) // as an empty mount point appears
	refused("replaced by an empty directory")
	must(t, os.WriteFile(d.at("other"), nil, 0o666))
	refused("replaced by another directory")
	must(t, os.RemoveAll(string(d)))
	must(t, os.WriteFile(string(d), nil, 0o666))
	refused("replaced by a file")
	must(t, os.Remove(string(d)))
	must(t, os.Rename(away, string(d)))
	wantList(t, f, "", []string{"a/f"}, nil)
	if _, err := f.Open(t.Context(), files["a/f"]); err != nil {
		t.Errorf("Open after the folder came back: %v", err)
	}
}

func TestListingHoldsNoDescriptor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors are counted in /proc")
	}
	f, d, _ := newFolder(t)
	for i := range 20 {
		must(t, d.Write(fmt.Sprintf("d/%d/f", i), nil))
	}
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(fds)
	}
	before := count()
	for range 10 {
		list(t, f, "")
		for range f.List(t.Context(), "d") {
			break
		}
		if _, err := f.Open(t.Context(), watcher.File{Path: "d/1/f", Version: "none"}); err == nil {
			t.Error("opened")
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestCloseEndsWait(t *testing.T) {
	f, _, _ := newFolder(t)
	ended := make(chan error)
	go func() {
		for {
			if _, err := f.Wait(context.Background()); err != nil {
				ended <- err
				return
			}
		}
	}()
	must(t, f.Close())
	if err := <-ended; !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Wait of a closed folder: %v", err)
	}
	must(t, f.Close())
}

func FuzzLinksNeverLeadOut(f *testing.F) {
	base := f.TempDir()
	d := disk(filepath.Join(base, "in"))
	for path, data := range map[string]string{"in/d/f": "inside", "in/d/e/f": "inside", "secret": "secret", "out/secret": "secret"} {
		if err := disk(base).Write(path, []byte(data)); err != nil {
			f.Fatal(err)
		}
	}
	for path, target := range map[string]string{"d/up": "..", "d/out": "../../out", "abs": string(d), "absout": base} {
		if err := d.Link(target, path); err != nil {
			f.Fatal(err)
		}
	}
	folder, err := New(string(d), Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, target := range []string{
		"d/f", "../secret", "d/../../secret", "abs/d/f", "absout/secret", "d/up/../secret", "d/out/secret", "d/up/d/e/../f",
		string(d) + "/d/f", string(d) + "/../secret", "//" + base + "/in/../secret", "/", "..", "./d//./e/",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		os.Remove(d.at("l"))
		if os.Symlink(target, d.at("l")) != nil {
			return
		}
		files, _ := list(t, folder, "l")
		for path, file := range files {
			o, err := folder.Open(t.Context(), file)
			if err != nil {
				t.Fatalf("%q is listed but not opened: %v", path, err)
			}
			b := make([]byte, 6)
			if _, err := o.ReadAt(b, 0); string(b) != "inside" {
				t.Errorf("a link to %q lists %q, which reads %q, %v", target, path, b, err)
			}
			o.Close()
		}
	})
}

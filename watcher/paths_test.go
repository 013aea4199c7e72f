package watcher_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

func TestComparePathsT05SortsByComponents(t *testing.T) {
	want := []string{"A", "a", "a/b", "a/b/c", "a/b.txt", "a!", "a-b", "a.txt", "a0", "b", "é"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, watcher.ComparePaths)
	if !slices.Equal(got, want) {
		t.Errorf("sorted: %q, want %q", got, want)
	}
}

func FuzzComparePathsIsByComponent(f *testing.F) {
	for _, s := range []string{"a/b a.txt", "a a/b", "a/b/c a/b", "x x", "a! a/b", "\xff/a \xff"} {
		a, b, _ := strings.Cut(s, " ")
		f.Add(a, b)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		want := slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
		if a == "" || b == "" {
			want = cmp.Compare(len(a), len(b)) // no path; nothing sorts before it
		}
		if got := watcher.ComparePaths(a, b); cmp.Compare(got, 0) != want {
			t.Errorf("ComparePaths(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}

func TestDigestIsOfPathSizeAndVersion(t *testing.T) {
	base := watcher.File{Path: "d/f", Size: 1, Version: "v"}
	digest := func(change func(*watcher.File)) watcher.Digest {
		f := base
		change(&f)
		return watcher.Tree{Source: "s", Name: "d", Files: []watcher.File{f}}.Digest()
	}
	same := digest(func(*watcher.File) {})
	if digest(func(f *watcher.File) { f.ModTime = time.Now() }) != same {
		t.Error("the modification time is part of the digest")
	}
	for what, change := range map[string]func(*watcher.File){
		"path":     func(f *watcher.File) { f.Path = "d/g" },
		"size":     func(f *watcher.File) { f.Size++ },
		"version":  func(f *watcher.File) { f.Version = "w" },
		"boundary": func(f *watcher.File) { f.Path, f.Version = "d/", "fv" },
	} {
		if digest(change) == same {
			t.Errorf("another %s gives the same digest", what)
		}
	}
}

func TestIgnoreMatchesAnyComponentInAnyCase(t *testing.T) {
	g, err := watcher.NewIgnore(append([]string{"/Top", "a/*.iso", "cache/"}, watcher.DefaultIgnore...))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"a":            false,
		".a":           true,
		"a/.b/c":       true,
		"a/b.TMP":      true,
		"b.tmp/c":      true,
		"tmp":          false,
		"a.tmp.gz":     false,
		"x.!Qb":        true,
		"backup~":      true,
		"top":          true,
		"TOP/x":        true,
		"d/top":        false,
		"a/x.ISO":      true,
		"a/b/x.iso":    false,
		"b/x.iso":      false,
		"a/x.iso/deep": true,
		"x/cache/y":    true,
	} {
		if got := g.Match(path); got != want {
			t.Errorf("Match(%q) = %v", path, got)
		}
	}
}

func FuzzIgnoreNeverFails(f *testing.F) {
	f.Add("*.tmp", "a/b.TMP")
	f.Add("[a-Z]*", "x")
	f.Add(`\`, `\`)
	f.Add("/a/[^b]?", "A/cd")
	f.Fuzz(func(t *testing.T, glob, path string) {
		g, err := watcher.NewIgnore([]string{glob})
		if err != nil {
			return
		}
		if g.Match(path) && !g.Match(path+"/below") {
			t.Errorf("%q leaves out %q but not what is below", glob, path)
		}
	})
}

func TestCheckPathT15(t *testing.T) {
	for path, ok := range map[string]bool{
		"a": true, "a/b c/é#%": true, `a\b`: true, "...": true,
		"": false, ".": false, "..": false, "/a": false, "a/": false, "a//b": false, "a/./b": false, "a/../b": false,
		"a\x00b": false, "a/\xff": false,
	} {
		if err := watcher.CheckPath(path); (err == nil) != ok {
			t.Errorf("CheckPath(%q) = %v", path, err)
		}
	}
}

// In a bubble time stands still while goroutines run; here it does not.
func TestReportsInRealTime(t *testing.T) {
	m := watchertest.NewMemory()
	w := watcher.New(m, watcher.Options{Settle: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var landed, reported time.Time
	go func() {
		<-w.Ready()
		landed = time.Now()
		m.Write("f", []byte("x"))
	}()
	w.Run(ctx, func(watcher.Event) { reported = time.Now(); cancel() })
	if took := reported.Sub(landed); took < 100*time.Millisecond || took > 400*time.Millisecond {
		t.Errorf("reported after %v", took)
	}
}

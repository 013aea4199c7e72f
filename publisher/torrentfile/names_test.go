package torrentfile

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"dropseed/watcher"
)

func TestCheckNameT15(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "...": true, ".hidden": true, "ü": true, "a b": true, `a\b`: true, "CON": true, strings.Repeat("x", 300): true,
		"": false, ".": false, "..": false, "a/b": false, "/": false, "a\x00b": false, "a\xff": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}

func files(paths ...string) []watcher.File {
	var list []watcher.File
	for _, p := range paths {
		list = append(list, watcher.File{Path: p, Size: 1})
	}
	return list
}

func TestCheckT15RefusesPathsThatCannotBe(t *testing.T) {
	for _, tree := range []watcher.Tree{
		{Name: "", Files: files("")},
		{Name: "..", Files: files("..")},
		{Name: "a/b", Files: files("a/b")},
		{Name: "d", Files: files("d/")},
		{Name: "d", Files: files("d//a")},
		{Name: "d", Files: files("d/../a")},
		{Name: "d", Files: files("d/a\x00")},
		{Name: "d", Files: files("d/\xff")},
		{Name: "d", Files: files("e/a")},
		{Name: "d", Files: files("d", "d/a")},
		{Name: "d", Files: files("d/a", "d/a")},
		{Name: "d", Files: files("d/a", "d/a/b")},
		{Name: "d", Files: files("d/b", "d/a")},
	} {
		var name *NameError
		if err := Check(tree, Options{}); !errors.As(err, &name) {
			t.Errorf("%v: %v, want a NameError", tree.Files, err)
		}
	}
	for _, size := range []int64{-1, MaxSize, 1<<63 - 1} {
		tree := watcher.Tree{Name: "d", Files: []watcher.File{{Path: "d/a", Size: 1}, {Path: "d/b", Size: size}}}
		if err := Check(tree, Options{}); err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("a size of %d: %v", size, err)
		}
	}
}

func TestWarningsT15(t *testing.T) {
	for _, c := range []struct {
		paths []string
		want  []string // parts of each warning
	}{
		{[]string{"d/fine", "d/.config", "d/ü", "d/console.txt", "d/a b"}, nil},
		{[]string{"d/nul", "d/Com1.txt", "d/a:b", "d/x\ty"}, []string{`"d/Com1.txt", like 3 more, cannot be created on Windows`}},
		{[]string{"d/x.", "d/y "}, []string{`"d/x.", like 1 more, ends with a dot or a space`}},
		{[]string{"d/" + strings.Repeat("x", 240)}, nil},
		{[]string{"d/" + strings.Repeat("x", 241)}, []string{"longer than 240 bytes"}},
		{[]string{"d/a%b"}, []string{`"d/a%b" holds '#', '?' or '%'`}},
		{[]string{"d/c#/a", "d/c#/b"}, []string{`"d/c#" holds`}},
		{[]string{"d/u\u0308"}, []string{`(NFC)`}},
		{[]string{"d/A", "d/a"}, []string{`"d/a" differs from another only in`}},
		{[]string{"d/A/x", "d/a/y"}, []string{`"d/a" differs from another only in`}},
		{[]string{"d/Straße", "d/STRASSE"}, []string{"differs from another"}},
		{[]string{"d/u\u0308", "d/\u00dc"}, []string{`(NFC)`, "differs from another"}},
	} {
		tree := watcher.Tree{Name: "d", Files: files(c.paths...)}
		slices.SortFunc(tree.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
		got := Warnings(tree)
		if len(got) != len(c.want) {
			t.Errorf("%q: %q, want %q", c.paths, got, c.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) {
				t.Errorf("%q: %q, want %q in it", c.paths, got[i], c.want[i])
			}
		}
	}
	if got := Warnings(watcher.Tree{Name: "a?.iso", Files: files("a?.iso")}); len(got) != 2 {
		t.Errorf("a single file's name: %q", got)
	}
}

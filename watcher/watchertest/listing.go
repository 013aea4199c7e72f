package watchertest

import (
	"fmt"
	"slices"
	"time"
)

func testList(k *kit) {
	k.write("a.txt", "top")
	k.write("a/b", "one")
	k.write("a/c/d e%#+.bin", "four")
	k.write("ab/é", "")
	k.write("empty", "")
	k.wantPaths("", "a.txt", "a/b", "a/c/d e%#+.bin", "ab/é", "empty")
	k.wantPaths("a", "a/b", "a/c/d e%#+.bin")
	k.wantPaths("ab", "ab/é")
	k.wantPaths("a.txt", "a.txt")
	all, _ := k.list("")
	for path, size := range map[string]int64{"a.txt": 3, "a/c/d e%#+.bin": 4, "ab/é": 0} {
		if all[path].Size != size {
			k.Errorf("size of %q = %d, want %d", path, all[path].Size, size)
		}
	}
	if age := time.Since(all["a.txt"].ModTime); age < -time.Minute || age > time.Minute {
		k.Errorf("ModTime of what was just written is %v", all["a.txt"].ModTime)
	}
	one, _ := k.list("a")
	for path, f := range one {
		if g := all[path]; f.Version != g.Version || f.Size != g.Size || !f.ModTime.Equal(g.ModTime) {
			k.Errorf("List(\"a\") says %+v, List(\"\") says %+v", f, g)
		}
	}
}

func testListNothing(k *kit) {
	k.wantPaths("")
	k.wantPaths("none")
	k.write("dir/x", "x")
	k.write("f", "x")
	for _, name := range []string{"none", "di", "dir/x", "x", "..", ".", "dir/..", "/"} {
		k.wantPaths(name)
	}
	k.must(k.content.Remove("dir"))
	k.wantPaths("dir")
	k.wantPaths("", "f")
}

func testListLeft(k *kit) {
	for i := range 10 {
		k.write(fmt.Sprintf("d/%d", i), "x")
	}
	for range k.src.List(k.Context(), "") {
		break
	}
	seq := k.src.List(k.Context(), "d")
	for range 2 { // a listing that is ranged over again is done again
		n := 0
		for _, err := range seq {
			k.must(err)
			n++
		}
		if n != 10 {
			k.Fatalf("%d files are listed, want 10", n)
		}
	}
}

func testVersionStays(k *kit) {
	k.write("d/a", "aaaa")
	k.write("f", "ffff")
	before, _ := k.list("")
	time.Sleep(tick)
	k.write("g", "other")
	k.read(k.open(before["d/a"]), 4)
	after, _ := k.list("")
	for path, f := range before {
		if after[path].Version != f.Version {
			k.Errorf("the Version of %q changed from %q to %q though nothing did", path, f.Version, after[path].Version)
		}
	}
}

func testVersionChanges(k *kit) {
	k.write("f", "first")
	seen := map[string]string{k.file("f").Version: "the first"}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"overwritten with the same size", func() { k.write("f", "FIRST") }},
		{"grown", func() { k.write("f", "first and more") }},
		{"truncated", func() { k.write("f", "f") }},
		{"replaced by a rename", func() { k.write("g", "g"); k.must(k.content.Rename("g", "f")) }},
		{"removed and made anew", func() { k.must(k.content.Remove("f")); k.write("f", "h") }},
	} {
		time.Sleep(tick)
		step.do()
		v := k.file("f").Version
		if old, ok := seen[v]; ok {
			k.Errorf("the Version of a file that was %s is that of %s", step.name, old)
		}
		seen[v] = step.name
	}
}

func testProblem(k *kit) {
	k.write("bad/a", "a")
	k.must(k.content.Spoil("bad/b"))
	k.write("good/a", "a")
	k.write("z", "z")
	files, problems := k.list("")
	if !slices.Equal(problems, []string{"bad/b"}) {
		k.Errorf("problems with %q, want one with bad/b", problems)
	}
	for _, path := range []string{"good/a", "z"} {
		if _, ok := files[path]; !ok {
			k.Errorf("%q is not listed beside a problem in another tree", path)
		}
	}
	if _, problems = k.list("bad"); !slices.Equal(problems, []string{"bad/b"}) {
		k.Errorf("problems with %q in the tree itself, want one with bad/b", problems)
	}
	k.wantPaths("good", "good/a")
	k.must(k.content.Remove("bad/b"))
	k.wantPaths("bad", "bad/a")
}

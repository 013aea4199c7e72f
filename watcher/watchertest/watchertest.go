// Package watchertest tests that a watcher.Source keeps its promises, and holds
// a strict Source in memory for the tests of its users.
//
// Every Source's own test calls TestSource with a function that makes an empty
// source and the Content to change it by. Memory is such a source; what it
// lists, opens and reads can be made to fail, to wait and to change meanwhile.
//
// The package does not test what only one kind of source has: links, limits of
// the kernel, credentials.
package watchertest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"dropseed/watcher"
)

// Content changes what a source holds, as a user would. Paths are as in
// watcher.File; directories come and go with what is in them.
type Content interface {
	Write(path string, data []byte) error // creates, or overwrites in place
	Remove(path string) error             // a file, or a directory with all that is in it
	Rename(from, to string) error         // replaces a file
	Spoil(path string) error              // puts something there that cannot be published
}

// tick is longer than a clock that stamps changes takes for one step.
const tick = 20 * time.Millisecond

// hintWithin is how soon a source that gives hints gives one.
const hintWithin = 3 * time.Second

// TestSource runs the kit. newSource makes an empty source for each test; it
// closes it with t.Cleanup, if need be. A source without hints returns an error
// from Wait.
func TestSource(t *testing.T, newSource func(t *testing.T) (watcher.Source, Content)) {
	for _, test := range []struct {
		name string
		run  func(*kit)
	}{
		{"ListsByNameAndAll", testList},
		{"ListsNothingWhereThereIsNothing", testListNothing},
		{"ListingCanBeLeftEarly", testListLeft},
		{"UnchangedContentKeepsItsVersion", testVersionStays},
		{"ChangedContentHasAnotherVersion", testVersionChanges},
		{"ProblemDoesNotEndAListing", testProblem},
		{"OpenReadsWhatWasListed", testOpen},
		{"OpenRefusesWhatChanged", testOpenChanged},
		{"OpenRefusesPathsOutside", testOpenOutside},
		{"OpenObjectGivesOldBytesOrErrChanged", testObjectChanged},
		{"OpenObjectOutlivesRemoval", testObjectRemoved},
		{"WaitHintsAtChanges", testWait},
		{"EndedContextEndsEverything", testCancel},
		{"SafeForConcurrentUse", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) {
			src, content := newSource(t)
			test.run(&kit{t, src, content})
		})
	}
}

// kit is what every test of the kit is given.
type kit struct {
	*testing.T
	src     watcher.Source
	content Content
}

func (k *kit) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

func (k *kit) write(path, data string) {
	k.Helper()
	k.must(k.content.Write(path, []byte(data)))
}

// list returns the listing of name by path, and the problems' paths.
func (k *kit) list(name string) (map[string]watcher.File, []string) {
	k.Helper()
	files, problems := make(map[string]watcher.File), []string{}
	for f, err := range k.src.List(k.Context(), name) {
		if p, ok := errors.AsType[*watcher.Problem](err); ok {
			problems = append(problems, p.Path)
			continue
		}
		k.must(err)
		if _, twice := files[f.Path]; twice {
			k.Fatalf("%q is listed twice", f.Path)
		}
		if err := watcher.CheckPath(f.Path); err != nil {
			k.Fatalf("%q is listed: %v", f.Path, err)
		}
		if f.Version == "" {
			k.Fatalf("%q is listed without a Version", f.Path)
		}
		files[f.Path] = f
	}
	return files, problems
}

// file returns the listing of one file.
func (k *kit) file(path string) watcher.File {
	k.Helper()
	files, _ := k.list("")
	f, ok := files[path]
	if !ok {
		k.Fatalf("%q is not listed", path)
	}
	return f
}

func (k *kit) wantPaths(name string, want ...string) {
	k.Helper()
	files, problems := k.list(name)
	got := slices.Sorted(maps.Keys(files))
	slices.Sort(want)
	if !slices.Equal(got, want) || len(problems) > 0 {
		k.Fatalf("List(%q) = %q and problems with %q, want %q", name, got, problems, want)
	}
}

func testWait(k *kit) {
	ctx, cancel := context.WithCancel(k.Context())
	hints := make(chan string)
	ended := make(chan error, 1)
	go func() {
		for {
			name, err := k.src.Wait(ctx)
			if err != nil {
				ended <- err
				return
			}
			select {
			case hints <- name:
			case <-ctx.Done():
			}
		}
	}()
	defer func() { cancel(); <-ended }()
	// Whatever is hinted at until it is quiet is not about what is done next.
	quiet := func() bool {
		for {
			select {
			case <-hints:
			case err := <-ended:
				ended <- err
				k.Logf("the source gives no hints: %v", err)
				return false
			case <-time.After(10 * tick):
				return true
			}
		}
	}
	for _, step := range []struct {
		name, tree string
		do         func()
	}{
		{"a file was made", "f", func() { k.write("f", "f") }},
		{"a file was overwritten", "f", func() { k.write("f", "g") }},
		{"a directory was made", "d", func() { k.write("d/a", "a") }},
		{"a file was made in it", "d", func() { k.write("d/b", "a") }},
		{"a file was made further below", "d", func() { k.write("d/e/f/g", "a") }},
		{"a file was overwritten further below", "d", func() { k.write("d/e/f/g", "b") }},
		{"a file was removed", "d", func() { k.must(k.content.Remove("d/b")) }},
		{"a directory was renamed", "n", func() { k.must(k.content.Rename("d", "n")) }},
		{"a file was overwritten in a renamed directory", "n", func() { k.write("n/e/f/g", "c") }},
		{"something unpublishable came", "n", func() { k.must(k.content.Spoil("n/bad")) }},
		{"a file was replaced", "f", func() { k.write("g", "g"); k.must(k.content.Rename("g", "f")) }},
		{"a tree was removed", "n", func() { k.must(k.content.Remove("n")) }},
	} {
		if !quiet() {
			return
		}
		step.do()
		late := time.After(hintWithin)
	hinted:
		for {
			select {
			case name := <-hints:
				if name == step.tree || name == "" {
					break hinted
				}
			case err := <-ended:
				ended <- err
				k.Fatalf("Wait: %v", err)
			case <-late:
				k.Errorf("no hint at %q within %v after %s", step.tree, hintWithin, step.name)
				break hinted
			}
		}
	}
}

func testCancel(k *kit) {
	k.write("f", "first")
	k.write("d/f", "first")
	f := k.file("f")
	ctx, cancel := context.WithCancel(k.Context())
	cancel()
	for _, name := range []string{"", "d", "f"} {
		var last error
		for _, err := range k.src.List(ctx, name) {
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			k.Errorf("List(%q) whose context has ended ends with %v", name, last)
		}
	}
	if o, err := k.src.Open(ctx, f); err == nil {
		o.Close()
		k.Error("Open whose context has ended does not fail")
	}
	if _, err := k.src.Wait(ctx); err == nil {
		k.Error("Wait whose context has ended does not fail")
	}
	ctx, cancel = context.WithCancel(k.Context())
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := k.src.Wait(ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(tick)
	cancel()
	select {
	case <-ended:
	case <-time.After(hintWithin):
		k.Error("Wait goes on after its context has ended")
	}
}

func testConcurrent(k *kit) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	k.must(k.content.Write("d/f", data))
	f := k.file("d/f")
	o := k.open(f)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			b := make([]byte, 1000)
			for j := range 50 {
				off := (i*997 + j*1013) % (len(data) - len(b))
				if _, err := o.ReadAt(b, int64(off)); err != nil || !bytes.Equal(b, data[off:off+len(b)]) {
					k.Errorf("ReadAt(%d) beside others: wrong bytes or %v", off, err)
					return
				}
				if err := o.Check(); err != nil {
					k.Errorf("Check: %v", err)
					return
				}
			}
		})
		wg.Go(func() {
			for range 10 {
				again, err := k.src.Open(k.Context(), f)
				if err != nil {
					k.Errorf("Open: %v", err)
					return
				}
				again.Close()
				for _, err := range k.src.List(k.Context(), "") {
					if err != nil {
						k.Errorf("List: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}

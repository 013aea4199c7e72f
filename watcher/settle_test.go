package watcher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

const settle = 5 * time.Second

// bench is a Watcher that runs on a Memory, in a bubble of its own time.
type bench struct {
	*testing.T
	m     *watchertest.Memory
	w     *watcher.Watcher
	start time.Time

	mu     sync.Mutex // guards the fields below
	log    bytes.Buffer
	events []event
}

// Write takes down what is logged.
func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

// take returns the events since it was last called.
func (b *bench) take() []event {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

func (b *bench) logged() string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

type event struct {
	watcher.Event
	at time.Duration // since the bench started
}

func (e event) String() string {
	if e.Gone {
		return fmt.Sprintf("%v %s gone", e.at, e.Tree.Name)
	}
	paths := []string{}
	for _, f := range e.Tree.Files {
		paths = append(paths, fmt.Sprintf("%s:%d", f.Path, f.Size))
	}
	return fmt.Sprintf("%v %s %v", e.at, e.Tree.Name, paths)
}

// onBench runs test in a bubble, with a Watcher that is already running.
// prepare, which may be nil, is called before it runs.
func onBench(t *testing.T, prepare func(*bench, *watcher.Options), test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := &bench{T: t, m: watchertest.NewMemory(), start: time.Now()}
		o := watcher.Options{Source: "s", Settle: settle, Rescan: 30 * time.Second, Log: slog.New(slog.NewTextHandler(b, nil))}
		if prepare != nil {
			prepare(b, &o)
		}
		b.w = watcher.New(b.m, o)
		ended := make(chan error)
		go func() {
			ended <- b.w.Run(ctx, func(e watcher.Event) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.events = append(b.events, event{e, time.Since(b.start)})
			})
		}()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
		}()
		synctest.Wait()
		test(b)
	})
}

func (b *bench) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) write(path string, size int) {
	b.Helper()
	if err := b.m.Write(path, make([]byte, size)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// want fails unless exactly these events came since it was last called, each
// given as "name" with the paths and sizes of its files, or "name gone".
func (b *bench) want(want ...string) {
	b.Helper()
	events := b.take()
	got := []string{}
	for _, e := range events {
		_, s, _ := strings.Cut(e.String(), " ")
		got = append(got, s)
	}
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		b.Fatalf("events after %v: %q\nwant %q\nlog: %s", time.Since(b.start), events, want, b.logged())
	}
}

// wantLogged fails unless text was logged n times.
func (b *bench) wantLogged(n int, text string) {
	b.Helper()
	if log := b.logged(); strings.Count(log, text) != n {
		b.Fatalf("%q was not logged %d times:\n%s", text, n, log)
	}
}

func (b *bench) pending(want ...string) {
	b.Helper()
	got := []string{}
	for _, p := range b.w.Pending() {
		got = append(got, fmt.Sprintf("%s %s %d:%d", p.Name, p.Reason, p.Files, p.Size))
	}
	if !slices.Equal(got, want) {
		b.Fatalf("pending: %q, want %q", got, want)
	}
}

func TestFileIsReportedOnceItSettled(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.sleep(time.Second)
		landed := time.Since(b.start)
		b.write("a.iso", 7)
		b.sleep(settle - time.Millisecond)
		b.want()
		b.pending("a.iso settling 1:7")
		b.sleep(200 * time.Millisecond)
		events := b.take()
		if len(events) != 1 || events[0].at < landed+settle || events[0].at > landed+settle+200*time.Millisecond {
			b.Fatalf("landed after %v, events: %v", landed, events)
		}
		tree := events[0].Tree
		if tree.Source != "s" || tree.Name != "a.iso" || !tree.IsFile() || tree.Files[0].Version == "" {
			b.Fatalf("tree: %+v", tree)
		}
		b.pending()
		b.sleep(10 * time.Minute)
		b.want()
	})
}

func TestSlowCopyIsReportedOnceAfterItsEnd(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		for range 300 {
			b.must(b.m.Append("big", make([]byte, 100)))
			b.sleep(time.Second)
			b.want()
		}
		b.pending("big settling 1:30000")
		b.sleep(settle - time.Second + 200*time.Millisecond)
		b.want("big [big:30000]")
		b.sleep(time.Hour)
		b.want()
	})
}

func TestFastCopyIsNotListedAtEveryWrite(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		for range 10_000 {
			b.must(b.m.Append("big", []byte{1}))
			b.sleep(time.Millisecond)
		}
		if n := b.m.Lists("big"); n > 250 {
			b.Errorf("listed %d times in 10 s", n)
		}
		b.sleep(settle + 200*time.Millisecond)
		b.want("big [big:10000]")
	})
}

func TestDirectoryCopiedFileByFileIsOneTree(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		for _, name := range []string{"d/b", "d/a.txt", "d/a/z", "d/c/d/e"} {
			b.write(name, 1)
			b.sleep(settle - 100*time.Millisecond)
			b.want()
		}
		b.sleep(300 * time.Millisecond)
		b.want("d [d/a/z:1 d/a.txt:1 d/b:1 d/c/d/e:1]")
	})
}

func TestManyFilesAtOnceAreOneReportAndFewListings(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		before := b.m.Lists("")
		for i := range 2000 {
			b.write(fmt.Sprintf("d/%04d", i), 1)
		}
		b.sleep(settle + 200*time.Millisecond)
		if events := b.take(); len(events) != 1 || len(events[0].Tree.Files) != 2000 {
			b.Fatalf("%d events", len(events))
		}
		if named, all := b.m.Lists("d"), b.m.Lists("")-before; named > 5 || all > 0 {
			b.Errorf("the tree was listed %d times, everything %d times", named, all)
		}
	})
}

func TestManyTreesAtOnceAreReportedEach(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		for i := range 2000 {
			b.write(fmt.Sprintf("f%04d", i), 1)
		}
		b.sleep(settle + 200*time.Millisecond)
		if n := len(b.take()); n != 2000 {
			b.Fatalf("%d events", n)
		}
	})
}

func TestReplacedFileIsReportedAgain(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("f", 1)
		b.sleep(time.Minute)
		b.want("f [f:1]")
		b.write("f", 1) // the same size, another version
		b.sleep(time.Minute)
		b.want("f [f:1]")
		b.write(".f.tmp", 3)
		b.must(b.m.Rename(".f.tmp", "f"))
		b.sleep(time.Minute)
		b.want("f [f:3]")
	})
}

func TestTreeMovedIntoPlaceSettlesToo(t *testing.T) {
	onBench(t, func(b *bench, _ *watcher.Options) { b.write("in/d/a", 1); b.write("in/d/b", 2) }, func(b *bench) {
		b.sleep(time.Minute)
		b.want("in [in/d/a:1 in/d/b:2]")
		b.must(b.m.Rename("in/d", "d"))
		b.sleep(settle - 10*time.Millisecond)
		b.want("in gone")
		b.sleep(200 * time.Millisecond)
		b.want("d [d/a:1 d/b:2]")
	})
}

func TestRemovedTreeIsGoneAfterASecondLook(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("d/a", 1)
		b.sleep(time.Minute)
		b.want("d [d/a:1]")
		b.must(b.m.Remove("d"))
		b.sleep(time.Second)
		b.want()
		b.pending("d vanished 0:0")
		b.sleep(1200 * time.Millisecond)
		b.want("d gone")
		b.pending()
		b.sleep(time.Hour)
		b.want()
		b.write("d/a", 1)
		b.sleep(time.Minute)
		b.want("d [d/a:1]")
	})
}

// TestRemovedTreeIsGoneAmongFrequentRescans: full listings between the looks say
// the same.
func TestRemovedTreeIsGoneAmongFrequentRescans(t *testing.T) {
	onBench(t, func(_ *bench, o *watcher.Options) { o.Settle, o.Rescan = 300*time.Millisecond, 400*time.Millisecond }, func(b *bench) {
		b.write("d", 1)
		b.sleep(time.Minute)
		b.want("d [d:1]")
		b.m.LoseHints()
		b.must(b.m.Remove("d"))
		b.sleep(2 * time.Second)
		b.want("d gone")
	})
}

func TestTreeThatIsBackAtOnceHasNotGone(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("f", 1)
		b.sleep(time.Minute)
		b.want("f [f:1]")

		b.must(b.m.Rename("f", "g")) // away and back: nothing changed
		b.sleep(time.Second)
		b.pending("f vanished 0:0", "g settling 1:1")
		b.must(b.m.Rename("g", "f"))
		b.sleep(time.Minute)
		b.want()
		b.pending()

		b.must(b.m.Remove("f")) // removed and made anew: changed
		b.sleep(time.Second)
		b.write("f", 2)
		b.sleep(time.Minute)
		b.want("f [f:2]")
	})
}

func TestUnreportedTreeThatGoesIsForgotten(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("f", 1)
		b.sleep(settle / 2)
		b.must(b.m.Remove("f"))
		b.sleep(time.Second)
		b.pending()
		b.sleep(time.Hour)
		b.want()
	})
}

func TestFailingListingsRetireNothing(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("a", 1)
		b.write("b/c", 1)
		b.sleep(time.Minute)
		b.want("a [a:1]", "b [b/c:1]")

		b.m.FailLists(errors.New("the disk is away"))
		b.must(b.m.Remove("b"))
		b.w.Look("")
		b.w.Look("a")
		b.sleep(time.Hour)
		b.want()
		b.pending()
		b.wantLogged(1, "the disk is away")
		if n := b.m.Lists("a"); n > 200 {
			b.Errorf("listed %d times in an hour of failures", n)
		}

		b.m.FailLists(nil)
		b.sleep(time.Minute)
		b.want("b gone")
		b.wantLogged(1, "works again")
		b.m.FailLists(errors.New("the disk is away"))
		b.sleep(time.Hour)
		b.wantLogged(2, "the disk is away")
		b.want()
	})
}

func TestSettlingTreeOutlastsFailingListings(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("a", 1)
		b.sleep(time.Second)
		b.m.FailLists(errors.New("no"))
		b.sleep(time.Minute)
		b.want()
		b.pending("a settling 1:1")
		b.m.FailLists(nil)
		b.sleep(time.Minute)
		b.want("a [a:1]")
	})
}

func TestReadyIsTheFirstCompleteListing(t *testing.T) {
	onBench(t, func(b *bench, _ *watcher.Options) { b.write("a", 1); b.m.FailLists(errors.New("no")) }, func(b *bench) {
		ready := func() bool {
			select {
			case <-b.w.Ready():
				return true
			default:
				return false
			}
		}
		b.sleep(time.Minute)
		if ready() {
			b.Error("ready before a listing was complete")
		}
		b.m.FailLists(nil)
		b.sleep(time.Minute)
		if !ready() {
			b.Error("not ready after a complete listing")
		}
	})
}

func TestKnownTreesAreReportedOnlyIfTheyDiffer(t *testing.T) {
	known := func(b *bench, o *watcher.Options) {
		o.Known = map[string]watcher.Digest{"lost": {1}, "changed": {2}}
		for _, path := range []string{"same/b", "same/a", "changed", "new"} {
			b.write(path, 1)
		}
		var tree watcher.Tree
		for f, err := range b.m.List(t.Context(), "same") {
			b.must(err)
			tree.Files = append(tree.Files, f)
		}
		slices.SortFunc(tree.Files, func(x, y watcher.File) int { return watcher.ComparePaths(x.Path, y.Path) })
		o.Known["same"] = tree.Digest()
	}
	onBench(t, known, func(b *bench) {
		b.sleep(100 * time.Millisecond)
		b.pending("changed settling 1:1", "lost vanished 0:0", "new settling 1:1")
		b.sleep(time.Minute)
		b.want("changed [changed:1]", "lost gone", "new [new:1]")
		if n := b.m.Lists("same"); n > 5 {
			b.Errorf("a known tree was listed by itself %d times", n)
		}
	})
}

func TestLookReportsAgainOnlyWhatDiffers(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.m.LoseHints()
		b.sleep(time.Second)
		b.write("f", 1)
		b.w.Look("f")
		b.sleep(settle + 200*time.Millisecond)
		b.want("f [f:1]")
		b.w.Look("f")
		b.w.Look("f/x")
		b.w.Look("")
		b.w.Look("none")
		b.sleep(settle * 2)
		b.want()
		b.write("f", 2)
		b.w.Look("")
		b.sleep(settle + 200*time.Millisecond)
		b.want("f [f:2]")
	})
}

func TestLostHintsCostAtMostARescan(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.m.LoseHints()
		b.sleep(time.Second)
		b.write("a", 1)
		b.write("d/a", 1)
		b.sleep(30*time.Second + settle + 200*time.Millisecond)
		b.want("a [a:1]", "d [d/a:1]")
		b.must(b.m.Remove("a"))
		b.write("d/a", 2)
		b.sleep(30*time.Second + settle + 200*time.Millisecond)
		b.want("a gone", "d [d/a:2]")
	})
}

// A change that no hint told of is found by the look that would have reported.
func TestWhatIsReportedIsTrueThen(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.sleep(time.Second)
		b.write("a", 1)
		b.sleep(settle / 2)
		b.m.LoseHints()
		b.write("a", 2)
		b.sleep(settle)
		b.want()
		b.sleep(settle)
		b.want("a [a:2]")
	})
}

func TestHintThatShowsNothingNewDoesNotDelay(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("a", 1)
		for range 49 {
			b.sleep(100 * time.Millisecond)
			b.m.Hint("a")
		}
		b.want()
		b.sleep(300 * time.Millisecond)
		b.want("a [a:1]")
	})
}

func TestProblemHoldsItsTreeAndIsLoggedOnce(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("d/a", 1)
		b.write("ok", 1)
		b.sleep(time.Minute)
		b.want("d [d/a:1]", "ok [ok:1]")

		b.must(b.m.SpoilAs("d/pipe", "is a named pipe"))
		b.write("d/a", 3)
		b.sleep(time.Second)
		b.pending("d problem 1:3")
		b.wantLogged(0, "named pipe")
		b.sleep(time.Hour)
		b.want() // what was reported before stands
		b.wantLogged(1, "named pipe")
		j, err := json.Marshal(b.w.Pending())
		b.must(err)
		if !strings.Contains(string(j), `"reason":"problem"`) || !strings.Contains(string(j), `"path":"d/pipe","error":"is a named pipe"`) {
			b.Errorf("pending as JSON: %s", j)
		}

		b.must(b.m.SpoilAs("d/pipe", "is a socket"))
		b.sleep(time.Hour)
		b.wantLogged(1, "named pipe")
		b.wantLogged(1, "is a socket")
		b.must(b.m.Remove("d/pipe"))
		b.sleep(time.Minute)
		b.want("d [d/a:3]")
		b.pending()
	})
}

func TestProblemThatPassesIsNotLogged(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.must(b.m.SpoilAs("d/link", "leads nowhere"))
		b.sleep(time.Second)
		b.must(b.m.Remove("d/link"))
		b.write("d/link", 1)
		b.sleep(time.Minute)
		b.want("d [d/link:1]")
		b.wantLogged(0, "leads nowhere")
	})
}

func TestTreeWithAProblemCanGo(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("d/a", 1)
		b.sleep(time.Minute)
		b.want("d [d/a:1]")
		b.must(b.m.Spoil("d/b"))
		b.must(b.m.Remove("d/a"))
		b.sleep(time.Minute)
		b.want()
		b.must(b.m.Remove("d"))
		b.sleep(time.Minute)
		b.want("d gone")
	})
}

func TestPathsThatNoTorrentCanHoldAreProblems(t *testing.T) {
	for _, path := range []string{"d/\xff", "d/../x", "d//x", "d/.", "d/", "d/a\x00"} {
		onBench(t, nil, func(b *bench) {
			b.write(path, 1)
			b.write("d/ok", 1)
			b.sleep(time.Hour)
			b.want()
			b.pending("d problem 1:1")
			b.wantLogged(1, "level=WARN")
		})
	}
	onBench(t, nil, func(b *bench) {
		b.write("d", 1) // a file and a directory in one place, as a bucket can have it
		b.write("d/x", 1)
		b.write("d.txt", 1)
		b.write("/x", 1) // belongs to no tree
		b.sleep(time.Hour)
		b.want("d.txt [d.txt:1]")
		b.pending("d problem 2:2")
	})
}

func TestSlowTreeDoesNotDelayOthers(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.sleep(time.Second)
		release := b.m.Hold() // whatever is listed from now on hangs
		b.write("slow", 1)
		b.sleep(time.Second)
		release()
		b.write("quick", 1)
		b.sleep(settle + 200*time.Millisecond)
		b.want("quick [quick:1]", "slow [slow:1]")
	})
}

// A listing of everything that began before a change must not undo what a look
// at that tree said meanwhile.
func TestOldListingDoesNotOverruleANewLook(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		b.write("changed", 1)
		b.write("removed", 1)
		b.sleep(20 * time.Second)
		b.want("changed [changed:1]", "removed [removed:1]")
		release := b.m.Hold()
		b.sleep(15 * time.Second) // the rescan hangs
		b.m.Pass()
		b.write("new", 1)
		b.write("changed", 2)
		b.must(b.m.Remove("removed"))
		b.sleep(time.Second)
		release()
		b.sleep(100 * time.Millisecond)
		b.pending("changed settling 1:2", "new settling 1:1", "removed vanished 0:0")
		b.sleep(settle)
		b.want("changed [changed:2]", "new [new:1]", "removed gone")
	})
}

func TestRunEndsWhileListingHangs(t *testing.T) {
	onBench(t, func(b *bench, _ *watcher.Options) { b.m.Hold() }, func(b *bench) {
		b.sleep(time.Hour)
		b.want()
	})
}

func TestRunTwiceIsAnError(t *testing.T) {
	onBench(t, nil, func(b *bench) {
		if err := b.w.Run(t.Context(), func(watcher.Event) {}); err == nil {
			b.Error("no error")
		}
	})
}

package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
)

func TestSettledTreeIsPublishedAndGoneTreeRetired(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "dir/x", 40_000)
		r.write("a", "dir/y", 0)
		r.write("a", "one.iso", 5)
		r.report("a", "dir")
		r.settle("a", "one.iso")
		r.wantLive("a", "dir")
		r.wantLive("a", "one.iso")
		r.wantPending()

		r.must(r.mem["a"].Remove("dir"))
		r.settle("a", "dir")
		r.wantLive("", "dir")
		r.wantLive("a", "one.iso")
		r.wantPending()
		if r.log.count("msg=published ") != 2 || r.log.count("msg=retired") != 1 {
			t.Errorf("the log says:\n%s", &r.log.b)
		}
	}, "a")
}

func TestChangedTreeReplacesItsRelease(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "f", 10)
		r.settle("a", "f")
		old, _ := r.cat.Latest("f")
		r.write("a", "f", 20)
		r.settle("a", "f")
		r.wantLive("a", "f")
		if got, ok := r.cat.Get(old.InfoHash); !ok || got.Live() {
			t.Errorf("the old release is %+v", got)
		}
	}, "a")
}

func TestNothingIsHashedTwice(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "f", 100_000)
		r.settle("a", "f")
		before := r.mem["a"].Usage().Opens
		unread := func(when string) {
			t.Helper()
			if n := r.mem["a"].Usage().Opens; n != before {
				t.Errorf("%s, it was opened %d more times", when, n-before)
			}
		}

		r.settle("a", "f")
		unread("reported again")

		r.Handle(watcher.Event{Tree: watcher.Tree{Source: "a", Name: "f"}, Gone: true})
		synctest.Wait()
		r.wantLive("", "f")
		r.settle("a", "f")
		if _, ok := r.cat.Latest("f"); !ok {
			t.Error("back again, it is not published")
		}
		unread("back again")

		r.stop()
		r.start(Options{})
		r.settle("a", "f")
		unread("after a restart")
	}, "a")
}

func TestWhatWasHashedIsKeptWhileTheRestFails(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		r.write("a", "f", 100_000)
		e := r.event("a", "f")
		m.FailLists(errBroken)
		r.Handle(e)
		synctest.Wait()
		opens := m.Usage().Opens
		r.wantPending("a/f failed: " + errBroken.Error())
		time.Sleep(time.Hour)
		m.FailLists(nil)
		time.Sleep(maxBackoff)
		synctest.Wait()
		if n := m.Usage().Opens; n != opens || n != 1 {
			t.Errorf("it was opened %d times", n)
		}
		r.wantLive("a", "f")
		r.wantPending()
	}, "a")
}

func TestFailedReadsAreTriedAgainAtGrowingIntervals(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		r.write("a", "f", 10)
		m.FailReads(errBroken)
		r.settle("a", "f")
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
			want *= time.Second
			r.wantPending("a/f failed: " + errBroken.Error())
			if got := time.Until(r.Pending()[0].Next); got != want {
				t.Errorf("after %d failures it waits %v, want %v", i+1, got, want)
			}
			time.Sleep(want - time.Nanosecond)
			synctest.Wait()
			if n := m.Usage().Reads; n != i+1 {
				t.Errorf("%d reads before the wait is over, want %d", n, i+1)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
		}
		if n := r.log.count("not published yet"); n != 1 {
			t.Errorf("it was logged %d times", n)
		}
		m.FailReads(nil)
		time.Sleep(maxBackoff)
		synctest.Wait()
		r.wantLive("a", "f")
		r.wantPending()
	}, "a")
}

func TestEachReadMayFail(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		tree := func(n int) string {
			name := fmt.Sprintf("tree%d", n)
			for i, size := range []int{1, 300_000, 0, 700_000} {
				r.write("a", fmt.Sprintf("%s/%d", name, i), size)
			}
			return name
		}
		r.settle("a", tree(0))
		total := m.Usage().Reads
		if total < 3 {
			t.Fatalf("only %d reads", total)
		}
		for n := 1; n <= total; n++ {
			name := tree(n)
			m.AtRead(n, func() { m.FailReads(errBroken) })
			r.settle("a", name)
			r.wantPending("a/" + name + " failed: " + errBroken.Error())
			r.wantLive("", name)
			m.FailReads(nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			r.wantPending()
			r.wantLive("a", name)
		}
	}, "a")
}

func TestTreeThatChangesWhileHashedIsNotPublished(t *testing.T) {
	for _, change := range []struct {
		name string
		do   func(r *rig)
	}{
		{"the file that is read", func(r *rig) { r.write("a", "d/2", 300_001) }},
		{"a file that was read", func(r *rig) { r.write("a", "d/1", 7) }},
		{"a new file", func(r *rig) { r.write("a", "d/3", 7) }},
		{"a file that cannot be published", func(r *rig) { r.must(r.mem["a"].Spoil("d/3")) }},
		{"a removed file", func(r *rig) { r.must(r.mem["a"].Remove("d/1")) }},
		{"all removed", func(r *rig) { r.must(r.mem["a"].Remove("d")) }},
	} {
		t.Run(change.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				m := r.mem["a"]
				r.write("a", "d/1", 5)
				r.write("a", "d/2", 300_000)
				m.AtRead(3, func() { change.do(r) })
				r.settle("a", "d")
				r.wantLive("", "d")
				r.wantPending("a/d failed: " + watcher.ErrChanged.Error())
				if got := r.looked(); !slices.Equal(got, []string{"d"}) {
					t.Errorf("the watcher was asked to look at %q", got)
				}
				reads := m.Usage().Reads
				time.Sleep(time.Hour)
				synctest.Wait()
				if m.Usage().Reads != reads {
					t.Error("it was read again though it has changed")
				}
				m.Remove("d/3") // the one that spoils it, if there is one
				r.settle("a", "d")
				r.wantPending()
				if r.event("a", "d").Gone {
					r.wantLive("", "d")
				} else {
					r.wantLive("a", "d")
				}
			}, "a")
		})
	}
}

func TestTreeThatWasAwayForAMomentIsPublishedWithoutNewEvent(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		r.write("a", "d/1", 5)
		r.write("a", "d/2", 5)
		m.AtRead(1, func() { r.must(m.Rename("d", "e")) })
		r.settle("a", "d")
		r.wantPending("a/d failed: does not exist")
		r.must(m.Rename("e", "d"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.wantLive("a", "d")
		r.wantPending()
	}, "a")
}

func TestNewerEventEndsTheHashingOfAnOlder(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		r.write("a", "f", 5_000_000)
		m.AtRead(2, func() {
			r.wantPending("a/f hashing")
			r.write("a", "f", 10)
			r.report("a", "f")
			r.wantPending("a/f queued")
		})
		r.settle("a", "f")
		r.wantLive("a", "f")
		r.wantPending()
		if n := m.Usage().Reads; n > 2+8 {
			t.Errorf("%d reads: the old tree was read on", n)
		}
		if n := r.log.count("not published yet"); n != 0 {
			t.Error("the end of the older was logged as a failure")
		}
	}, "a")
}

func TestGoneTreeIsNotPublishedByWhatWasUnderWay(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		r.write("a", "f", 5_000_000)
		m.AtRead(2, func() {
			r.Handle(watcher.Event{Tree: watcher.Tree{Source: "a", Name: "f"}, Gone: true})
			r.wantPending()
		})
		r.settle("a", "f")
		r.wantLive("", "f")
		r.wantPending()
	}, "a")
}

func TestWhatCannotBeATorrentIsPendingUntilItChanges(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "empty", 0)
		r.write("a", "bad/..", 1)
		r.report("a", "empty")
		r.settle("a", "bad")
		time.Sleep(time.Hour)
		r.wantPending("a/bad refused: another directory", "a/empty refused: "+torrentfile.ErrEmpty.Error())
		if r.mem["a"].Usage().Opens != 0 {
			t.Error("content was opened")
		}
		r.settle("a", "empty")
		if n := r.log.count("not published yet"); n != 2 {
			t.Errorf("they were logged %d times", n)
		}
		r.write("a", "empty", 1)
		r.settle("a", "empty")
		r.must(r.mem["a"].Remove("bad"))
		r.settle("a", "bad")
		r.wantLive("a", "empty")
		r.wantPending()
	}, "a")
}

func TestNameIsPublishedFromOneSourceAtATime(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "f", 10)
		r.write("b", "f", 10) // the very same content, and so the same info-hash
		r.write("c", "f", 20)
		r.settle("a", "f")
		r.settle("b", "f")
		r.wantLive("a", "f")
		r.wantPending(`b/f name taken: already published from source "a"`)
		opens := r.mem["b"].Usage().Opens
		if n := r.log.count(`already published from source \"a\"`); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, &r.log.b)
		}
		time.Sleep(time.Hour)
		if opens != 0 || r.mem["b"].Usage().Opens != 0 {
			t.Error("its content was opened")
		}

		r.must(r.mem["a"].Remove("f"))
		r.settle("a", "f")
		r.wantLive("b", "f")
		r.wantPending()

		r.settle("c", "f")
		r.wantPending(`c/f name taken: already published from source "b"`)
		r.must(r.mem["c"].Remove("f"))
		r.settle("c", "f")
		r.wantPending()
		r.wantLive("b", "f")
	}, "a", "b", "c")
}

func TestNameThatIsBeingHashedIsTaken(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "f", 10)
		r.write("b", "f", 20)
		release := r.mem["a"].Hold()
		a := watcher.Event{Tree: watcher.Tree{Source: "a", Name: "f", Files: []watcher.File{{Path: "f", Size: 10, Version: "1"}}}}
		r.Handle(a)
		synctest.Wait()
		r.settle("b", "f")
		r.wantPending("a/f hashing", `b/f name taken: already published from source "a"`)
		// a's fails: b may have the name.
		r.mem["a"].FailReads(errBroken)
		release()
		synctest.Wait()
		r.wantLive("b", "f")
		r.wantPending("a/f failed: " + errBroken.Error())
		time.Sleep(time.Minute)
		r.wantPending(`a/f name taken: already published from source "b"`)
	}, "a", "b")
}

func TestReleasesOfUnknownSourcesAreRetired(t *testing.T) {
	bubble(t, func(r *rig) {
		r.write("a", "f", 10)
		r.settle("a", "f")
		r.stop()
		r.mem["b"] = r.mem["a"]
		delete(r.mem, "a")
		r.start(Options{})
		r.settle("b", "f")
		r.wantLive("b", "f")
		r.wantPending()
	}, "a")
}

func TestKilledAtEachReadNothingIsLost(t *testing.T) {
	bubble(t, func(r *rig) {
		for n := 1; n <= 5; n++ {
			name := fmt.Sprintf("tree%d", n)
			r.write("a", name, 1_000_000)
			ended := make(chan struct{})
			r.mem["a"].AtRead(n, func() { go func() { r.stop(); close(ended) }() })
			r.settle("a", name)
			if n <= 4 {
				<-ended
				r.start(Options{})
				r.wantPending()
				r.settle("a", name)
			}
			r.wantLive("a", name)
		}
	}, "a")
}

func TestWithWatcherAReplacedFileComesOutRightOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		m := r.mem["a"]
		r.stop()
		var w *watcher.Watcher
		src := r.source(m)
		src.Look = func(name string) { w.Look(name) }
		r.start(Options{Sources: map[string]Source{"a": src}})
		w = watcher.New(m, watcher.Options{Source: "a", Known: r.cat.Published("a")})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx, r.Handle) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()

		r.write("a", "d/1", 5)
		r.write("a", "d/2", 900_000)
		m.LoseHints()
		m.AtRead(3, func() { r.write("a", "d/2", 800_000) })
		time.Sleep(30 * time.Second)
		synctest.Wait()
		r.wantLive("a", "d")
		r.wantPending()
		if n := r.log.count("msg=published "); n != 1 {
			t.Errorf("published %d times", n)
		}
		r.must(m.Remove("d"))
		time.Sleep(time.Minute)
		synctest.Wait()
		r.wantLive("", "d")
	}, "a")
}

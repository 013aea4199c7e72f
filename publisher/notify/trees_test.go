package notify

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailureIsToldOncePerReason(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	var trees []Tree
	listed := true
	change := func(o *Options) {
		o.Trees = func() []Tree { return trees }
		o.Listed = func(string) bool { return listed }
	}
	n := open(t, c, dir, nil, change)
	now, told := time.Now(), 0
	look := func(want ...string) {
		t.Helper()
		now = now.Add(5 * time.Second)
		if err := n.lookAtTrees(now); err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, e := range n.queued()[told:] {
			have = append(have, e.Name+": "+e.Reason)
		}
		told += len(have)
		if !slices.Equal(have, want) {
			t.Errorf("told %q, want %q", have, want)
		}
	}
	a := Tree{Source: "src", Name: "a", Path: "a/x", Reason: "bad name"}
	on := Tree{Source: "src", Name: "a"} // it is hashed
	trees = []Tree{a}
	look()
	trees = []Tree{on}
	look()
	trees = []Tree{a}
	look() // failed twice, and not in a row
	look("a: bad name")
	look()
	trees = []Tree{on}
	look()
	trees = []Tree{a}
	look()
	look() // retried, and no news

	n = open(t, c, dir, nil, change) // nor is a restart
	listed, trees = false, nil
	look()
	look()
	look()
	listed, trees = true, []Tree{a}
	look()
	look()

	a.Reason = "worse"
	trees = []Tree{a, {Source: "src", Name: "b", Reason: "disk"}}
	now = now.Add(-50 * time.Second) // soon after the last
	look()
	look("b: disk")
	now = now.Add(time.Minute)
	look()
	look("a: worse")

	trees = nil // mended, or gone
	look()
	look()
	trees = []Tree{a}
	look()
	look("a: worse")

	ids := map[string]bool{}
	for _, e := range n.queued() {
		ids[e.ID] = true
		if e.Type != Failed || e.Source != "src" {
			t.Errorf("told %+v", e)
		}
	}
	if len(ids) != told {
		t.Errorf("%d ids for %d events", len(ids), told)
	}
}

func TestLongReasonIsCut(t *testing.T) {
	t.Parallel()
	n := open(t, openCatalog(t, t.TempDir()), t.TempDir(), nil, func(o *Options) {
		o.Trees = func() []Tree { return []Tree{{Source: "src", Name: "a", Reason: "x\xff" + strings.Repeat("é", 5000)}} }
	})
	for range 2 {
		if err := n.lookAtTrees(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	left := n.queued()
	if len(left) != 1 || len(left[0].Reason) > reasonMost+10 || strings.ToValidUTF8(left[0].Reason, "") != left[0].Reason {
		t.Errorf("told %d events, the reason having %d bytes", len(left), len(left[0].Reason))
	}
}

func TestFailureToldInTheFutureHoldsUpNothing(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	reason := "disk"
	change := func(o *Options) {
		o.Trees = func() []Tree { return []Tree{{Source: "src", Name: "a", Reason: reason}} }
	}
	look := func(n *Notifier, now time.Time, want int) {
		t.Helper()
		for range 2 {
			if err := n.lookAtTrees(now); err != nil {
				t.Fatal(err)
			}
		}
		if left := n.queued(); len(left) != want {
			t.Errorf("%d events, want %d", len(left), want)
		}
	}
	look(open(t, c, dir, nil, change), time.Now().AddDate(1, 0, 0), 1) // the clock was wrong
	reason = "worse"
	look(open(t, c, dir, nil, change), time.Now(), 2)
}

func TestSlowLooksAtTreesAreRare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, looks := openCatalog(t, t.TempDir()), 0
		stop := run(t, open(t, c, t.TempDir(), nil, func(o *Options) {
			o.Trees = func() []Tree {
				looks++
				time.Sleep(time.Second)
				return nil
			}
		}))
		time.Sleep(200 * time.Second)
		stop()
		if looks < 5 || looks > 11 {
			t.Errorf("looked for a second each, %d times in 200 s", looks)
		}
	})
}

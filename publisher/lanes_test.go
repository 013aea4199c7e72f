package publisher

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dropseed/watcher"
)

// slow is a source of zeros, of which each read takes a while, or until ctx ends.
type slow struct {
	files map[string]int64
	read  time.Duration // 0: for ever
}

func (s slow) event(name string) watcher.Event {
	return watcher.Event{Tree: watcher.Tree{Source: "slow", Name: name, Files: []watcher.File{{Path: name, Size: s.files[name]}}}}
}

func (s slow) List(_ context.Context, name string) iter.Seq2[watcher.File, error] {
	return func(yield func(watcher.File, error) bool) { yield(watcher.File{Path: name, Size: s.files[name]}, nil) }
}

func (s slow) Open(ctx context.Context, f watcher.File) (watcher.Object, error) {
	return slowObject{ctx, s.read}, nil
}

type slowObject struct {
	ctx  context.Context
	read time.Duration
}

func (o slowObject) ReadAt(p []byte, _ int64) (int, error) {
	if o.read == 0 {
		<-o.ctx.Done()
		return 0, o.ctx.Err()
	}
	time.Sleep(o.read)
	return len(p), nil
}

func (slowObject) Check() error { return nil }
func (slowObject) Close() error { return nil }

func TestLargeTreesDoNotHoldUpSmallOnes(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		s := slow{map[string]int64{"patch": 10}, time.Second}
		r.start(Options{Sources: map[string]Source{"slow": {Opener: s, Lister: s, Look: func(string) {}}}})
		var want []string
		for i, reason := range []Reason{Hashing, Hashing, Queued, Queued, Queued} {
			name := fmt.Sprintf("large%d", i)
			s.files[name] = largeSize + int64(i)
			r.Handle(s.event(name))
			synctest.Wait() // so that they come in this order
			want = append(want, "slow/"+name+" "+string(reason))
		}
		r.wantPending(want...)
		r.Handle(s.event("patch"))
		synctest.Wait()
		r.wantPending(append(want, "slow/patch hashing")...)
		time.Sleep(time.Minute) // a few turns of the large ones
		r.wantPending(want...)
		if _, ok := r.cat.Latest("patch"); !ok {
			t.Error("the small tree is not published")
		}
	})
}

func TestSourceThatHangsHoldsUpNoOther(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		s := slow{files: map[string]int64{}}
		r.start(Options{Sources: map[string]Source{
			"slow": {Opener: s, Lister: s, Look: func(string) {}}, "a": r.source(r.mem["a"]),
		}})
		for i := range 20 {
			name := fmt.Sprintf("slow%d", i)
			s.files[name] = 10
			r.Handle(s.event(name))
		}
		synctest.Wait()
		r.write("a", "f", 10)
		r.settle("a", "f")
		r.wantLive("a", "f")
		hashing := 0
		for _, j := range r.Pending() {
			if j.Reason == Hashing {
				hashing++
			}
		}
		if len(r.Pending()) != 20 || hashing != 8 {
			t.Errorf("%d are pending, %d hashed", len(r.Pending()), hashing)
		}
	}, "a")
}

func TestSmallestTreeIsHashedFirst(t *testing.T) {
	bubble(t, func(r *rig) {
		r.stop()
		r.start(Options{Concurrency: 1})
		for _, size := range []int{1, 5, 3, 2, 4} { // the first begins at once
			r.write("a", fmt.Sprintf("f%d", size), size)
		}
		first := r.event("a", "f1")
		var rest []watcher.Event
		for _, size := range []int{5, 3, 2, 4} {
			rest = append(rest, r.event("a", fmt.Sprintf("f%d", size)))
		}
		release := r.mem["a"].Hold()
		r.Handle(first)
		synctest.Wait()
		for _, e := range rest {
			r.Handle(e)
		}
		synctest.Wait()
		r.wantPending("a/f1 hashing", "a/f2 queued", "a/f3 queued", "a/f4 queued", "a/f5 queued")
		release()
		synctest.Wait()
		var order []string
		for _, rel := range r.cat.Live() {
			order = append(order, rel.Name)
		}
		slices.Reverse(order)
		if got := strings.Join(order, " "); got != "f1 f2 f3 f4 f5" {
			t.Errorf("published in the order %s", got)
		}
	}, "a")
}

func TestPendingSaysHowFarHashingIs(t *testing.T) {
	bubble(t, func(r *rig) {
		const size = 16 << 20
		r.write("a", "f", size)
		looked := false
		r.mem["a"].AtRead(30, func() {
			time.Sleep(11 * time.Second)
			jobs := r.Pending()
			if looked = len(jobs) == 1; !looked {
				t.Errorf("pending are %+v", jobs)
				return
			}
			j := jobs[0]
			if j.Reason != Hashing || j.Size != size || j.Files != 1 || j.Done < size/8 || j.Done > size || j.Rate <= 0 || j.Ends.Before(time.Now()) {
				t.Errorf("pending is %+v", j)
			}
		})
		r.settle("a", "f")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.wantLive("a", "f")
		if !looked {
			t.Error("it was not hashed in steps")
		}
		if r.log.count("msg=hashing") != 1 {
			t.Errorf("progress was logged %d times", r.log.count("msg=hashing"))
		}
	}, "a")
}

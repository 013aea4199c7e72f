package publisher

import (
	"container/heap"
	"context"
	"sync/atomic"
	"time"

	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
)

// largeSize is from where on hashing a tree takes so long that others should
// not wait for it.
const largeSize = 1 << 30

// key identifies a tree among all sources.
type key struct{ source, name string }

// entry is a tree about which something is to be done. At any time it is in
// one queue, or in taken, or refused, or in a stage (then cancel is not nil).
type entry struct {
	key
	event    watcher.Event
	digest   watcher.Digest // of event.Tree
	reason   Reason
	since    time.Time
	err      error
	next     time.Time            // when it is tried again
	failures int                  // in a row
	told     string               // the last error that was logged
	made     *torrentfile.Torrent // of event.Tree, if that was hashed before

	ticket  int64              // tells its place in a queue from those that it had before
	cancel  context.CancelFunc // ends its stage
	renewed bool               // event is newer than its stage
	began   time.Time          // of hashing
	done    *atomic.Int64      // bytes hashed
	reading bool               // is in the stage that hashes
}

// work is what a stage knows of an entry, which may be renewed meanwhile.
type work struct {
	key
	tree   watcher.Tree
	gone   bool
	digest watcher.Digest
	again  bool // tried before: the listing in tree may be old
	made   *torrentfile.Torrent
	done   *atomic.Int64
}

func (t *entry) work() work {
	return work{
		key: t.key, tree: t.event.Tree, gone: t.event.Gone, digest: t.digest,
		again: t.failures > 0, made: t.made, done: t.done,
	}
}

// job describes the entry.
func (t *entry) job() Job {
	j := Job{
		Source: t.source, Name: t.name, Reason: t.reason, Since: t.since, Next: t.next,
		Files: len(t.event.Tree.Files), Size: t.event.Tree.Size(),
	}
	if t.err != nil {
		j.Err = t.err.Error()
	}
	if t.reason != Hashing {
		return j
	}
	j.Since, j.Done = t.began, t.done.Load()
	if took := time.Since(t.began).Seconds(); took > 0 && j.Done > 0 {
		j.Rate = float64(j.Done) / took
		j.Ends = time.Now().Add(time.Duration(float64(j.Size-j.Done) / j.Rate * float64(time.Second))).Round(time.Second)
	}
	return j
}

// queue holds entries by ascending order. An entry that is pushed again, to
// whatever queue, leaves the place that it had.
type queue struct{ places places }

type place struct {
	entry  *entry
	order  int64
	ticket int64
}

func (q *queue) push(t *entry, order int64) {
	t.ticket++
	heap.Push(&q.places, place{t, order, t.ticket})
}

// first returns the first entry without removing it, or nil.
func (q *queue) first() *entry {
	for len(q.places) > 0 {
		if f := q.places[0]; f.ticket == f.entry.ticket {
			return f.entry
		}
		heap.Pop(&q.places)
	}
	return nil
}

// pop removes and returns the first entry, or returns nil.
func (q *queue) pop() *entry {
	t := q.first()
	if t != nil {
		heap.Pop(&q.places)
		t.ticket++
	}
	return t
}

type places []place

func (l places) Len() int           { return len(l) }
func (l places) Less(i, j int) bool { return l[i].order < l[j].order }
func (l places) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *places) Push(x any)        { *l = append(*l, x.(place)) }
func (l *places) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	(*l)[last] = place{}
	*l = (*l)[:last]
	return x
}

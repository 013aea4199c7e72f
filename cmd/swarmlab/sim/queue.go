package sim

import "time"

// kind is what happens at an event.
type kind uint8

const (
	comes   kind = iota // a peer
	sent                // a node's chunk is sent
	wakes               // a node may have something to send
	got                 // a peer has the last byte of a piece
	tells               // its neighbours hear of it
	offered             // a peer hears of an offer of the origin's
	chokes              // a peer decides anew to whom it sends
	ticks               // the origin's second is over
)

type event struct {
	at    time.Duration
	seq   uint32 // of events at the same time, the earlier pushed goes first
	node  int32
	piece int32
	kind  kind
}

// queue is a heap of events with four children each, which is flatter than
// one with two and so kinder to the processor's caches.
type queue struct {
	events []event
	seq    uint32
}

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && int32(e.seq-f.seq) < 0 // seq wraps around
}

func (q *queue) push(e event) {
	e.seq = q.seq
	q.seq++
	q.events = append(q.events, e)
	i := len(q.events) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&q.events[up]) {
			break
		}
		q.events[i] = q.events[up]
		i = up
	}
	q.events[i] = e
}

// pop takes out the earliest event. There must be one.
func (q *queue) pop() event {
	first, n := q.events[0], len(q.events)-1
	last := q.events[n]
	q.events = q.events[:n]
	for i := 0; n > 0; {
		least := 4*i + 1
		for c := least + 1; c < min(4*i+5, n); c++ {
			if q.events[c].before(&q.events[least]) {
				least = c
			}
		}
		if least >= n || !q.events[least].before(&last) {
			q.events[i] = last
			break
		}
		q.events[i] = q.events[least]
		i = least
	}
	return first
}

package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cenkalti/backoff/v5"
)

// How often a target is tried that does not take an event.
const (
	firstWait = time.Second // doubles, and is up to half more or less
	longWait  = time.Hour   // ... up to this
	passAfter = 6           // failures, after which later events go before it
	askedMost = 24 * time.Hour
)

// target is a receiver: a URL, or the command. It is told of one event at a
// time, in their order. When it does not take one, it is left alone for a while,
// and for longer each time; that holds up nobody else. If it still does not take
// it, the next one is tried, and the other again at times of its own, so that
// one event that it chokes on does not hold up the rest.
type target struct {
	key  string // stands for it in the journal
	name string // for people; without what may be secret
	by   string // http or command
	send func(ctx context.Context, p payload) error
	wake chan struct{} // holds a token when the queue has grown

	// Guarded by the Notifier's mu.
	queue   []*delivery // in order
	late    []*delivery // to which others were preferred
	busy    *delivery   // one of those, which it is being told of
	gone    bool        // it wants no more
	failing bool        // the last attempt failed
	pause   time.Time   // it is left alone until then
	wait    *backoff.ExponentialBackOff
}

// delivery is an event for one target.
type delivery struct {
	*event
	tries int
	due   time.Time                   // if it is late
	wait  *backoff.ExponentialBackOff // if it is late
}

// errGone says that a target wants no events, ever.
var errGone = errors.New("it wants no more notifications")

// askedToWait is a failure after which a target wants to be left alone.
type askedToWait struct {
	error
	wait time.Duration
}

func (e askedToWait) Unwrap() error { return e.error }

func newTarget(what, name, by string) *target {
	sum := sha256.Sum256([]byte(what))
	return &target{key: hex.EncodeToString(sum[:4]), name: name, by: by, wake: make(chan struct{}, 1), wait: newWait()}
}

func newWait() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: firstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: longWait}
}

// receivers returns the keys of the targets that want events.
func (n *Notifier) receivers() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keys []string
	for _, t := range n.targets {
		if !t.gone {
			keys = append(keys, t.key)
		}
	}
	return keys
}

// enqueueAll gives events to their targets. The oldest are dropped where there
// are too many. It returns what is to be noted as done, and whether events are
// for targets that there are not any more.
func (n *Notifier) enqueueAll(events []*event) (dropped []done, strangers bool) {
	n.mu.Lock()
	for _, e := range events {
		n.raised++
		e.order = n.raised
		for _, key := range e.To {
			i := slices.IndexFunc(n.targets, func(t *target) bool { return t.key == key })
			if i < 0 {
				strangers = true
				continue
			}
			t := n.targets[i]
			if t.gone {
				continue
			}
			t.queue = append(t.queue, &delivery{event: e})
			if old := t.drop(n.o.Queue); old != nil {
				dropped = append(dropped, done{To: key, IDs: []string{old.ID}})
				n.count[outcome{t.by, resultDropped}]++
			}
		}
		e.To = nil
	}
	n.mu.Unlock()
	for _, t := range n.targets {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	if len(dropped) > 0 {
		n.log.Error("too many notifications wait; the oldest are dropped", "dropped", len(dropped), "most", n.o.Queue)
	}
	return dropped, strangers
}

// drop removes and returns the oldest event if there are more than most. The
// Notifier's mu is held.
func (t *target) drop(most int) *delivery {
	if len(t.queue)+len(t.late) <= most {
		return nil
	}
	for _, list := range []*[]*delivery{&t.late, &t.queue} {
		for i, d := range *list {
			if d != t.busy {
				*list = slices.Delete(*list, i, i+1)
				return d
			}
		}
	}
	return nil
}

// queued returns the events that are still to be told, in order.
func (n *Notifier) queued() []*event {
	n.mu.Lock()
	defer n.mu.Unlock()
	byID := make(map[string]*event)
	var events []*event
	for _, t := range n.targets {
		for _, d := range slices.Concat(t.late, t.queue) {
			e := byID[d.ID]
			if e == nil {
				c := *d.event
				e = &c
				byID[d.ID] = e
				events = append(events, e)
			}
			e.To = append(e.To, t.key)
		}
	}
	slices.SortFunc(events, func(a, b *event) int {
		if a.order < b.order {
			return -1
		}
		return 1
	})
	return events
}

// serve tells t what is queued for it until ctx ends.
func (n *Notifier) serve(ctx context.Context, t *target) {
	for ctx.Err() == nil {
		now := time.Now()
		d, at := n.next(t, now)
		if d == nil {
			select {
			case <-ctx.Done():
			case <-t.wake:
			}
			continue
		}
		if wait := at.Sub(now); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-t.wake: // something may be due before
			}
			timer.Stop()
			continue
		}
		err := n.attempt(ctx, t, d)
		if err != nil && ctx.Err() != nil {
			return // the next start tries again
		}
		if ids := n.took(t, d, err); len(ids) > 0 {
			n.results <- done{To: t.key, IDs: ids}
		}
	}
}

// next returns what t is to be told next, and when; nil: nothing.
func (n *Notifier) next(t *target, now time.Time) (_ *delivery, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var d *delivery
	for _, l := range t.late {
		if d == nil || l.due.Before(at) {
			d, at = l, l.due
		}
	}
	if len(t.queue) > 0 && (d == nil || at.After(now)) {
		d, at = t.queue[0], time.Time{}
	}
	if d != nil && at.Before(t.pause) {
		at = t.pause
	}
	t.busy = nil
	if d != nil && !at.After(now) {
		t.busy = d
	}
	return d, at
}

// attempt tells t of an event. When ctx ends, it may go on for a while.
func (n *Notifier) attempt(ctx context.Context, t *target, d *delivery) error {
	trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.o.Timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		drain := time.NewTimer(n.o.Drain)
		defer drain.Stop()
		select {
		case <-drain.C:
			cancel()
		case <-trying.Done():
		}
	})()
	err := t.send(trying, n.payload(d.event))
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("it took longer than " + n.o.Timeout.String())
	}
	return err
}

// took acts on what came of telling t of d, and returns the events that t needs
// not be told of any more.
func (n *Notifier) took(t *target, d *delivery, err error) (ids []string) {
	now, log := time.Now(), n.log.With("to", t.name, "event", string(d.Type), "release", d.Name, "id", d.ID)
	n.mu.Lock()
	was := t.failing
	result := t.took(d, err, now)
	if result != resultFailed {
		ids = append(ids, d.ID)
	}
	if t.gone {
		for _, other := range slices.Concat(t.late, t.queue) {
			ids = append(ids, other.ID)
		}
		t.late, t.queue = nil, nil
	}
	n.count[outcome{t.by, result}] += max(1, int64(len(ids)))
	n.mu.Unlock()

	switch {
	case result == resultDelivered && was:
		log.Info("notifications arrive again")
	case result == resultDelivered:
		log.Debug("told")
	case errors.Is(err, errGone):
		n.log.Warn("it is told nothing any more until the next start", "to", t.name, "err", err)
	case result == resultAbandoned:
		log.Error("a notification is given up", "err", err)
	case was:
		log.Debug("not told yet", "err", err)
	default:
		log.Warn("a notification does not arrive; it is tried again", "err", err)
	}
	return ids
}

// took acts on what came of telling t of d, and says what that is. The
// Notifier's mu is held.
func (t *target) took(d *delivery, err error, now time.Time) (result string) {
	t.busy, t.failing = nil, err != nil
	d.tries++
	switch {
	case err == nil:
		t.pause = time.Time{}
		t.wait.Reset()
		t.remove(d)
		return resultDelivered
	case errors.Is(err, errGone):
		t.gone = true
		t.remove(d)
		return resultAbandoned
	}
	t.postpone(d, err, now)
	if d.tries >= passAfter && now.Sub(d.At) > tellFor {
		t.remove(d)
		return resultAbandoned
	}
	return resultFailed
}

// postpone says when t is tried again that did not take d. The Notifier's mu is held.
func (t *target) postpone(d *delivery, err error, now time.Time) {
	asked := time.Duration(0)
	if e, ok := errors.AsType[askedToWait](err); ok {
		asked = min(e.wait, askedMost)
	}
	if i := slices.Index(t.late, d); i >= 0 {
		d.due = now.Add(max(d.wait.NextBackOff(), asked))
		if asked > 0 {
			t.pause = now.Add(asked)
		}
		return
	}
	t.pause = now.Add(max(t.wait.NextBackOff(), asked))
	if d.tries >= passAfter && len(t.queue) > 1 {
		d.wait = newWait()
		for range passAfter {
			d.wait.NextBackOff() // it has waited so often
		}
		t.queue = t.queue[1:]
		d.due = now.Add(max(d.wait.NextBackOff(), asked))
		t.late = append(t.late, d)
	}
}

// remove takes d out of its list. The Notifier's mu is held.
func (t *target) remove(d *delivery) {
	if len(t.queue) > 0 && t.queue[0] == d {
		t.queue = t.queue[1:]
		return
	}
	t.late = slices.DeleteFunc(t.late, func(l *delivery) bool { return l == d })
}

// shorten keeps of a text what is sent at most.
func shorten(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= reasonMost {
		return text
	}
	text = text[:reasonMost]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + "…"
}

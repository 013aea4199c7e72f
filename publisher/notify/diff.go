package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
)

// batch is what is found to tell in one look, and what is known when it is told.
// Nothing of the Notifier changes before apply.
type batch struct {
	n       *Notifier
	now     time.Time
	since   time.Time // what happened before is not told; zero: all is
	mark    uint64
	over    map[infohash.T]publication // in place of what is in n.live; the zero one: not live
	left    map[string]retirement      // by name: the release that was retired last
	told    map[treeKey]told           // in place of what is in n.told; the zero one: nothing
	records []record
	events  []*event
}

type retirement struct {
	*event
	at time.Time
}

func (n *Notifier) newBatch() *batch {
	return &batch{
		n: n, now: time.Now(), mark: n.mark,
		over: make(map[infohash.T]publication), left: make(map[string]retirement), told: make(map[treeKey]told),
	}
}

// baseline takes note of all releases, when nothing is known of them.
func (b *batch) baseline(all []*catalog.Release) {
	for _, r := range all {
		b.mark = max(b.mark, r.Serial())
		if !r.Live() {
			continue
		}
		if b.n.o.Existing {
			b.publish(r)
		} else {
			b.over[r.InfoHash] = publicationOf(r)
		}
	}
}

// catchUp considers all releases. known is what was published when looked last.
func (b *batch) catchUp(all []*catalog.Release, known map[infohash.T]facts) {
	b.since = b.now.Add(-tellFor)
	there := make(map[infohash.T]bool, len(all))
	for _, r := range all {
		there[r.InfoHash] = true
	}
	for ih, f := range known {
		if !there[ih] { // retired so long ago that it is forgotten, or lost
			b.retire(ih, f, b.now)
		}
	}
	for _, r := range all {
		b.consider(r)
	}
}

// consider takes note of what a release is now.
func (b *batch) consider(r *catalog.Release) {
	p, live := b.publication(r.InfoHash)
	this := publicationOf(r)
	if live && p != this {
		// It was retired, and published again, between two looks.
		f := factsOf(r)
		f.Serial, f.CreatedAt = p.serial, time.Unix(0, p.created).UTC()
		b.retire(r.InfoHash, f, r.CreatedAt)
		live = false
	}
	if !live && (r.Live() || r.Serial() > b.mark) {
		b.publish(r)
		live = true
	}
	if live && !r.Live() {
		b.retire(r.InfoHash, factsOf(r), r.RetiredAt)
	}
	b.mark = max(b.mark, r.Serial())
}

func publicationOf(r *catalog.Release) publication {
	return publication{r.Serial(), r.CreatedAt.UnixNano()}
}

func (b *batch) publication(ih infohash.T) (publication, bool) {
	p, ok := b.over[ih]
	if !ok {
		p = b.n.live[ih]
	}
	return p, p != publication{}
}

func (b *batch) publish(r *catalog.Release) {
	f := factsOf(r)
	e := newEvent(Published, r.CreatedAt, f)
	if old, ok := b.left[r.Name]; ok && old.Source == r.Source && old.InfoHash != f.InfoHash && !old.at.Before(r.CreatedAt) {
		e.Previous, old.ReplacedBy = old.InfoHash, f.InfoHash
	}
	delete(b.left, r.Name)
	b.over[r.InfoHash] = publicationOf(r)
	b.add(record{Live: &f}, e)
}

func (b *batch) retire(ih infohash.T, f facts, at time.Time) {
	e := newEvent(Retired, at, f)
	b.left[f.Name] = retirement{e, at}
	b.over[ih] = publication{}
	b.add(record{Gone: f.InfoHash, Mark: f.Serial}, e)
}

// fail takes note of why a tree is not published.
func (b *batch) fail(t Tree) {
	k, why := treeKey{t.Source, t.Name}, digest(t.Reason)
	e := &event{
		ID:   eventID(string(Failed), t.Source, t.Name, why, strconv.FormatInt(b.now.UnixNano(), 10)),
		Type: Failed, At: b.now.UTC(), facts: facts{Source: t.Source, Name: t.Name}, Path: t.Path, Reason: t.Reason,
	}
	b.told[k] = told{why, b.now.UTC()}
	b.add(record{Told: &failure{Source: t.Source, Name: t.Name, Reason: why, At: e.At}}, e)
}

// mend forgets a failure.
func (b *batch) mend(k treeKey) {
	b.told[k] = told{}
	b.records = append(b.records, record{Mended: &failure{Source: k.source, Name: k.name}})
}

// add writes down a step, with its event if that is to be told.
func (b *batch) add(r record, e *event) {
	if b.n.wants[e.Type] && !e.At.Before(b.since) {
		if e.To = b.n.receivers(); len(e.To) > 0 {
			r.Event = e
			b.events = append(b.events, e)
		}
	}
	b.records = append(b.records, r)
}

// apply makes what was found what is known, and has it told. It returns what is
// to be noted as done.
func (b *batch) apply() (dropped []done) {
	n := b.n
	n.mark = b.mark
	for ih, p := range b.over {
		if p == (publication{}) {
			delete(n.live, ih)
		} else {
			n.live[ih] = p
		}
	}
	for k, t := range b.told {
		if t == (told{}) {
			delete(n.told, k)
		} else {
			n.told[k] = t
		}
	}
	dropped, _ = n.enqueueAll(b.events)
	return dropped
}

// lookAtTrees takes down what failed. What fails once, such as a file that is
// still being written, is left alone: it has to fail at two looks in a row.
func (n *Notifier) lookAtTrees(now time.Time) error {
	if n.o.Trees == nil || !n.wants[Failed] {
		return nil
	}
	b := n.newBatch()
	b.now = now
	there, suspects := make(map[treeKey]bool), make(map[treeKey]bool)
	for _, t := range n.o.Trees() {
		k := treeKey{t.Source, t.Name}
		there[k] = true
		if t.Reason == "" {
			continue
		}
		t.Reason = shorten(t.Reason)
		last, before := n.told[k]
		switch {
		case last.reason == digest(t.Reason) || b.told[k] != told{}:
		case before && now.Sub(last.at).Abs() < failAgain: // the clock may have been set back
		case !before && len(n.told)+len(b.told) >= toldMost:
		case !n.suspects[k]:
			suspects[k] = true
		default:
			b.fail(t)
		}
	}
	missing := make(map[treeKey]bool)
	for k := range n.told {
		switch {
		case there[k] || n.o.Listed != nil && !n.o.Listed(k.source):
		case n.missing[k]:
			b.mend(k)
		default:
			missing[k] = true // it may be between two hands
		}
	}
	if err := n.commit(b); err != nil {
		return err
	}
	n.suspects, n.missing = suspects, missing
	return nil
}

func digest(reason string) string {
	sum := sha256.Sum256([]byte(reason))
	return hex.EncodeToString(sum[:8])
}

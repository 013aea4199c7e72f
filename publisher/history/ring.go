package history

import (
	"math"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

const (
	ringLen    = 360 // points of a ring
	fineStep   = 10  // seconds: an hour
	coarseStep = 240 // seconds: a day
)

// Names are those of the series, in the order of the values of a point: four in
// bytes per second, then three numbers of peers.
var Names = [...]string{"peers", "webseed", "direct", "carried", "seeders", "leechers", "connected"}

// point is a value of each series; NaN stands for one that is not known.
type point [len(Names)]float32

var unknown = func() (p point) {
	for i := range p {
		p[i] = float32(math.NaN())
	}
	return p
}()

// newPoint returns the point for what was counted in a time, and who was there
// at its end.
func newPoint(d figures, over time.Duration, s Swarm) point {
	rate := func(n int64) float32 { return float32(float64(max(0, n)) / over.Seconds()) }
	return point{
		rate(d.Peers), rate(d.Webseed), rate(d.Direct), rate(d.Carried),
		float32(s.Seeders), float32(s.Leechers), float32(s.Connected),
	}
}

// rings are the last hour and the last day.
type rings struct{ Fine, Coarse ring }

func (r *rings) clear() {
	r.Fine.clear()
	r.Coarse.clear()
}

// add adds a point for the labels first to last of the fine ring.
func (r *rings) add(first, last int64, p point) {
	for l := max(first, last-ringLen); l <= last; l++ {
		r.Fine.add(l, p)
		r.Coarse.add(l*fineStep/coarseStep, p)
	}
}

// span returns the labels of the fine ring for a time that was measured. Points
// are taken about when a label begins, and may be a little early or late.
func span(from, to time.Time) (first, last int64) {
	round := func(t time.Time) int64 { return (t.UnixMilli() + fineStep*500) / (fineStep * 1000) }
	first = round(from)
	return first, max(first, round(to)-1)
}

// ring is points at equal distances. Its fields are exported for the file.
type ring struct {
	Last   int64 // label of the newest point: Unix time ÷ step
	Head   int   // where it stands
	Count  int   // samples in it, of which it is the mean; 0: the ring is empty
	Points [ringLen]point
}

func (r *ring) clear() {
	*r = ring{}
	for i := range r.Points {
		r.Points[i] = unknown
	}
}

// add adds a sample to the point with a label. If that is older than the newest
// point, the clock was set back, and all points get the label that goes with
// their age.
func (r *ring) add(label int64, p point) {
	skipped := label - r.Last - 1
	if r.Count > 0 && skipped < 0 {
		r.Last = label
		r.Count++
		newest := &r.Points[r.Head]
		for i := range p {
			newest[i] += (p[i] - newest[i]) / float32(r.Count)
		}
		return
	}
	if skipped >= ringLen {
		r.clear()
		skipped = 0
	}
	for range skipped {
		r.push(unknown)
	}
	r.push(p)
	r.Last, r.Count = label, 1
}

func (r *ring) push(p point) {
	r.Head = (r.Head + 1) % ringLen
	r.Points[r.Head] = p
}

// at returns the point with a label.
func (r *ring) at(label int64) point {
	age := r.Last - label
	if age < 0 || age >= ringLen || r.Count == 0 {
		return unknown
	}
	return r.Points[(r.Head-int(age)+ringLen)%ringLen]
}

// Range is how far back a series goes.
type Range uint8

const (
	Hour Range = iota // 360 points of 10 s
	Day               // 360 points of 240 s
)

// Series is a range of points, oldest first.
type Series struct {
	Step time.Duration
	From time.Time             // of the first point
	Of   [len(Names)][]float32 // by Names; NaN: not known
}

// Series returns the points of the whole server.
func (h *History) Series(over Range) Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.series(over, &h.rings)
}

// Release returns the points of a release. Of one without activity of late none
// is known.
func (h *History) Release(over Range, ih infohash.T) Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.subjects[ih]; s != nil {
		return h.series(over, &s.rings)
	}
	return h.series(over, &rings{})
}

// series reads rings up to where those of the whole server end, so that all
// charts have the same time. h.mu is held.
func (h *History) series(over Range, from *rings) Series {
	step, whole, r := int64(fineStep), &h.rings.Fine, &from.Fine
	if over == Day {
		step, whole, r = coarseStep, &h.rings.Coarse, &from.Coarse
	}
	first := max(whole.Last, h.o.Clock().Unix()/step-1) - ringLen + 1
	out := Series{Step: time.Duration(step) * time.Second, From: time.Unix(first*step, 0)}
	for i := range out.Of {
		out.Of[i] = make([]float32, ringLen)
	}
	for n := range ringLen {
		for i, v := range r.at(first + int64(n)) {
			out.Of[i][n] = v
		}
	}
	return out
}

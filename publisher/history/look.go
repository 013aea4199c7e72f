package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

const marksMost = 16

// look counts what has happened, unless somebody has looked less than age ago,
// and returns the readings.
func (h *History) look(age time.Duration) []Reading {
	h.looking.Lock()
	defer h.looking.Unlock()
	h.mu.Lock()
	fresh := age > 0 && !h.looked.IsZero() && time.Since(h.looked) < age
	h.mu.Unlock()
	if fresh {
		return nil
	}
	var readings []Reading
	var sizes []int64
	for r := range h.o.Active() {
		if size, known := h.o.Size(r.InfoHash); known {
			readings, sizes = append(readings, r), append(sizes, size)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.swarm = Swarm{}
	for i, r := range readings {
		h.swarm.Seeders += r.Seeders
		h.swarm.Leechers += r.Leechers
		h.swarm.Connected += r.Connected
		h.count(r, sizes[i])
	}
	h.looked = time.Now()
	h.marks = append(h.marks, mark{h.looked, h.whole})
	if n := len(h.marks) - marksMost; n > 0 {
		h.marks = slices.Delete(h.marks, 0, n)
	}
	return readings
}

// count takes a reading into a release's account and the whole. h.mu is held.
func (h *History) count(r Reading, size int64) {
	a := h.accounts[r.InfoHash]
	if a == nil {
		if r.Counters == (Counters{}) {
			return
		}
		a = new(account)
		h.accounts[r.InfoHash] = a
	}
	was := a.figures()
	a.before = a.before.plus(restarted(a.now, r.Counters))
	a.now = r.Counters
	a.carried = max(a.carried, a.figures().carried())
	d := a.figures().minus(was)
	if d == (figures{}) {
		return
	}
	if _, ok := h.touched[r.InfoHash]; !ok {
		h.touched[r.InfoHash] = was
	}
	h.whole.Counters = h.whole.plus(d.Counters)
	h.whole.Carried += d.Carried
	switch {
	case a.size > 0:
		h.copies.sent += d.Sent()
	case a.figures().Sent() > 0 && size > 0:
		a.size = size
		h.copies.size += size
		h.copies.sent += a.figures().Sent()
	}
}

// restarted returns what was counted by the counters that are less than they
// were, so that they must have begun anew.
func restarted(was, now Counters) (lost Counters) {
	for _, c := range []struct {
		was, now int64
		lost     *int64
	}{
		{was.Peers, now.Peers, &lost.Peers}, {was.Webseed, now.Webseed, &lost.Webseed}, {was.Direct, now.Direct, &lost.Direct},
		{was.Gained, now.Gained, &lost.Gained}, {was.Completed, now.Completed, &lost.Completed},
	} {
		if c.now < c.was {
			*c.lost = c.was
		}
	}
	return lost
}

// sample adds a point to all rings.
func (h *History) sample() {
	readings := h.look(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	took := h.looked.Sub(h.sampled.at)
	if took <= 0 {
		return
	}
	h.points++
	now := h.o.Clock()
	first, last := span(now.Add(-took), now)
	h.rings.add(first, last, newPoint(h.whole.minus(h.sampled.figures), took, h.swarm))
	h.sampled = mark{h.looked, h.whole}

	h.follow(readings)
	for ih, s := range h.subjects {
		var d figures
		if before, ok := h.touched[ih]; ok {
			d = h.accounts[ih].figures().minus(before)
		}
		s.rings.add(first, last, newPoint(d, took, s.swarm))
	}
	h.touched = make(map[infohash.T]figures) // a map that was large stays slow
}

// follow notes who is in the swarms, as just read, and gives rings to the
// releases that something went on in since the last point. When there are too
// many, those give way in which nothing has gone on for the longest, and none
// in which something did. h.mu is held.
func (h *History) follow(readings []Reading) {
	active := make(map[infohash.T]Swarm, len(readings))
	for ih := range h.touched {
		active[ih] = Swarm{}
	}
	for _, r := range readings {
		if r.Swarm != (Swarm{}) {
			active[r.InfoHash] = r.Swarm
		}
	}
	fresh := len(active)
	for ih, s := range h.subjects {
		swarm, ok := active[ih]
		if s.swarm = swarm; ok {
			s.active = h.points
			fresh--
		}
	}
	if fresh == 0 {
		return
	}
	h.makeRoom(fresh)
	for ih, swarm := range active {
		if len(h.subjects) >= ringsMost {
			return
		}
		if h.subjects[ih] == nil {
			s := &subject{swarm: swarm, active: h.points}
			s.rings.clear()
			h.subjects[ih] = s
		}
	}
}

// makeRoom removes as many subjects that are idle as n new ones need. h.mu is held.
func (h *History) makeRoom(n int) {
	n -= ringsMost - len(h.subjects)
	if n <= 0 {
		return
	}
	var idle []infohash.T
	for ih, s := range h.subjects {
		if s.active != h.points {
			idle = append(idle, ih)
		}
	}
	slices.SortFunc(idle, func(a, b infohash.T) int {
		return cmp.Or(cmp.Compare(h.subjects[a].active, h.subjects[b].active), a.Compare(b))
	})
	for _, ih := range idle[:min(n, len(idle))] {
		delete(h.subjects, ih)
	}
}

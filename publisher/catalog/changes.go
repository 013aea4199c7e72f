package catalog

import (
	"maps"
	"slices"
)

// recentMost is how many changes are remembered at the least.
const recentMost = 4096

// Serial tells the publications of all releases apart, and orders them even
// when clocks jump: a release that is published again has a new one. It outlives
// restarts.
func (r Release) Serial() uint64 { return r.serial }

// Since returns what changed after a point, as it was after each change, in
// their order, and the point that is reached now. A release that was replaced
// comes right before the one that replaces it. Points are of this process only;
// with point 0, or one that is too long ago, it returns all releases, live and
// retired, oldest publication first, and whole is true. The caller owns the
// slice but must not modify what it points to.
func (c *Catalog) Since(point uint64) (changed []*Release, now uint64, whole bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	now = c.forgotten + uint64(len(c.recent)) + 1
	if point > c.forgotten && point <= now {
		return slices.Clone(c.recent[point-1-c.forgotten:]), now, false
	}
	changed = slices.SortedFunc(maps.Values(c.byHash), func(a, b *Release) int {
		if a.serial < b.serial {
			return -1
		}
		return 1
	})
	return changed, now, true
}

// note remembers a change. c.mu is held.
func (c *Catalog) note(r *Release) {
	if len(c.recent) == 2*recentMost {
		c.recent = append(c.recent[:0:0], c.recent[recentMost:]...)
		c.forgotten += recentMost
	}
	c.recent = append(c.recent, r)
}

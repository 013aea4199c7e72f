package tracker

// index finds records of a table by a hash of some part of them: a hash table
// with open addressing and linear probing that holds nothing but positions.
// Records with equal hashes stand in one run of slots, so that a lookup also
// passes all the others of that hash. The zero index is empty and unusable
// until init.
type index struct {
	slots []uint32 // position + 1; 0 is free; a power of two of them
}

// init makes x an empty index that n records fill to half at most.
func (x *index) init(n int) {
	size := 32
	for size < 2*n {
		size *= 2
	}
	x.slots = make([]uint32, size)
}

// full reports whether another record would fill more than three quarters.
func (x *index) full(n int) bool { return (n+1)*4 > len(x.slots)*3 }

// sparse reports whether n records deserve a smaller index.
func (x *index) sparse(n int) bool { return len(x.slots) > 32 && n*8 < len(x.slots) }

func (x *index) first(hash uint32) int { return int(hash) & (len(x.slots) - 1) }
func (x *index) next(slot int) int     { return (slot + 1) & (len(x.slots) - 1) }

func (x *index) insert(hash uint32, pos int) {
	s := x.first(hash)
	for x.slots[s] != 0 {
		s = x.next(s)
	}
	x.slots[s] = uint32(pos) + 1
}

// slot returns where pos is, or -1 if it is not present under hash.
func (x *index) slot(hash uint32, pos int) int {
	for s := x.first(hash); x.slots[s] != 0; s = x.next(s) {
		if x.slots[s] == uint32(pos)+1 {
			return s
		}
	}
	return -1
}

// remove takes pos out, if it is present, and moves what was displaced by it
// closer to its place, so that no tombstones are needed.
func (x *index) remove(hash uint32, pos int, hashAt func(pos int) uint32) {
	hole := x.slot(hash, pos)
	if hole < 0 {
		return
	}
	for s := x.next(hole); x.slots[s] != 0; s = x.next(s) {
		home := x.first(hashAt(int(x.slots[s]) - 1))
		// It may move into the hole unless its home lies between the two.
		if mask := len(x.slots) - 1; (s-home)&mask >= (s-hole)&mask {
			x.slots[hole] = x.slots[s]
			hole = s
		}
	}
	x.slots[hole] = 0
}

// move notes that what was at one position, if it is present, is now at
// another, where nothing was.
func (x *index) move(hash uint32, from, to int) {
	if s := x.slot(hash, from); s >= 0 {
		x.slots[s] = uint32(to) + 1
	}
}

// swap notes that what was at two positions has changed places.
func (x *index) swap(hashI uint32, i int, hashJ uint32, j int) {
	si, sj := x.slot(hashI, i), x.slot(hashJ, j)
	if si >= 0 {
		x.slots[si] = uint32(j) + 1
	}
	if sj >= 0 {
		x.slots[sj] = uint32(i) + 1
	}
}

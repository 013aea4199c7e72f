package offer

import (
	"iter"
	"math/bits"
)

// bitset holds a bit per piece.
type bitset []uint64

func newBitset(n int) bitset    { return make(bitset, (n+63)/64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int)    { b[i/64] &^= 1 << (i % 64) }

// common returns the number of bits that are set in both.
func (b bitset) common(c bitset) (n int) {
	for w := range b {
		n += bits.OnesCount64(b[w] & c[w])
	}
	return n
}

func (b bitset) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for w, m := range b {
			for ; m != 0; m &= m - 1 {
				if !yield(w*64 + bits.TrailingZeros64(m)) {
					return
				}
			}
		}
	}
}

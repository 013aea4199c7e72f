package sim

// bitset holds a bit per piece.
type bitset []uint64

func newBitset(n int) bitset      { return make(bitset, (n+63)/64) }
func (b bitset) has(i int32) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) set(i int32)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int32)    { b[i/64] &^= 1 << (i % 64) }

package offer

import "math/bits"

// Parts divides the pieces into as many parts as there are bytes, in order and
// about equally many each, and fills in how much of each the peer has: 0
// nothing, 255 all, else between. It returns the share that it has of all
// pieces. There must not be more parts than pieces.
func (s *Swarm) Parts(p *Peer, parts []byte) (progress float64) {
	for k := range parts {
		from, to := k*s.Pieces/len(parts), (k+1)*s.Pieces/len(parts)
		switch n := p.have.count(from, to); n {
		case 0:
			parts[k] = 0
		case to - from:
			parts[k] = 255
		default:
			parts[k] = byte(1 + n*253/(to-from))
		}
	}
	return float64(p.count) / float64(s.Pieces)
}

// Availability returns how many peers have each of so many parts (see Parts):
// the mean over its pieces.
func (s *Swarm) Availability(parts int) []float64 {
	list := make([]float64, parts)
	for k := range list {
		from, to := k*s.Pieces/parts, (k+1)*s.Pieces/parts
		sum := 0
		for _, n := range s.holders[from:to] {
			sum += int(n)
		}
		list[k] = float64(sum) / float64(to-from)
	}
	return list
}

// count returns the number of bits that are set from one on and before another.
func (b bitset) count(from, to int) (n int) {
	for i := from; i < to; {
		w := b[i/64] >> (i % 64)
		if left := to - i; left < 64 {
			w &= 1<<left - 1
		}
		n += bits.OnesCount64(w)
		i += 64 - i%64
	}
	return n
}

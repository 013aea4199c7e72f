package offer

import (
	"slices"
	"testing"
)

func TestPartsAndAvailability(t *testing.T) {
	s := New(Options{Pieces: 1000, PieceLength: 1})
	p, q := s.Join(start), s.Join(start)
	for i := range 300 {
		s.Has(p, i, start)
	}
	s.Has(p, 999, start)
	for i := 500; i < 1000; i++ {
		s.Has(q, i, start)
	}
	for _, parts := range []int{1, 2, 3, 4, 7, 64, 256, 999, 1000} {
		got := make([]byte, parts)
		if progress := s.Parts(p, got); progress != 0.301 {
			t.Errorf("%d parts: progress %v", parts, progress)
		}
		for k, v := range got {
			from, to := k*1000/parts, (k+1)*1000/parts
			n := 0
			for i := from; i < to; i++ {
				if p.have.has(i) {
					n++
				}
			}
			if (n == 0) != (v == 0) || (n == to-from) != (v == 255) || v > 0 && v < 255 && (int(v)-1)*(to-from)/253 > n {
				t.Errorf("part %d of %d: %d for %d of %d pieces", k, parts, v, n, to-from)
			}
		}
	}
	if got := s.Availability(4); !slices.Equal(got, []float64{1, 0.2, 1, 1.004}) {
		t.Errorf("availability %v", got)
	}
	s.Leave(q)
	if got := s.Availability(2); !slices.Equal(got, []float64{0.6, 0.002}) {
		t.Errorf("availability without q %v", got)
	}
}

package catalog

import (
	"fmt"
	"slices"
	"testing"
)

func TestSinceTellsOfEveryChangeInOrder(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	tell := func(changed []*Release) (told []string) {
		for _, r := range changed {
			told = append(told, fmt.Sprintf("%s %d %v", r.Name, r.Serial(), r.Live()))
		}
		return told
	}
	all, start, whole := c.Since(0)
	if len(all) != 0 || !whole {
		t.Errorf("an empty catalog tells of %q, whole: %v", tell(all), whole)
	}
	put(t, c, release("a", "1"))
	first := put(t, c, release("b", "1"))
	put(t, c, release("a", "2"))
	if err := c.Retire(first.InfoHash); err != nil {
		t.Fatal(err)
	}
	put(t, c, release("b", "1")) // back again
	changed, now, whole := c.Since(start)
	want := []string{"a 1 true", "b 2 true", "a 1 false", "a 3 true", "b 2 false", "b 4 true"}
	if got := tell(changed); !slices.Equal(got, want) || whole {
		t.Errorf("got %q, whole: %v; want %q", got, whole, want)
	}
	if changed, again, whole := c.Since(now); len(changed) != 0 || again != now || whole {
		t.Errorf("nothing changed, and it tells of %q", tell(changed))
	}
	for _, point := range []uint64{0, now + 1} {
		all, _, whole := c.Since(point)
		if got, want := tell(all), []string{"a 1 false", "a 3 true", "b 4 true"}; !slices.Equal(got, want) || !whole {
			t.Errorf("from %d: got %q, whole: %v; want %q", point, got, whole, want)
		}
	}
}

func TestSinceForgetsWithoutSkipping(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir())
	_, start, _ := c.Since(0)
	point, seen := start, 0
	for i := range 3*recentMost + 5 {
		c.note(&Release{serial: uint64(i)})
		if i%1000 != 7 {
			continue
		}
		changed, now, whole := c.Since(point)
		for _, r := range changed {
			if r.serial != uint64(seen) || whole {
				t.Fatalf("got change %d, want %d", r.serial, seen)
			}
			seen++
		}
		point = now
	}
	if _, _, whole := c.Since(start); !whole {
		t.Error("what was forgotten is not missed")
	}
	if len(c.recent) > 2*recentMost {
		t.Errorf("%d changes are kept", len(c.recent))
	}
}

package access

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterKnowsClientsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(2, 3)
		count := func(addr string) (n int) {
			a, _ := netip.ParseAddr(addr)
			for l.Allow(a) == 0 {
				n++
			}
			return n
		}
		for _, row := range []struct {
			addr string
			want int
		}{
			{"203.0.113.7", 3}, {"203.0.113.7", 0}, {"203.0.113.8", 3},
			{"2001:db8:1:2:3::4", 3}, {"2001:db8:1:2:5::6", 0}, {"2001:db8:1:3::1", 3},
			{"", 3}, {"", 0},
		} {
			if got := count(row.addr); got != row.want {
				t.Errorf("%q: %d allowed, want %d", row.addr, got, row.want)
			}
		}
		if wait := l.Allow(netip.MustParseAddr("203.0.113.7")); wait != 500*time.Millisecond {
			t.Errorf("to wait %v", wait)
		}
		time.Sleep(time.Second)
		if got := count("203.0.113.7"); got != 2 {
			t.Errorf("%d allowed after a second", got)
		}
	})
}

func TestLimiterIsBoundedAndKeepsTheBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(0.001, 2)
		busy := netip.MustParseAddr("203.0.113.7")
		l.Allow(busy)
		l.Allow(busy)
		kept := 0
		addr := netip.MustParseAddr("10.0.0.0")
		for i := range 2 * maxClients {
			addr = addr.Next()
			l.Wait(addr) // looked at, as anybody's who sends a right password
			if i%1000 == 0 && l.Wait(busy) > 0 {
				kept++
			}
		}
		if len(l.of) > maxClients {
			t.Errorf("%d clients are known", len(l.of))
		}
		if kept < 2*maxClients/1000 {
			t.Errorf("who is to wait was forgotten for the sake of who is not")
		}
		for range 2 * maxClients {
			addr = addr.Next()
			l.Allow(addr)
		}
		if len(l.of) > maxClients {
			t.Errorf("%d busy clients are known", len(l.of))
		}
	})
}

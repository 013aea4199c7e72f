package budget

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// user is connections of one client that always want more.
type user struct {
	kind        Kind
	release     byte
	client      string
	connections int
}

// compete lets users send for some seconds, and returns the bytes per second of each.
func compete(t *testing.T, o Options, users ...user) []float64 {
	t.Helper()
	const seconds = 60
	got := make([]float64, len(users))
	synctest.Test(t, func(t *testing.T) {
		b := New(o)
		ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
		defer cancel()
		for i, u := range users {
			for range u.connections {
				go func() {
					for b.Take(ctx, u.kind, infohash.T{u.release}, netip.MustParseAddr(u.client), b.Chunk()) == nil {
						b.mu.Lock()
						got[i] += float64(b.Chunk()) / seconds
						b.mu.Unlock()
					}
				}()
			}
		}
		<-ctx.Done()
		synctest.Wait()
	})
	return got
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < 0.95*want || got > 1.05*want {
		t.Errorf("%s: %.0f bytes per second, want %.0f", what, got, want)
	}
}

const rate = 4e6

func TestTheRateIsShared(t *testing.T) {
	for _, row := range []struct {
		name  string
		o     Options
		users []user
		want  []float64
	}{
		{"one alone gets all", Options{Rate: rate}, []user{{Peers, 1, "192.0.2.1", 1}}, []float64{rate}},
		{"clients share, whatever their connections", Options{Rate: rate},
			[]user{{Direct, 1, "192.0.2.1", 50}, {Direct, 1, "192.0.2.2", 2}, {Direct, 1, "192.0.2.3", 1}}, []float64{rate / 3, rate / 3, rate / 3}},
		{"a network of IPv6 is one client", Options{Rate: rate},
			[]user{{Peers, 1, "2001:db8::1", 3}, {Peers, 1, "2001:db8::2", 3}, {Peers, 1, "2001:db8:1::1", 1}}, []float64{rate / 4, rate / 4, rate / 2}},
		{"releases share, whatever their clients", Options{Rate: rate},
			[]user{{Peers, 1, "192.0.2.1", 1}, {Peers, 1, "192.0.2.2", 1}, {Peers, 2, "192.0.2.3", 1}}, []float64{rate / 4, rate / 4, rate / 2}},
		{"kinds share", Options{Rate: rate},
			[]user{{Peers, 1, "192.0.2.1", 9}, {Webseed, 1, "192.0.2.1", 1}, {Direct, 1, "192.0.2.1", 1}}, []float64{rate / 3, rate / 3, rate / 3}},
		{"a floor comes first", Options{Rate: rate, Shares: [kinds]Share{Webseed: {Floor: rate * 3 / 4}}},
			[]user{{Peers, 1, "192.0.2.1", 9}, {Webseed, 1, "192.0.2.1", 1}}, []float64{rate / 4, rate * 3 / 4}},
		{"a floor that nobody wants is for the others", Options{Rate: rate, Shares: [kinds]Share{Webseed: {Floor: rate * 3 / 4}}},
			[]user{{Peers, 1, "192.0.2.1", 1}}, []float64{rate}},
		{"a cap holds, and leaves the rest to the others", Options{Rate: rate, Shares: [kinds]Share{Direct: {Cap: rate / 4}}},
			[]user{{Direct, 1, "192.0.2.1", 50}, {Peers, 1, "192.0.2.1", 1}}, []float64{rate / 4, rate * 3 / 4}},
		{"a cap alone", Options{Shares: [kinds]Share{Direct: {Cap: rate}}}, []user{{Direct, 1, "192.0.2.1", 2}}, []float64{rate}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for i, got := range compete(t, row.o, row.users...) {
				near(t, row.users[i].client, got, row.want[i])
			}
		})
	}
}

func TestWhoLeavesTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Rate: rate})
		take := func(ctx context.Context, n int) error {
			return b.Take(ctx, Peers, infohash.T{}, netip.Addr{}, n)
		}
		if err := take(t.Context(), rate); err != nil { // overdraws by a second
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := take(ctx, rate); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("took within a millisecond: %v", err)
		}
		start := time.Now()
		if err := take(t.Context(), 1); err != nil || time.Since(start) > time.Second {
			t.Errorf("waited %v for one that had left: %v", time.Since(start), err)
		}
		if b.root.waiting != 0 || len(b.root.children) > 1 {
			t.Errorf("%d wait in %d kinds", b.root.waiting, len(b.root.children))
		}
	})
}

func TestNoLimitAsksNobody(t *testing.T) {
	b := New(Options{})
	if b.Chunk() != 0 {
		t.Errorf("chunks of %d", b.Chunk())
	}
	if n := testing.AllocsPerRun(100, func() {
		if b.Take(t.Context(), Peers, infohash.T{}, netip.Addr{}, 1<<30) != nil {
			t.Error("not granted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, o := range []struct {
		name string
		o    Options
	}{{"unlimited", Options{}}, {"limited", Options{Rate: 1e15}}} {
		b.Run(o.name, func(b *testing.B) {
			all := New(o.o)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = all.Take(b.Context(), Peers, infohash.T{}, netip.Addr{}, 64<<10)
				}
			})
		})
	}
}

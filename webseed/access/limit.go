package access

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxClients bounds how many clients a Limiter knows apart at a time. Forgetting
// one gives it a new start.
const maxClients = 16 << 10

// Limiter bounds how often each client (an IPv4 address, or an IPv6 /64) may do
// something. It is safe for concurrent use.
type Limiter struct {
	rate  rate.Limit // a second
	burst int

	mu sync.Mutex // guards the field below
	of map[netip.Prefix]*rate.Limiter
}

// NewLimiter returns a Limiter that allows so much a second, and a burst after a pause.
func NewLimiter(perSecond float64, burst int) *Limiter {
	return &Limiter{rate: rate.Limit(perSecond), burst: burst, of: make(map[netip.Prefix]*rate.Limiter)}
}

// Allow counts one and returns 0, or returns how long to wait.
func (l *Limiter) Allow(client netip.Addr) time.Duration {
	c, now := l.client(client), time.Now()
	if c.AllowN(now, 1) {
		return 0
	}
	return max(l.wait(c, now), 1)
}

// Wait returns how long to wait, without counting.
func (l *Limiter) Wait(client netip.Addr) time.Duration { return l.wait(l.client(client), time.Now()) }

// Reserve is Allow for one that may turn out not to count.
func (l *Limiter) Reserve(client netip.Addr) (undo func(), wait time.Duration) {
	c, now := l.client(client), time.Now()
	r := c.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return nil, wait
	}
	return func() { r.CancelAt(now) }, 0
}

func (l *Limiter) wait(c *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - c.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(l.rate) * float64(time.Second))
}

func (l *Limiter) client(addr netip.Addr) *rate.Limiter {
	bits := addr.BitLen()
	if bits == 128 {
		bits = 64
	}
	key, _ := addr.Prefix(bits) // those without an address are one client
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of[key]
	if c == nil {
		if len(l.of) >= maxClients {
			l.forget()
		}
		c = rate.NewLimiter(l.rate, l.burst)
		l.of[key] = c
	}
	return c
}

// forget forgets some that have paused, or else any. l.mu is held.
func (l *Limiter) forget() {
	const look = 64
	now, looked, forgotten := time.Now(), 0, 0
	for key, c := range l.of { // begins anywhere
		looked++
		if c.TokensAt(now) >= float64(l.burst) || looked == look && forgotten == 0 {
			delete(l.of, key)
			forgotten++
		}
		if looked == look {
			return
		}
	}
}

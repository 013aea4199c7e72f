package seeder

import "time"

// meter tells how fast a number of bytes grows. It is read about once a second.
type meter struct {
	last int64
	at   time.Time
	rate float64 // bytes per second, over the last few seconds
}

const meterOver = 3 * time.Second

func (m *meter) read(total int64, now time.Time) float64 {
	if dt := now.Sub(m.at).Seconds(); m.at.IsZero() {
		m.at, m.last = now, total
	} else if dt > 0 {
		m.rate += (float64(total-m.last)/dt - m.rate) * min(1, dt/meterOver.Seconds())
		m.at, m.last = now, total
	}
	return m.rate
}

// line is what is known of our own line to the world: as fast as it ever was
// of late, unless it is told.
type line struct {
	meter
	limit    float64 // bytes per second; 0: not told
	capacity float64 // bytes per second
}

const lineForgotten = 5 * time.Minute

func (l *line) read(total int64, now time.Time) {
	before := l.at
	rate := l.meter.read(total, now)
	if l.limit > 0 {
		l.capacity = l.limit
		return
	}
	fade := 1 - min(1, now.Sub(before).Seconds()/lineForgotten.Seconds())
	l.capacity = max(rate, l.capacity*fade)
}

// free is what a swarm could get that gets so much now.
func (l *line) free(now float64) float64 { return max(0, l.capacity-(l.rate-now)) }

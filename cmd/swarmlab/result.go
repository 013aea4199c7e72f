package main

import (
	"math"
	"slices"
	"time"
)

// result is what came of one run: a line of JSON. Times are in seconds, from
// the moment when the first of the clients that it speaks of was let go.
type result struct {
	Scenario   string `json:"scenario"`
	Origin     string `json:"origin"`
	Client     string `json:"client"`
	Webseed    bool   `json:"webseed"` // listed in the torrent
	Run        int    `json:"run"`     // from 1
	Clients    int    `json:"clients"` // without a late one
	Size       int64  `json:"size"`
	OriginRate int64  `json:"origin_rate"` // bits per second, as the two below
	Up         int64  `json:"up_rate"`
	Down       int64  `json:"down_rate"`
	Congestion string `json:"congestion"` // control of TCP

	Limit    float64 `json:"limit"` // the fluid limit
	Finished int     `json:"finished"`
	Died     int     `json:"died,omitempty"`
	Last     float64 `json:"last"`   // when the last of those that finished was done
	Median   float64 `json:"median"` // of how long each took from its own start

	// Copies are bytes on the origin's cable (headers, repeats and all other
	// traffic but that to a store too) ÷ size; Payload are bytes of content that it says it sent ÷
	// size, and Sent says by which way.
	Copies  float64  `json:"copies"`
	Bytes   int64    `json:"origin_bytes"`
	Payload *float64 `json:"payload_copies,omitempty"`
	Sent    ways     `json:"sent"`
	// Fetched are bytes on the cable of the store that the origin has its content
	// from ÷ size, since the clients were let go.
	Fetched *float64 `json:"fetched_copies,omitempty"`
	// Processor is the processor time of the origin's programs in seconds per
	// gigabyte on its cable, without their start and all hashing. The kernel
	// charges it for some of the receivers' work too: compare, do not quote.
	// 0 if next to nothing was sent.
	Processor float64 `json:"origin_cpu_per_gb"`

	Crowd     *crowd      `json:"crowd,omitempty"` // what came before a late one
	Downloads []downloads `json:"downloads"`
	Error     string      `json:"error,omitempty"`
}

// ways are bytes of content sent, by the way they took. What an origin cannot
// tell is nil.
type ways struct {
	Peers   *int64 `json:"peers,omitempty"`
	Webseed *int64 `json:"webseed,omitempty"`
	Direct  *int64 `json:"direct,omitempty"`
}

// minus returns w less what was sent before.
func (w ways) minus(before ways) ways {
	less := func(a, b *int64) *int64 {
		if a == nil || b == nil {
			return a
		}
		n := *a - *b
		return &n
	}
	return ways{less(w.Peers, before.Peers), less(w.Webseed, before.Webseed), less(w.Direct, before.Direct)}
}

// total returns the sum of what is known, or nil if nothing is.
func (w ways) total() *int64 {
	var sum *int64
	for _, n := range []*int64{w.Peers, w.Webseed, w.Direct} {
		switch {
		case n == nil:
		case sum == nil:
			first := *n
			sum = &first
		default:
			*sum += *n
		}
	}
	return sum
}

// crowd is what the crowd did before the late one came.
type crowd struct {
	Last   float64 `json:"last"`
	Copies float64 `json:"copies"`
}

// downloads is one client's part in a run.
type downloads struct {
	Host     string   `json:"host"`
	Client   string   `json:"client"`
	Start    float64  `json:"start"`
	Done     *float64 `json:"done,omitempty"` // since the run's beginning; nil: not
	Died     bool     `json:"died,omitempty"`
	Sent     int64    `json:"sent"`     // bytes on its cable up to the end of the run
	Received int64    `json:"received"` // likewise
}

// median returns the middle value, or the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return (v[m-1] + v[m]) / 2
}

// lastAndMedian returns the time at which the last client was done, and the
// median of how long each took from its own start.
func lastAndMedian(all []downloads) (last, middle float64) {
	var took []float64
	for _, d := range all {
		if d.Done != nil {
			last = max(last, *d.Done)
			took = append(took, *d.Done-d.Start)
		}
	}
	return last, median(took)
}

// lastOf returns when the last client of a kind was done.
func (r result) lastOf(kind string) float64 {
	var last float64
	for _, d := range r.Downloads {
		if d.Client == kind && d.Done != nil {
			last = max(last, *d.Done)
		}
	}
	return last
}

// seconds rounds to milliseconds: nothing here is known any better.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// round keeps four digits behind the point.
func round(f float64) float64 { return math.Round(f*1e4) / 1e4 }

// mixed is the name for all kinds of clients together.
const mixed = "mixed"

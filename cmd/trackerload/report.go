//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// wanted is how many peers are asked for (numwant).
const wanted = 50

// tally is what was answered.
type tally struct {
	answers, lost int64
	wrongs        int64
	first         string // what was wrong first
	peers         int64  // named in answers
	selves        int64  // answers that name the one who asks
}

func (t *tally) wrong(what string) {
	t.wrongs++
	t.first = cmp.Or(t.first, what)
}

func (t *tally) add(o *tally) {
	t.answers += o.answers
	t.lost += o.lost
	t.wrongs += o.wrongs
	t.first = cmp.Or(t.first, o.first)
	t.peers += o.peers
	t.selves += o.selves
}

// checkPeers checks a compact list of peers: that all are members of the swarm, and
// that there are some if there can be. Whether the one who asks is among them is
// counted: opentracker does not leave it out.
func (t *tally) checkPeers(q question, list []byte, counted int) {
	m := q.member
	t.peers += int64(len(list) / 6)
	if q.event == eventStopped {
		return
	}
	if counted < 1 {
		t.wrong("a swarm of nobody")
	}
	if len(list) == 0 && !m.seeder() && counted > 2 {
		t.wrong(fmt.Sprintf("no peers for a leecher of a swarm of %d", counted))
	}
	for i := 0; i+6 <= len(list); i += 6 {
		switch o, ok := m.mate(list[i : i+6]); {
		case !ok:
			t.wrong(fmt.Sprintf("the peer %v in the swarm of %v", list[i:i+6], m.addrPort()))
			return
		case o == m:
			t.selves++
		}
	}
}

// result is one measurement of one tracker.
type result struct {
	tracker  kind
	protocol string
	tally    tally
	took     time.Duration
	cpu      time.Duration
	resident int64 // bytes, at the end
	peers    int
}

func (r result) rate() float64      { return float64(r.tally.answers) / r.took.Seconds() }
func (r result) perAnswer() float64 { return r.cpu.Seconds() / float64(max(r.tally.answers, 1)) }

// err says what was wrong, if anything.
func (r result) err() error {
	if r.tally.wrongs == 0 {
		return nil
	}
	return fmt.Errorf("%s over %s: %d of %d answers are wrong, the first: %s", r.tracker, r.protocol, r.tally.wrongs, r.tally.answers, r.tally.first)
}

// median is the one in the middle by answers per second.
func median(rs []result) result {
	rs = slices.SortedFunc(slices.Values(rs), func(a, b result) int { return cmp.Compare(a.rate(), b.rate()) })
	return rs[len(rs)/2]
}

// report prints the medians and their ratios.
func report(out io.Writer, rs []result) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "protocol\ttracker\tanswers/s\tµs of processor each\tpeers each\tMB resident\tlost\t")
	for _, protocol := range []string{"udp", "http"} {
		var by [2]result
		for i, k := range []kind{ours, rival} {
			var some []result
			for _, r := range rs {
				if r.protocol == protocol && r.tracker == k {
					some = append(some, r)
				}
			}
			if len(some) == 0 {
				continue
			}
			m := median(some)
			by[i] = m
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%.2f\t%.1f\t%.1f\t%d\t\n", protocol, k, m.rate(), 1e6*m.perAnswer(),
				float64(m.tally.peers)/float64(max(m.tally.answers, 1)), float64(m.resident)/1e6, m.tally.lost)
		}
		if by[0].took > 0 && by[1].took > 0 {
			fmt.Fprintf(w, "%s\tratio\t%.2f\t%.2f\t\t%.2f\t\t\n", protocol, by[0].rate()/by[1].rate(), by[0].perAnswer()/by[1].perAnswer(),
				float64(by[0].resident)/float64(by[1].resident))
		}
	}
	w.Flush()
}

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// row is the medians over the runs of one origin with one kind of client.
type row struct {
	scenario, origin, client    string
	runs, failed                int
	last, middle, limit, copies float64
	payload                     *float64
	peers, webseed, direct      *float64 // in copies
	processor                   float64
	fetched                     *float64           // in copies
	crowdLast, crowdCopies      float64            // of late
	slowest                     map[string]float64 // last by client, of mixed ones
	kinds                       []string           // keys of slowest, in order
}

// rows groups results in the order in which each group first turns up. Runs
// that failed count as such, and for nothing else.
func rows(results []result) []row {
	type key struct{ scenario, origin, client string }
	groups := map[key][]result{}
	var order []key
	for _, r := range results {
		k := key{r.Scenario, r.Origin, r.Client}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	var all []row
	for _, k := range order {
		all = append(all, newRow(groups[k]))
	}
	return all
}

func newRow(group []result) row {
	one := group[0]
	r := row{scenario: one.Scenario, origin: one.Origin, client: one.Client, limit: one.Limit, slowest: map[string]float64{}}
	var good []result
	for _, res := range group {
		if res.Error == "" {
			good = append(good, res)
		} else {
			r.failed++
		}
	}
	r.runs = len(good)
	of := func(value func(result) float64) float64 {
		var v []float64
		for _, res := range good {
			v = append(v, value(res))
		}
		return median(v)
	}
	known := func(value func(result) *int64) *float64 {
		for _, res := range good {
			if value(res) == nil {
				return nil
			}
		}
		if len(good) == 0 {
			return nil
		}
		m := of(func(res result) float64 { return float64(*value(res)) / float64(res.Size) })
		return &m
	}
	r.last = of(func(res result) float64 { return res.Last })
	r.middle = of(func(res result) float64 { return res.Median })
	r.copies = of(func(res result) float64 { return res.Copies })
	r.processor = of(func(res result) float64 { return res.Processor })
	r.payload = known(func(res result) *int64 { return res.Sent.total() })
	r.peers = known(func(res result) *int64 { return res.Sent.Peers })
	r.webseed = known(func(res result) *int64 { return res.Sent.Webseed })
	r.direct = known(func(res result) *int64 { return res.Sent.Direct })
	if len(good) > 0 && good[0].Fetched != nil {
		fetched := of(func(res result) float64 { return *res.Fetched })
		r.fetched = &fetched
	}
	if one.Crowd != nil {
		r.crowdLast = of(func(res result) float64 { return res.Crowd.Last })
		r.crowdCopies = of(func(res result) float64 { return res.Crowd.Copies })
	}
	if one.Client == mixed {
		for _, d := range one.Downloads {
			if _, ok := r.slowest[d.Client]; ok {
				continue
			}
			r.kinds = append(r.kinds, d.Client)
			r.slowest[d.Client] = of(func(res result) float64 { return res.lastOf(d.Client) })
		}
	}
	return r
}

// printTable prints a row per origin and kind of client. With several origins
// the last column says how many times as long it took until the last was done
// as with the first origin and the same clients.
func printTable(w io.Writer, results []result) error {
	all := rows(results)
	if len(all) == 0 {
		return nil
	}
	first := map[string]row{} // of the first origin, by client
	several := false
	for _, r := range all {
		if r.origin == all[0].origin {
			first[r.scenario+" "+r.client] = r
		} else {
			several = true
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	heading := "scenario\torigin\tclient\truns\tlast\t÷ limit\tmedian\t÷ limit\tcopies\tpayload\tpeers\twebseed\tdirect\tcpu s/GB\t"
	if several {
		heading += "÷ " + all[0].origin + "\t"
	}
	fmt.Fprintln(t, heading)
	var notes []string
	for _, r := range all {
		runs := fmt.Sprint(r.runs)
		if r.failed > 0 {
			runs += fmt.Sprintf(" (%d failed)", r.failed)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t", r.scenario, r.origin, r.client, runs)
		if r.runs == 0 {
			fmt.Fprintln(t, strings.Repeat("–\t", strings.Count(heading, "\t")-4))
			continue
		}
		fmt.Fprintf(t, "%.1f s\t%.2f\t%.1f s\t%.2f\t%.3f\t%s\t%s\t%s\t%s\t%.2f\t", r.last, r.last/r.limit, r.middle, r.middle/r.limit,
			r.copies, copies(r.payload), copies(r.peers), copies(r.webseed), copies(r.direct), r.processor)
		if several {
			if f := first[r.scenario+" "+r.client]; f.runs > 0 {
				fmt.Fprintf(t, "%.2f\t", r.last/f.last)
			} else {
				fmt.Fprint(t, "–\t")
			}
		}
		fmt.Fprintln(t)
		notes = append(notes, r.notes()...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(w, n)
	}
	return nil
}

// notes are what has no column.
func (r row) notes() []string {
	var all []string
	who := fmt.Sprintf("%s, %s, %s: ", r.scenario, r.origin, r.client)
	if r.crowdLast > 0 {
		all = append(all, who+fmt.Sprintf("the row is the late client's; the crowd before it took %.1f s and %.3f copies.", r.crowdLast, r.crowdCopies))
	}
	if r.fetched != nil {
		all = append(all, who+fmt.Sprintf("the origin fetched %.3f copies meanwhile.", *r.fetched))
	}
	if len(r.kinds) > 0 {
		var parts []string
		for _, k := range r.kinds {
			parts = append(parts, fmt.Sprintf("%s %.1f s", k, r.slowest[k]))
		}
		all = append(all, who+"the last of each kind: "+strings.Join(parts, ", ")+".")
	}
	return all
}

func copies(n *float64) string {
	if n == nil {
		return "n/a"
	}
	return fmt.Sprintf("%.3f", *n)
}

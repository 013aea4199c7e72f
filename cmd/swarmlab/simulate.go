package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"dropseed/cmd/swarmlab/sim"
)

// Bounds that keep a simulation within a machine: a byte per piece and peer.
const (
	maxPeers      = 1_000_000
	maxSimulation = 8 << 30
)

// simulation are the flags of simulate.
type simulation struct {
	peers       []int
	mix         lineMix
	size        byteSize
	pieceLength byteSize
	originRate  bitRate
	connections int
	gap         time.Duration
	leave       bool
	help        float64
	seed        uint64
	json        string
}

func simulateCommand() *cobra.Command {
	o := simulation{
		size: 128 << 20, pieceLength: 256 << 10, originRate: 100e6,
		mix: lineMix{{20e6, 200e6}, {50e6, 100e6}, {200e6, 200e6}},
	}
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate large crowds, with dropseed's own decisions",
		Long: `Simulate crowds that no machine could run: simulated clients and lines, and the
code that decides what dropseed offers to whom. Print a line of JSON per size
and a table. "out" is when every piece was whole at some peer. The policy's
memory (per peer that the origin took) and processor time are measured; all else
is the same whenever the same is simulated. It needs neither root nor Linux. Ten
thousand peers take about a minute.`,
		Example: `  swarmlab simulate --peers 10,100,1000
  swarmlab simulate --mix 20Mbit/200Mbit --help-share 1`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&o.peers, "peers", []int{10, 100, 1000, 10_000}, "sizes of the crowd, with commas between them")
	f.Var(&o.mix, "mix", "the peers' lines, sending/receiving, with commas between them: as many peers with each")
	f.Var(&o.size, "size", "size of the content")
	f.Var(&o.pieceLength, "piece-length", "size of a piece")
	f.Var(&o.originRate, "origin-rate", "the origin's line")
	f.IntVar(&o.connections, "connections", 2048, "peers that the origin takes, as peers.max_per_release")
	f.DurationVar(&o.gap, "gap", 0, "time from one peer's coming to the next one's")
	f.BoolVar(&o.leave, "leave", false, "peers leave as soon as they have everything")
	f.Float64Var(&o.help, "help-share", 0.2, "offload.help: the share of the time that helping must save; 1 never helps")
	f.Uint64Var(&o.seed, "seed", 1, "for another course of the same")
	f.StringVar(&o.json, "json", "", "append the lines of JSON to this file (default standard output)")
	f.SortFlags = false
	return cmd
}

// check returns all that is wrong with the flags.
func (o simulation) check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if o.pieceLength < 16<<10 || o.pieceLength >= o.size {
		wrong("--piece-length %v is not between 16KiB and the size of the content", o.pieceLength)
	}
	if len(o.peers) == 0 {
		wrong("--peers is empty")
	}
	for _, n := range o.peers {
		if n < 1 || n > maxPeers {
			wrong("there can be 1 to %d peers, not %d", maxPeers, n)
		} else if pieces := int64(o.size / o.pieceLength); pieces > maxSimulation/int64(n) {
			wrong("%d peers with %d pieces are too much to simulate", n, pieces)
		}
	}
	if o.connections < 1 {
		wrong("--connections %d makes no sense", o.connections)
	}
	if o.gap < 0 || o.gap > time.Hour {
		wrong("--gap %v is not between 0 and an hour", o.gap)
	}
	if !(o.help >= 0 && o.help <= 1) { // NaN too
		wrong("--help-share %v is not between 0 and 1", o.help)
	}
	return errors.Join(problems...)
}

// options returns what a simulation of n peers is made of.
func (o simulation) options(n int) sim.Options {
	p := sim.Options{
		Size: int64(o.size), PieceLength: int64(o.pieceLength), Origin: o.originRate.bytes(), Connections: o.connections,
		Gap: o.gap, Leave: o.leave, Help: o.help, Seed: o.seed,
	}
	for i := range n {
		l := o.mix[i%len(o.mix)]
		p.Peers = append(p.Peers, sim.Line{Up: l.up.bytes(), Down: l.down.bytes()})
	}
	return p
}

// simulated is what came of one size: a line of JSON. Times are in seconds.
type simulated struct {
	Peers       int     `json:"peers"`
	Mix         string  `json:"mix"`
	Size        int64   `json:"size"`
	PieceLength int64   `json:"piece_length"`
	OriginRate  int64   `json:"origin_rate"` // bits per second
	Connections int     `json:"connections"`
	Gap         float64 `json:"gap"`
	Leave       bool    `json:"leave"`
	Help        float64 `json:"help"`
	Seed        uint64  `json:"seed"`

	Limit     float64 `json:"limit"` // the fluid limit
	Finished  int     `json:"finished"`
	Connected int     `json:"connected"` // to the origin, at any time
	Out       float64 `json:"out"`       // when every piece was whole at some peer
	Last      float64 `json:"last"`
	Median    float64 `json:"median"` // of how long each took from its own start
	Copies    float64 `json:"copies"`
	ByPeers   float64 `json:"by_peers"` // the share of all bytes that peers sent

	PolicyMemory int64   `json:"policy_memory,omitempty"` // bytes per connected peer; not known if they leave
	PolicyTime   float64 `json:"policy_time"`
	Took         float64 `json:"took"` // the simulation itself
	Error        string  `json:"error,omitempty"`
}

// simulate plays one size. What is returned with an error is what there was then.
func (o simulation) simulate(ctx context.Context, n int) (simulated, error) {
	p, start := o.options(n), time.Now()
	r, err := sim.Run(ctx, p)
	memory := r.PolicyMemory / int64(max(1, r.Connected))
	if o.leave {
		memory = 0 // it was measured when most were gone
	}
	return simulated{
		Peers: n, Mix: o.mix.String(), Size: int64(o.size), PieceLength: int64(o.pieceLength), OriginRate: int64(o.originRate),
		Connections: o.connections, Gap: seconds(o.gap), Leave: o.leave, Help: o.help, Seed: o.seed,
		Limit: seconds(p.Limit()), Finished: r.Finished, Connected: r.Connected,
		Out: seconds(r.Out), Last: seconds(r.Last), Median: seconds(r.Median),
		Copies: round(float64(r.FromOrigin) / float64(o.size)), ByPeers: round(float64(r.FromPeers) / math.Max(1, float64(r.FromPeers+r.FromOrigin))),
		PolicyMemory: memory, PolicyTime: seconds(r.PolicyTime), Took: seconds(time.Since(start)),
	}, err
}

// run simulates all sizes and prints what came out.
func (o simulation) run(ctx context.Context, out, progress io.Writer) error {
	lines := out
	if o.json != "" {
		f, err := os.OpenFile(o.json, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return usageError{err}
		}
		defer f.Close()
		lines = f
	}
	var all []simulated
	failed := 0
	for _, n := range o.peers {
		res, err := o.simulate(ctx, n)
		if ctx.Err() != nil {
			return errors.Join(errors.New("interrupted"), o.printTable(out, all))
		}
		if err != nil {
			failed++
			res.Error = err.Error()
			fmt.Fprintf(progress, "%d peers: %v\n", n, err)
		}
		all = append(all, res)
		if err := json.NewEncoder(lines).Encode(res); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	if err := o.printTable(out, all); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d simulations failed", failed, len(all))
	}
	return nil
}

// printTable prints a row per size, and before them what they have in common.
func (o simulation) printTable(w io.Writer, all []simulated) error {
	fmt.Fprintf(w, "%v in pieces of %v, an origin of %v that takes %d peers, peers of %v in equal parts, help share %v\n",
		o.size, o.pieceLength, o.originRate, o.connections, o.mix, o.help)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "peers\tlimit\tout\tlast\t÷ limit\tmedian\t÷ limit\tcopies\tby peers\tpolicy B/peer\tpolicy cpu\ttook\t")
	for _, r := range all {
		done, times := fmt.Sprint(r.Peers), fmt.Sprintf("%.1f s\t%.1f s\t%.2f\t%.1f s\t%.2f", r.Out, r.Last, r.Last/r.Limit, r.Median, r.Median/r.Limit)
		if r.Error != "" {
			done, times = fmt.Sprintf("%d (%d done)", r.Peers, r.Finished), "–\t–\t–\t–\t–"
		}
		memory := "n/a"
		if r.PolicyMemory > 0 {
			memory = fmt.Sprint(r.PolicyMemory)
		}
		fmt.Fprintf(t, "%s\t%.1f s\t%s\t%.3f\t%.2f %%\t%s\t%.2f s\t%.1f s\t\n",
			done, r.Limit, times, r.Copies, 100*r.ByPeers, memory, r.PolicyTime, r.Took)
	}
	return t.Flush()
}

// lineMix are the lines that peers have in turns. It is a flag's value.
type lineMix []struct{ up, down bitRate }

// Set parses lines such as 20Mbit/200Mbit,1Gbit/1Gbit.
func (m *lineMix) Set(text string) error {
	var mix lineMix
	for part := range strings.SplitSeq(text, ",") {
		up, down, ok := strings.Cut(part, "/")
		if !ok {
			return fmt.Errorf("%q is not two rates with / between them", part)
		}
		l := struct{ up, down bitRate }{}
		if err := errors.Join(l.up.Set(up), l.down.Set(down)); err != nil {
			return err
		}
		mix = append(mix, l)
	}
	*m = mix
	return nil
}

func (m lineMix) String() string {
	var parts []string
	for _, l := range m {
		parts = append(parts, l.up.String()+"/"+l.down.String())
	}
	return strings.Join(parts, ",")
}

func (m lineMix) Type() string { return "LINES" }

// bytes returns the rate in bytes per second.
func (r bitRate) bytes() float64 { return float64(r) / 8 }

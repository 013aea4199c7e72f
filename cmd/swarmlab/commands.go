//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// labCommands returns the commands that build labs or clean up after them.
func labCommands() []*cobra.Command {
	return []*cobra.Command{
		runCommand(), listCommand(),
		{
			Use: "clean", Short: "Remove what dead labs have left", Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				if err := needRoot(); err != nil {
					return err
				}
				return clean(cmd.OutOrStdout())
			},
		},
		{
			Use: "janitor ID", Hidden: true, Args: usage(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error { return janitor(cmd.InOrStdin(), args[0]) },
		},
	}
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return usageError{errors.New("the lab is made of network namespaces: it needs root")}
	}
	return nil
}

// runOptions are the flags of run.
type runOptions struct {
	origins, clients []string
	webseed          string
	repeat           int
	timeout          time.Duration
	json             string
	dropseed         string
	dir              string
	congestion       string
	keep             bool
	change           scenario // figures in place of the scenario's
}

func runCommand() *cobra.Command {
	cmd, _ := newRunCommand()
	return cmd
}

// newRunCommand returns the command, and where its flags end up.
func newRunCommand() (*cobra.Command, *runOptions) {
	o := new(runOptions)
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario with each origin and each kind of client",
		Long: `Run a scenario with each origin and each kind of client, in turns, and print a
line of JSON per run and a table of the medians. Times are until the last and
the median client has the content, beside the fluid limit: the least time that
the lines allow to any origin. Copies are bytes on the origin's cable ÷ size.
The last seven flags replace a figure of the scenario's.`,
		Example: `  swarmlab run crowd --origin dropseed,glued --client aria2,libtorrent --repeat 3
  swarmlab run home --size 32MiB --json home.jsonl`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := o.matrix(args[0], cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			m.out, m.progress = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return m.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.origins, "origin", []string{"dropseed"}, "origins, with commas between them; see list")
	f.StringSliceVar(&o.clients, "client", nil, "kinds of clients, with commas between them; see list (default the scenario's)")
	f.IntVar(&o.repeat, "repeat", 1, "runs of each pair, of which the medians are printed")
	f.StringVar(&o.webseed, "webseed", "listed", "listed or none: whether the torrent names a webseed")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long a run may take, with all that is around it")
	f.StringVar(&o.json, "json", "", "append the lines of JSON to this file (default standard output)")
	f.StringVar(&o.dropseed, "dropseed", "", "a built dropseed (default: build the one of this source tree)")
	f.StringVar(&o.dir, "dir", os.TempDir(), "where all the content goes while a run lasts: clients × size")
	f.StringVar(&o.congestion, "congestion", "cubic", "TCP's congestion control on all hosts")
	f.BoolVar(&o.keep, "keep", false, "keep the files and logs of the runs, and say where")
	c := &o.change
	f.Var(&c.size, "size", "size of the content")
	f.IntVar(&c.files, "files", 0, "number of files in the content; 0 is a single file rather than a directory")
	f.IntVar(&c.clients, "clients", 0, "number of clients")
	f.Var(&c.originRate, "origin-rate", "the origin's line, each way")
	f.Var(&c.up, "up-rate", "each client's line, sending")
	f.Var(&c.down, "down-rate", "each client's line, receiving")
	f.DurationVar(&c.gap, "gap", 0, "time from one client's start to the next one's")
	f.SortFlags = false
	for _, name := range []string{"size", "origin-rate", "up-rate", "down-rate"} {
		f.Lookup(name).DefValue = "" // the scenario's
	}
	return cmd, o
}

// apply puts the figures that were given in place of the scenario's.
func (o *runOptions) apply(s *scenario, flags *pflag.FlagSet) error {
	flags.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "size":
			s.size = o.change.size
		case "files":
			s.files = o.change.files
		case "clients":
			s.clients = o.change.clients
			if s.deaths > 0 {
				s.deaths = s.clients / 3
			}
		case "origin-rate":
			s.originRate = o.change.originRate
		case "up-rate":
			s.up = o.change.up
		case "down-rate":
			s.down = o.change.down
		case "gap":
			s.gap = o.change.gap
		}
	})
	return s.check()
}

// matrix is all that one command runs.
type matrix struct {
	runOptions
	plans    []plan   // in the order in which they are run
	skipped  []string // what makes no sense, as sentences
	claim    *claim
	content  content
	out      io.Writer // for what it is all for
	progress io.Writer // for people who wait
}

// matrix checks the options, all at once, and plans the runs.
func (o *runOptions) matrix(name string, flags *pflag.FlagSet) (*matrix, error) {
	m := &matrix{runOptions: *o}
	s, err := findScenario(name)
	var problems []error
	if err == nil {
		err = o.apply(&s, flags)
	}
	if err != nil {
		problems = append(problems, err)
	}
	if o.webseed != "listed" && o.webseed != "none" {
		problems = append(problems, fmt.Errorf("--webseed is listed or none, not %q", o.webseed))
	}
	if o.repeat < 1 {
		problems = append(problems, fmt.Errorf("--repeat %d makes no sense", o.repeat))
	}
	if o.timeout <= 0 {
		problems = append(problems, fmt.Errorf("--timeout %v makes no sense", o.timeout))
	}
	kinds := o.clients
	if len(kinds) == 0 {
		kinds = []string{s.client}
	}
	needs := []string{"ip", "tc"}
	skipped := map[string]bool{}
	for run := range o.repeat {
		for _, kind := range kinds {
			for _, name := range o.origins {
				p, err := newPlan(s, name, kind)
				if err != nil {
					if run == 0 {
						problems = append(problems, err)
					}
					continue
				}
				if p.impossible() {
					skipped[fmt.Sprintf("skipped: origin %s offers nothing to clients without BitTorrent (%s)", name, kind)] = true
					continue
				}
				p.webseed, p.run = o.webseed == "listed", run+1
				if slices.ContainsFunc(m.plans, func(q plan) bool {
					return q.origin.name == p.origin.name && q.client == p.client && q.run == p.run
				}) {
					continue
				}
				m.plans = append(m.plans, p)
				needs = append(needs, p.needs()...)
			}
		}
	}
	m.skipped = slices.Sorted(maps.Keys(skipped))
	if len(problems) == 0 && len(m.plans) == 0 {
		problems = append(problems, fmt.Errorf("nothing to run: %s", strings.Join(m.skipped, "; ")))
	}
	slices.Sort(needs)
	if not := missing(slices.Compact(needs)); len(not) > 0 {
		problems = append(problems, fmt.Errorf("not installed: %s", strings.Join(not, ", ")))
	}
	return m, errors.Join(append(problems, needRoot())...)
}

// newPlan pairs an origin with a kind of client. An origin without a torrent
// is paired with curl whatever was asked for.
func newPlan(s scenario, originName, kind string) (plan, error) {
	o, err := findOrigin(originName)
	if err != nil {
		return plan{}, err
	}
	kinds, err := clientsNamed(kind, s.machines(), o.torrent)
	if err != nil {
		return plan{}, err
	}
	if !o.torrent {
		kind = "curl"
	}
	return plan{scenario: s, origin: o, client: kind, kinds: kinds}, nil
}

// impossible says that the origin offers nothing to some of the clients.
func (p plan) impossible() bool {
	return !p.origin.http && slices.ContainsFunc(p.kinds, func(c client) bool { return !c.bittorrent })
}

// needs returns the programs that a run takes.
func (p plan) needs() []string {
	all := slices.Clone(p.origin.needs)
	for _, c := range p.kinds {
		all = append(all, c.needs...)
	}
	return all
}

// run runs all plans and prints what came out. A run that fails does not keep
// the others from being run, but is an error in the end.
func (m *matrix) run(ctx context.Context) (err error) {
	lines := m.out
	if m.json != "" {
		f, err := os.OpenFile(m.json, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return usageError{err}
		}
		defer f.Close()
		lines = f
	}
	if m.claim, err = newClaim(m.dir, m.keep); err != nil {
		return fmt.Errorf("make a lab: %w", err)
	}
	defer func() { err = errors.Join(err, m.claim.release()) }()
	for _, s := range m.skipped {
		fmt.Fprintln(m.progress, s)
	}
	if m.keep {
		fmt.Fprintf(m.progress, "files and logs stay in %s\n", m.claim.dir)
	}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	var results []result
	failed := 0
	for i, p := range m.plans {
		if ids := m.claim.others(); len(ids) > 0 {
			fmt.Fprintf(m.progress, "the next figures are not to be trusted: lab %s is running on this machine too\n", strings.Join(ids, ", "))
		}
		res, err := m.measure(ctx, p)
		if ctx.Err() != nil {
			return errors.Join(errors.New("interrupted"), printTable(m.out, results))
		}
		fmt.Fprintf(m.progress, "%d/%d %s %s %s: ", i+1, len(m.plans), p.scenario.name, p.origin.name, p.client)
		if err != nil {
			failed++
			res.Error = err.Error()
			fmt.Fprintf(m.progress, "failed: %v\n", err)
		} else {
			fmt.Fprintf(m.progress, "%.1f s (%.2f × limit), %.3f copies\n", res.Last, res.Last/res.Limit, res.Copies)
		}
		results = append(results, res)
		if err := json.NewEncoder(lines).Encode(res); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	if err := printTable(m.out, results); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d runs failed", failed, len(results))
	}
	return nil
}

// prepare makes what all runs share.
func (m *matrix) prepare(ctx context.Context) error {
	s := m.plans[0].scenario
	folder := filepath.Join(m.claim.dir, "source")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	var err error
	if m.content, err = newContent(folder, s.size, s.files); err != nil {
		return fmt.Errorf("make the content: %w", err)
	}
	uses := slices.ContainsFunc(m.plans, func(p plan) bool { return p.origin.name == "dropseed" })
	if uses && m.dropseed == "" {
		m.dropseed, err = buildDropseed(ctx, m.claim.dir)
	} else if m.dropseed != "" {
		m.dropseed, err = filepath.Abs(m.dropseed)
	}
	return err
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List scenarios, origins and clients", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "SCENARIO\tCLIENTS\tCONTENT\tORIGIN\tUP\tDOWN\tLIMIT\t")
			for _, s := range scenarios() {
				fmt.Fprintf(t, "%s\t%d\t%v\t%v\t%v\t%v\t%.1f s\t%s\n", s.name, s.clients, s.size, s.originRate, s.up, s.down, seconds(s.limit()), s.about)
			}
			fmt.Fprintln(t, "\nORIGIN\t")
			for _, o := range origins() {
				fmt.Fprintf(t, "%s\t%s%s\n", o.name, o.about, notInstalled(o.needs))
			}
			fmt.Fprintln(t, "\nCLIENT\t")
			for _, c := range clients() {
				fmt.Fprintf(t, "%s\t%s%s\n", c.name, c.about, notInstalled(c.needs))
			}
			fmt.Fprintf(t, "%s\t%s\n", mixed, "aria2, libtorrent and transmission in turns; the last two are curl")
			return t.Flush()
		},
	}
}

func notInstalled(needs []string) string {
	if not := missing(needs); len(not) > 0 {
		return " (not installed: " + strings.Join(not, ", ") + ")"
	}
	return ""
}

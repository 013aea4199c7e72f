//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// options are the flags of run.
type options struct {
	protocols, trackers []string
	torrents, peers     int
	time                time.Duration
	turns               int
	cores               int
}

func commands() []*cobra.Command {
	var o options
	run := &cobra.Command{
		Use:   "run",
		Short: "Measure this project's tracker and opentracker in turns",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rs, err := o.run(cmd.Context())
			report(cmd.OutOrStdout(), rs)
			return err
		},
	}
	f := run.Flags()
	f.StringSliceVar(&o.protocols, "protocol", []string{"udp", "http"}, "udp, http")
	f.StringSliceVar(&o.trackers, "tracker", []string{string(ours), string(rival)}, "dropseed, opentracker")
	f.IntVar(&o.torrents, "torrents", 1000, "info-hashes")
	f.IntVar(&o.peers, "peers", 50_000, "peers in all swarms together")
	f.DurationVar(&o.time, "time", 5*time.Second, "of one measurement")
	f.IntVar(&o.turns, "turns", 3, "measurements of each")
	f.IntVar(&o.cores, "cores", max(1, runtime.NumCPU()/2), "processor cores of the tracker; the load has the others")
	return []*cobra.Command{run, {
		Use: "serve ADDRESS LIST", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return serve(cmd.Context(), args[0], args[1]) },
	}}
}

func (o *options) run(ctx context.Context) ([]result, error) {
	if slices.Contains(o.trackers, string(rival)) {
		if _, err := exec.LookPath("opentracker"); err != nil {
			return nil, usageError{fmt.Errorf("%w; install Debian's package, or leave it out with --tracker dropseed", err)}
		}
	}
	if o.torrents < 1 || o.peers < 1 || o.turns < 1 || o.peers > mostPeers/2 {
		return nil, usageError{fmt.Errorf("%d peers in %d torrents, %d turns: too few or too many", o.peers, o.torrents, o.turns)}
	}
	s := newSwarms(o.torrents, o.peers)
	of, err := o.split()
	if err != nil {
		return nil, err
	}
	var all []result
	for range o.turns {
		for _, protocol := range o.protocols {
			for _, k := range o.trackers {
				r, err := o.measure(ctx, kind(k), protocol, s, of)
				if err == nil {
					err = r.err()
				}
				if err != nil {
					return all, err
				}
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// split keeps this process to the cores that are not the tracker's, and returns
// those. With one core, all share it.
func (o *options) split() (string, error) {
	n := runtime.NumCPU()
	if o.cores >= n {
		return "", nil
	}
	var set unix.CPUSet
	for i := o.cores; i < n; i++ {
		set.Set(i)
	}
	runtime.GOMAXPROCS(n - o.cores)
	// All threads: those that are made later inherit it.
	if err := eachThread(func(tid int) error { return unix.SchedSetaffinity(tid, &set) }); err != nil {
		return "", err
	}
	return "0-" + strconv.Itoa(o.cores-1), nil
}

// client asks until ctx ends.
type client interface {
	load(ctx context.Context) error
	counted() *tally
	close()
}

// What asks: sockets over UDP, and connections over HTTP.
const (
	udpClients  = 4
	httpClients = 64
)

func (o *options) measure(ctx context.Context, k kind, protocol string, s *swarms, cores string) (_ result, err error) {
	sv, err := start(ctx, k, s, cores)
	if err != nil {
		return result{}, err
	}
	defer sv.stop()
	var clients []client
	if protocol == "udp" {
		for range udpClients {
			u, err := dialUDP(ctx, s, sv)
			if err != nil {
				return result{}, err
			}
			clients = append(clients, u)
		}
	} else {
		for i := range httpClients {
			clients = append(clients, &httpClient{s: s, own: s.member(i % s.peers()), server: sv})
		}
	}
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	if err := fill(ctx, s, sv); err != nil {
		return result{}, fmt.Errorf("fill %s: %w", k, err)
	}
	before, err := sv.processorTime()
	if err != nil {
		return result{}, err
	}
	timed, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	began := time.Now()
	var g errgroup.Group
	for _, c := range clients {
		g.Go(func() error { return c.load(timed) })
	}
	if err := g.Wait(); err != nil {
		return result{}, fmt.Errorf("load %s over %s: %w", k, protocol, err)
	}
	r := result{tracker: k, protocol: protocol, took: time.Since(began), peers: s.peers()}
	after, err := sv.processorTime()
	if err != nil {
		return r, err
	}
	r.cpu = after - before
	r.resident, err = sv.resident()
	for _, c := range clients {
		r.tally.add(c.counted())
	}
	return r, err
}

// fill has every peer announce itself once, over UDP.
func fill(ctx context.Context, s *swarms, sv *server) error {
	var g errgroup.Group
	for i := range udpClients {
		u, err := dialUDP(ctx, s, sv)
		if err != nil {
			return err
		}
		defer u.close()
		g.Go(func() error {
			err := u.fill(ctx, i, udpClients)
			if err == nil && u.tally.wrongs > 0 {
				err = fmt.Errorf("%s", u.tally.first)
			}
			return err
		})
	}
	return g.Wait()
}

// eachThread calls do for every thread of this process.
func eachThread(do func(tid int) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := do(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

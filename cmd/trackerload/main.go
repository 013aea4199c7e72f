// Command trackerload measures trackers: how many answers a second they give, what
// processor time and memory that takes, and how they bear abuse.
//
// It starts the tracker of this project and opentracker in turns (server.go), lets
// peers of a made-up population (swarms.go) announce themselves and scrape over UDP
// (udp.go) or HTTP (http.go), checks every answer, and prints the medians and their
// ratios (report.go). The load is a closed loop: each question waits for an answer to
// an earlier one, so nothing is measured that the tracker did not answer. Server and
// load keep to different cores.
//
// All of it is on loopback, and ends by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailed = 1 // a tracker failed, or answered wrongly
	exitUsage  = 2 // bad usage, or this machine cannot run the load
)

// usageError is an error that the caller can mend before trying again.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "trackerload: %v\n", err)
		if _, ok := errors.AsType[usageError](err); ok {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

// command returns the whole command line.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "trackerload",
		Short:         "Measure trackers, side by side",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(commands()...)
	return root
}

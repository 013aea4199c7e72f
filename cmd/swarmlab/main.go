// Command swarmlab measures how content gets from one origin to many machines.
//
// Each run builds a network of namespaces (net.go), starts an origin
// (origin.go) and stock clients (client.go) in it as a scenario says
// (scenario.go), watches until everybody has the content (run.go), compares
// every copy with the source (content.go), and takes everything down again
// (claim.go says how that holds whatever happens). What came out is a line of
// JSON per run and a table at the end (result.go, table.go).
//
// The lab knows nothing of how an origin works inside: it starts real programs
// and counts the bytes on their cables. It needs root and Linux; nothing in it
// has a route to the outside.
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
	exitFailed = 1 // a run failed, or not everybody finished in time
	exitUsage  = 2 // bad usage, or this machine cannot run the lab
)

// usageError is an error that the caller can mend before trying again.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "swarmlab: %v\n", err)
		if _, ok := errors.AsType[usageError](err); ok {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

// command returns the whole command line.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "swarmlab",
		Short:         "Measure how content gets from one origin to many machines",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(labCommands()...)
	root.AddCommand(simulateCommand())
	return root
}

// usage marks what is wrong with the arguments as the caller's to mend.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

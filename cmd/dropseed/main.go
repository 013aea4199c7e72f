// Command dropseed watches folders, makes a torrent of whatever lands there,
// seeds it, tracks its swarm and serves the same bytes over HTTP.
//
// This package is the only one that knows all others: it turns the
// configuration into their Options (compose.go), routes HTTP requests
// (http.go) of those who may send them (access.go), says where a release can be
// had (network.go), speaks TLS (tls.go), and runs everything in one errgroup
// (serve.go). Nothing is decided here that belongs to a
// component.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"dropseed/configs"
)

// version is set by the linker for releases.
var version = "0.1.0-dev"

// Exit codes.
const (
	exitFailed = 1 // while running
	exitUsage  = 2 // bad usage or configuration, or it could not start
)

// usageError is an error that the caller can mend before trying again.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "dropseed: %v\n", err)
		if _, ok := errors.AsType[usageError](err); ok {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

// command returns the whole command line.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "dropseed",
		Short:         "Drop a file, it seeds",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(serveCommand(), statusCommand(), configCommand(), accountCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usage(cobra.NoArgs),
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "dropseed %s (%s %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	})
	return root
}

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve [FOLDER]",
		Short: "Publish what lands in a folder",
		Long: `Publish every file and directory that lands in FOLDER, or in the sources of the
configuration: as a torrent, seeded and tracked from here, and over HTTP.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := configs.Load(cmd.Flags(), args)
			if err != nil {
				return usageError{err}
			}
			return serve(cmd.Context(), c, cmd.OutOrStdout(), os.Stderr)
		},
	}
	configs.AddFlags(cmd.Flags())
	return cmd
}

func configCommand() *cobra.Command {
	check := &cobra.Command{
		Use:   "check [FOLDER]",
		Short: "Say whether the configuration is valid",
		Args:  usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := configs.Load(cmd.Flags(), args)
			if err != nil {
				return usageError{err}
			}
			if err := checkFiles(c); err != nil {
				return usageError{err}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "The configuration is valid.")
			for _, s := range c.Sources {
				fmt.Fprintf(cmd.OutOrStdout(), "  source %q: %s\n", s.Name, s.Path)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "  state: %s\n", c.State)
			return nil
		},
	}
	configs.AddFlags(check.Flags())
	cmd := &cobra.Command{Use: "config", Short: "Work with the configuration", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(check)
	return cmd
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

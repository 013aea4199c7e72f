package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"dropseed/webseed/access"
)

func accountCommand() *cobra.Command {
	hash := &cobra.Command{
		Use:   "hash NAME",
		Short: "Print an account's line for a file of accounts",
		Long: `Read a password from the terminal, or a line of it from standard input, and
print the line of an account for access.accounts or access.operators.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := readPassword(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return usageError{fmt.Errorf("read the password: %w", err)}
			}
			line, err := access.Line(args[0], password)
			if err != nil {
				return usageError{err}
			}
			fmt.Fprintln(cmd.OutOrStdout(), line)
			return nil
		},
	}
	cmd := &cobra.Command{Use: "account", Short: "Work with accounts", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(hash)
	return cmd
}

// readPassword asks for a password twice, unseen, if in is a terminal; else it
// takes the first line.
func readPassword(ctx context.Context, in io.Reader, ask io.Writer) (string, error) {
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		return strings.TrimRight(line, "\r\n"), err
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { // who interrupts it wants to see again what is typed
		_ = term.Restore(int(f.Fd()), state)
		os.Exit(exitFailed)
	})
	defer stop()
	var typed [2]string
	for i, prompt := range [...]string{"Password: ", "Once more: "} {
		fmt.Fprint(ask, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(ask)
		if err != nil {
			return "", err
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same")
	}
	return typed[0], nil
}

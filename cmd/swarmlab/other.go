//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// labCommands returns the commands of the lab, which can only say why they do
// not work here.
func labCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, name := range []string{"run", "list", "clean"} {
		all = append(all, &cobra.Command{
			Use: name, Short: "Needs Linux", DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return usageError{errors.New("the lab is made of network namespaces: it needs Linux, and root")}
			},
		})
	}
	return all
}

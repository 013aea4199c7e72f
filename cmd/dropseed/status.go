package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"dropseed/cmd/dropseed/status"
	"dropseed/configs"
)

// tokenVariable holds a token for the server's API.
const tokenVariable = "DROPSEED_TOKEN"

func statusCommand() *cobra.Command {
	var asJSON, once bool
	cmd := &cobra.Command{
		Use:   "status [URL]",
		Short: "Show what a running server does",
		Long: `Show what a running server does: what it sends, what is pending and the busiest
releases, anew every second; q quits. Where standard output is no terminal, it is
shown once.

Without a URL, the server is the one of this machine: http.listen of the
configuration (--config, DROPSEED_CONFIG, DROPSEED_HTTP_LISTEN) says at which port.
Credentials are the user and password of the URL, or a token in DROPSEED_TOKEN.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && once {
				return usageError{errors.New("want either --json or --once; both are written once")}
			}
			server := ""
			if len(args) > 0 {
				server = args[0]
			} else {
				c, err := configs.LoadForClient(cmd.Flags())
				if err == nil {
					server, err = localURL(c)
				}
				if err != nil {
					return usageError{err}
				}
			}
			client, err := status.New(server, os.Getenv(tokenVariable))
			if err != nil {
				return usageError{err}
			}
			return showStatus(cmd, client, asJSON, once)
		},
	}
	configs.AddConfigFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object, and end")
	cmd.Flags().BoolVar(&once, "once", false, "write text once, and end")
	return cmd
}

// showStatus asks a server and shows its answer, once or again and again.
func showStatus(cmd *cobra.Command, client *status.Client, asJSON, once bool) error {
	first, err := client.Fetch(cmd.Context())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(first)
	}
	if once || !term.IsTerminal(int(os.Stdout.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		_, err := fmt.Fprint(out, first.Text(0, 0, status.Looks{}))
		return err
	}
	return status.Watch(cmd.Context(), client, first, os.Stdin, out)
}

// localURL returns where a server with a configuration is reached from this machine.
func localURL(c configs.Config) (string, error) {
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", fmt.Errorf("http.listen is %s, which picks a free port: give the server's URL, which it prints when it starts", c.HTTP.Listen)
	}
	if c.HTTP.Encrypted() {
		if c.HTTP.PublicURL == nil {
			return "", errors.New("the server speaks https, and its certificate is for a name that http.public_url does not say: give the server's URL")
		}
		return c.HTTP.PublicURL.String(), nil
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

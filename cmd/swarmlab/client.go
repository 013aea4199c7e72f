//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// client is a kind of program that downloads.
type client struct {
	name       string
	about      string
	needs      []string // programs
	bittorrent bool     // it takes a torrent; else addresses of files

	// command returns what to run for a download. It must create d.done when
	// the content is complete, and go on seeding if it can. The lab starts it
	// behind a gate, see gate.
	command func(d download) ([]string, error)
	// gated says that the command waits at the gate itself: it creates
	// d.ready, and begins when it has read a line from its standard input.
	gated bool
}

// download is one host's part in a run.
type download struct {
	host    host
	dir     string // the client's own, for anything
	out     string // where the content goes
	torrent string // a file
	url     func(path string) string
	files   []string // paths for url
	done    string
	ready   string
}

// gate is run by sh before a client: starting a shell is not what is measured.
const gate = `: > "$0"; read _; exec "$@"`

// gatedCommand returns d's command behind its gate.
func (c client) gatedCommand(d download) ([]string, error) {
	args, err := c.command(d)
	if err != nil || c.gated {
		return args, err
	}
	return append([]string{"/bin/sh", "-c", gate, d.ready}, args...), nil
}

// hook writes a script that creates d.done, for clients that run one at the end.
func (d download) hook() (string, error) {
	path := d.dir + "/finished"
	return path, os.WriteFile(path, []byte("#!/bin/sh\n: > '"+d.done+"'\n"), 0o755)
}

func clients() []client {
	return []client{aria2(), libtorrentTCP(), libtorrentBoth(), transmission(), curl()}
}

// clientsNamed returns n clients of a kind. Of mixed ones the last two (or
// the only) are without BitTorrent, the others take turns. The origin that
// offers no torrent gets those that need none.
func clientsNamed(name string, n int, offersTorrent bool) ([]client, error) {
	kinds := map[string]client{}
	var names []string
	for _, c := range clients() {
		kinds[c.name] = c
		names = append(names, c.name)
	}
	if _, ok := kinds[name]; !ok && name != mixed {
		return nil, fmt.Errorf("no client is called %q; there are %s, %s", name, strings.Join(names, ", "), mixed)
	}
	all := make([]client, n)
	turns := []string{"aria2", "libtorrent", "transmission"}
	for i := range all {
		kind := name
		if name == mixed {
			kind = turns[i%len(turns)]
			if i >= n-2 {
				kind = "curl"
			}
		}
		if !offersTorrent {
			kind = "curl"
		}
		all[i] = kinds[kind]
	}
	return all, nil
}

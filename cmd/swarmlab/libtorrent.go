//go:build linux

package main

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
)

// python is Debian's, for which python3-libtorrent is installed.
const python = "/usr/bin/python3"

//go:embed libtorrent_peer.py
var libtorrentScript []byte

// libtorrentJob is what libtorrent_peer.py reads.
type libtorrentJob struct {
	Torrent  string         `json:"torrent"`
	Out      string         `json:"out"`
	Listen   string         `json:"listen"`
	Settings map[string]any `json:"settings,omitempty"`
	Flags    []string       `json:"flags,omitempty"` // of torrent_flags
	Done     string         `json:"done,omitempty"`  // a seed has none
	Ready    string         `json:"ready,omitempty"`
}

// command writes the script and the job to dir and returns what runs them.
func (j libtorrentJob) command(dir string) ([]string, error) {
	script, job := filepath.Join(dir, "libtorrent_peer.py"), filepath.Join(dir, "libtorrent.json")
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(script, libtorrentScript, 0o644); err != nil {
		return nil, err
	}
	return []string{python, script, job}, os.WriteFile(job, text, 0o644)
}

func libtorrentTCP() client {
	return libtorrentClient("libtorrent", "libtorrent over TCP alone", map[string]any{
		"enable_outgoing_utp": false, "enable_incoming_utp": false,
	})
}

func libtorrentBoth() client {
	return libtorrentClient("libtorrent-utp", "libtorrent over TCP and µTP, as it comes", nil)
}

func libtorrentClient(name, about string, settings map[string]any) client {
	return client{
		name: name, about: about, needs: []string{"python3-libtorrent"}, bittorrent: true, gated: true,
		command: func(d download) ([]string, error) {
			return libtorrentJob{
				Torrent: d.torrent, Out: d.out, Done: d.done, Ready: d.ready,
				Listen: d.host.address.String() + ":6881", Settings: settings,
			}.command(d.dir)
		},
	}
}

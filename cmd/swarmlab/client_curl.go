//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func curl() client {
	return client{
		name: "curl", about: "curl: plain HTTP on one connection, without BitTorrent", needs: []string{"curl"},
		command: func(d download) ([]string, error) {
			var config strings.Builder
			for _, path := range d.files {
				fmt.Fprintf(&config, "url = %q\noutput = %q\n", d.url(path), filepath.Join(d.out, path))
			}
			path := d.dir + "/curlrc"
			err := os.WriteFile(path, []byte(config.String()), 0o644)
			script := `curl --silent --show-error --fail --create-dirs --config "$0" && : > "$1"`
			return []string{"/bin/sh", "-c", script, path, d.done}, err
		},
	}
}

//go:build linux

package main

import "os"

func transmission() client {
	return client{
		name: "transmission", about: "transmission-cli", needs: []string{"transmission-cli"}, bittorrent: true,
		command: func(d download) ([]string, error) {
			hook, err := d.hook()
			if err != nil {
				return nil, err
			}
			config := d.dir + "/config"
			if err := os.Mkdir(config, 0o755); err != nil {
				return nil, err
			}
			err = os.WriteFile(config+"/settings.json", []byte(`{"dht-enabled": false, "lpd-enabled": false}`), 0o644)
			return []string{"transmission-cli", "--config-dir", config, "--download-dir", d.out, "--finish", hook, "--no-portmap", d.torrent}, err
		},
	}
}

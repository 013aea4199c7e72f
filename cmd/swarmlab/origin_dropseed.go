//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"

	"dropseed/publisher/torrentfile"
)

func dropseedOrigin() origin {
	return origin{
		name: "dropseed", about: "dropseed serve", torrent: true, http: true, webseeds: true,
		start: startDropseed,
	}
}

// buildDropseed builds the server of this source tree.
func buildDropseed(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "dropseed")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "dropseed/cmd/dropseed").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build dropseed (--dropseed takes a built one): %w: %s", err, out)
	}
	return path, nil
}

// release is what the API says of the content.
type release struct {
	Name string `json:"name"`
	Sent struct {
		Peers   int64 `json:"peers"`
		Webseed int64 `json:"webseed"`
		Direct  int64 `json:"direct"`
	} `json:"sent"`
}

func startDropseed(ctx context.Context, s site) (*offer, error) {
	return s.serve(ctx, s.content.folder)
}

// serve starts dropseed serve with arguments that say what it is to publish.
func (s site) serve(ctx context.Context, what ...string) (*offer, error) {
	args := append([]string{s.binary, "serve", "--state", s.path("state"), "--settle", "300ms",
		"--http", s.at(8080), "--peers", s.at(6881), "--udp", s.at(6969)}, what...)
	p, err := s.start(s.host, args...)
	if err != nil {
		return nil, err
	}
	base := "http://" + s.at(8080)
	if err := poll(ctx, func() error { _, err := s.release(ctx, base); return err }, p); err != nil {
		return nil, err
	}
	torrent, err := s.get(ctx, base+"/torrents/"+url.PathEscape(s.content.name)+".torrent")
	if err != nil {
		return nil, err
	}
	if !s.webseed {
		torrent, err = torrentfile.WithNetwork(torrent, torrentfile.Network{
			Trackers: [][]string{{base + "/announce", "udp://" + s.at(6969) + "/announce"}},
		})
		if err != nil {
			return nil, err
		}
	}
	return &offer{
		torrent: torrent,
		url:     func(path string) string { return base + "/files/" + path },
		sent: func(ctx context.Context) (ways, error) {
			r, err := s.release(ctx, base)
			return ways{&r.Sent.Peers, &r.Sent.Webseed, &r.Sent.Direct}, err
		},
	}, nil
}

// release asks the API for the content's release.
func (s site) release(ctx context.Context, base string) (r release, err error) {
	text, err := s.get(ctx, base+"/api/v1/releases")
	if err != nil {
		return r, err
	}
	var list struct {
		Releases []release `json:"releases"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return r, fmt.Errorf("read the list of releases: %w", err)
	}
	for _, r := range list.Releases {
		if r.Name == s.content.name {
			return r, nil
		}
	}
	return r, fmt.Errorf("%s is not published", s.content.name)
}

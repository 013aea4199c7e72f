//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"dropseed/publisher/torrentfile"
)

func gluedOrigin() origin {
	return origin{
		name: "glued", about: "mktorrent, opentracker with its whitelist, transmission-daemon, nginx as webseed",
		needs:   []string{"mktorrent", "opentracker", "transmission-daemon", "nginx"},
		torrent: true, http: true, webseeds: true,
		start: startGlued,
	}
}

func startGlued(ctx context.Context, s site) (*offer, error) {
	base, err := s.startNginx(ctx)
	if err != nil {
		return nil, err
	}
	webseed := ""
	if s.webseed {
		webseed = base + "/"
		if s.content.isFile() {
			webseed += s.content.name
		}
	}
	path, err := s.makeTorrent(ctx, s.announce(), webseed)
	if err != nil {
		return nil, err
	}
	t, err := s.startTracker(ctx, path)
	if err != nil {
		return nil, err
	}
	config, watch := s.path("transmission"), s.path("watch")
	settings, err := json.Marshal(map[string]any{
		"dht-enabled": false, "lpd-enabled": false, "port-forwarding-enabled": false,
		"bind-address-ipv4": s.host.address.String(),
		"download-dir":      s.content.folder,
		"watch-dir-enabled": true, "watch-dir": watch,
		"rpc-bind-address": s.host.address.String(), "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false,
	})
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{config, watch} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(config, "settings.json"), settings, 0o644),
		os.WriteFile(filepath.Join(watch, "content.torrent"), t.bytes, 0o644),
	); err != nil {
		return nil, err
	}
	p, err := s.start(s.host, "transmission-daemon", "--foreground", "--config-dir", config)
	if err != nil {
		return nil, err
	}
	if err := s.waitForSeed(ctx, t, p); err != nil {
		return nil, err
	}
	return &offer{
		torrent: t.bytes,
		url:     func(path string) string { return base + "/" + path },
		sent: func(ctx context.Context) (ways, error) {
			peers, err1 := s.transmissionSent(ctx)
			webseed, direct, err2 := s.nginxSent()
			return ways{&peers, &webseed, &direct}, errors.Join(err1, err2)
		},
	}, nil
}

// transmissionSent asks the daemon what it has sent to peers.
func (s site) transmissionSent(ctx context.Context) (int64, error) {
	var answer struct {
		Arguments struct {
			Stats struct {
				Uploaded int64 `json:"uploadedBytes"`
			} `json:"current-stats"`
		} `json:"arguments"`
	}
	session := ""
	for range 2 { // the first answer is a refusal that names the session
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.at(9091)+"/transmission/rpc", strings.NewReader(`{"method": "session-stats"}`))
		if err != nil {
			return 0, err
		}
		req.Header.Set("X-Transmission-Session-Id", session)
		resp, err := s.host.client().Do(req)
		if err != nil {
			return 0, err
		}
		session = resp.Header.Get("X-Transmission-Session-Id")
		if resp.StatusCode == http.StatusOK {
			err = json.NewDecoder(resp.Body).Decode(&answer)
			resp.Body.Close()
			return answer.Arguments.Stats.Uploaded, err
		}
		resp.Body.Close()
	}
	return 0, errors.New("transmission-daemon does not tell what it has sent")
}

// tracked is a torrent that the tracker knows.
type tracked struct {
	bytes []byte
	hash  [20]byte
}

func (s site) announce() string { return "http://" + s.at(6969) + "/announce" }

// startTracker starts opentracker for a torrent alone.
func (s site) startTracker(ctx context.Context, path string) (t tracked, err error) {
	if t.bytes, err = os.ReadFile(path); err != nil {
		return t, err
	}
	meta, err := torrentfile.Parse(t.bytes)
	if err != nil {
		return t, err
	}
	t.hash = meta.InfoHash
	dir := s.path("opentracker")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return t, err
	}
	// It changes its root to dir, and then reads the list.
	if err := os.WriteFile(dir+"/whitelist", fmt.Appendf(nil, "%x\n", t.hash), 0o644); err != nil {
		return t, err
	}
	p, err := s.start(s.host, "opentracker", "-i", s.host.address.String(), "-p", "6969", "-P", "6969", "-d", dir, "-w", "whitelist")
	if err != nil {
		return t, err
	}
	return t, poll(ctx, func() error { _, err := s.scrape(ctx, t); return err }, p)
}

// waitForSeed waits until the tracker knows of a seed.
func (s site) waitForSeed(ctx context.Context, t tracked, seed *process) error {
	return poll(ctx, func() error {
		answer, err := s.scrape(ctx, t)
		if err == nil && (!bytes.Contains(answer, []byte("8:completei")) || bytes.Contains(answer, []byte("8:completei0e"))) {
			err = fmt.Errorf("the tracker knows of no seed: %q", answer)
		}
		return err
	}, seed)
}

func (s site) scrape(ctx context.Context, t tracked) ([]byte, error) {
	var hash strings.Builder
	for _, b := range t.hash {
		fmt.Fprintf(&hash, "%%%02x", b)
	}
	return s.get(ctx, strings.TrimSuffix(s.announce(), "announce")+"scrape?info_hash="+hash.String())
}

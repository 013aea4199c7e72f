package main_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// libtorrentPeer downloads the torrent and ends.
const libtorrentPeer = `
import sys, time, libtorrent as lt
session = lt.session({"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(sys.argv[1])
params.save_path = sys.argv[2]
handle = session.add_torrent(params)
while not handle.status().is_seeding:
    time.sleep(0.1)
`

// block drops everything to and from a TCP port in a namespace, connections
// that stand included.
func block(t *testing.T, namespace, port string) {
	t.Helper()
	rules := "table inet blocked {\n"
	for hook, match := range map[string]string{"input": "dport", "output": "sport"} {
		rules += fmt.Sprintf("chain %s { type filter hook %s priority 0; tcp %s %s drop; }\n", hook, hook, match, port)
	}
	run(t, rules+"}\n", need(t, "ip"), "netns", "exec", namespace, need(t, "nft"), "-f", "-")
}

// TestAFirewallInTheMiddle blocks the port for peers when a part of the
// download has arrived: libtorrent gets the rest from the webseed. (aria2 may
// have given the webseed up by then, after five refusals.)
func TestAFirewallInTheMiddle(t *testing.T) {
	t.Parallel()
	needLibtorrent(t)
	need(t, "nft")
	l := newLab(t, 20)
	folder, out, name := t.TempDir(), t.TempDir(), "big.iso"
	drop(t, filepath.Join(folder, name), 24<<20)
	s := l.serve(t, folder, "--upload-limit", "4MB/s")
	r := s.published(name)[0]
	client := exec.CommandContext(t.Context(), need(t, "ip"), "netns", "exec", l.client,
		python, "-c", libtorrentPeer, s.torrents([]release{r})[0], out)
	var log strings.Builder
	client.Stdout, client.Stderr = &log, &log
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- client.Wait() }()

	s.eventually("a third was sent to the peer", func() error {
		all, err := s.releases()
		if err == nil && all[name].Sent.Peers < r.Size/3 {
			err = errors.New("not yet")
		}
		return err
	})
	_, port, _ := strings.Cut(s.peers, ":")
	block(t, l.server, port)
	began := time.Now()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%v: %.2000s", err, log.String())
		}
	case <-time.After(2 * patience):
		_ = client.Process.Kill()
		<-done
		_, state, _ := s.tryGet(s.url("/api/v1/releases"))
		t.Fatalf("not done %v after the port was blocked: %.1000s", 2*patience, state)
	}
	t.Logf("done %v after the port was blocked", time.Since(began).Round(time.Second))
	expectSame(t, filepath.Join(folder, name), filepath.Join(out, name))
	s.expectSent(name, "by peers and webseed", func(r release) bool { return r.Sent.Webseed > 0 && r.Sent.Peers >= r.Size/3 })
}

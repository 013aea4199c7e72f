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
// download has come from there: the client gets the rest from the webseed.
func TestAFirewallInTheMiddle(t *testing.T) {
	need(t, "nft")
	for i, row := range []struct {
		name    string
		command func(t *testing.T, torrent, out string) []string
	}{
		{"libtorrent", func(t *testing.T, torrent, out string) []string {
			needLibtorrent(t)
			return []string{python, "-c", libtorrentPeer, torrent, out}
		}},
		{"aria2", func(t *testing.T, torrent, out string) []string { return aria2Command(t, out, torrent) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 20+i)
			folder, out, name := t.TempDir(), t.TempDir(), "big.iso"
			drop(t, filepath.Join(folder, name), 48<<20)
			s := l.serve(t, folder, "--upload-limit", "4MB/s")
			r := s.published(name)[0]
			args := append([]string{"netns", "exec", l.client}, row.command(t, s.torrents([]release{r})[0], out)...)
			client := exec.CommandContext(t.Context(), need(t, "ip"), args...)
			var log strings.Builder
			client.Stdout, client.Stderr = &log, &log
			if err := client.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- client.Wait() }()

			s.eventually("a sixth was sent to the peer", func() error {
				all, err := s.releases()
				if err == nil && all[name].Sent.Peers < r.Size/6 {
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
			s.expectSent(name, "by peers and webseed", func(r release) bool { return r.Sent.Webseed > r.Size/4 && r.Sent.Peers >= r.Size/6 })
		})
	}
}

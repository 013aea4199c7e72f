package main_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// libtorrentNode is a node of the DHT that knows of no torrents. It says when it
// listens, and downloads the magnet links that it is given, if any, with nothing but
// the DHT to go by.
const libtorrentNode = `
import sys, time, libtorrent as lt
address, bootstrap, out, magnets = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
session = lt.session({
    "listen_interfaces": address, "dht_bootstrap_nodes": bootstrap, "enable_dht": True, "enable_lsd": False,
    "enable_upnp": False, "enable_natpmp": False, "alert_mask": lt.alert.category_t.status_notification,
})
handles = []
for m in magnets:
    params = lt.parse_magnet_uri(m)
    params.save_path = out
    handles.append(session.add_torrent(params))
print("ready", flush=True)
end = time.time() + 90
while time.time() < end and not (handles and all(h.status().is_seeding for h in handles)):
    time.sleep(0.1)
`

// TestAMagnetLinkWithNothingButAnInfoHash has a node of libtorrent between us and the
// clients: in a network with no outside world they find the release by asking it,
// which knows us because we announced the release to it.
func TestAMagnetLinkWithNothingButAnInfoHash(t *testing.T) {
	needLibtorrent(t)
	for i, client := range []string{"aria2", "libtorrent"} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 40+i)
			folder, out := t.TempDir(), t.TempDir()
			drop(t, filepath.Join(folder, "a.iso"), 3<<20)
			at := fmt.Sprintf("10.77.%d.2", 40+i)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			inside := func(command ...string) *exec.Cmd {
				return exec.CommandContext(ctx, need(t, "ip"), append([]string{"netns", "exec", l.client}, command...)...)
			}
			node := inside(python, "-c", libtorrentNode, at+":7000", "", out)
			said, err := node.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cancel(); _ = node.Wait() }()
			if line, err := bufio.NewReader(said).ReadString('\n'); line != "ready\n" {
				t.Fatalf("libtorrent says %q, %v", line, err)
			}

			l.env = []string{"DROPSEED_DHT_BOOTSTRAP=" + at + ":7000"}
			s := l.serve(t, folder)
			magnet := "magnet:?xt=urn:btih:" + s.published("a.iso")[0].InfoHash
			c := inside(python, "-c", libtorrentNode, at+":7001", at+":7000", out, magnet)
			if client == "aria2" {
				c = inside(aria2Command(t, out, magnet, "--enable-dht=true", "--dht-listen-port=7001", "--listen-port=7002",
					"--dht-entry-point="+at+":7000", "--dht-file-path="+filepath.Join(out, "dht"))...)
			}
			if log, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v: %.2000s", err, log)
			}
			expectSame(t, filepath.Join(folder, "a.iso"), filepath.Join(out, "a.iso"))
		})
	}
}

func TestWithoutItsPortTheDHTIsLeftOut(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "a.iso"), 1000)
	s := serve(t, folder, "--peers", taken.LocalAddr().String())
	s.published("a.iso")
	if len(s.logged("level", "WARN")) != 1 {
		t.Errorf("warnings: %v", s.logged("level", "WARN"))
	}
}

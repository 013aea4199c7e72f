package tracker_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/anacrolix/torrent/metainfo"

	"dropseed/publisher/tracker"
)

// need skips the test if a tool is missing, unless everything is required.
func need(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
		t.Fatalf("%s is missing: %v", what, err)
	}
	t.Skipf("%s is missing: %v", what, err)
}

// Two stock clients that know each other through the tracker only find each
// other and move a file.
func TestInteropClientsMeetThroughTheTracker(t *testing.T) {
	const python = "/usr/bin/python3"
	need(t, "python3-libtorrent", exec.Command(python, "-c", "import libtorrent").Run())
	_, err := exec.LookPath("aria2c")
	need(t, "aria2c", err)
	for _, via := range []string{"http", "udp"} {
		for _, client := range []string{"libtorrent", "aria2"} {
			t.Run(via+" "+client, func(t *testing.T) {
				t.Parallel()
				s := start(t, tracker.Options{Now: time.Now})
				announceURL := "http://" + s.http4 + "/announce"
				if via == "udp" {
					announceURL = "udp://" + s.udp4.String() + "/announce"
				}
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()

				seedDir, leechDir := t.TempDir(), t.TempDir()
				torrent := filepath.Join(seedDir, "content.torrent")
				content := make([]byte, 1<<20+123)
				rand.NewChaCha8([32]byte{1}).Read(content)
				if err := os.WriteFile(filepath.Join(seedDir, "content"), content, 0o644); err != nil {
					t.Fatal(err)
				}
				peer(t, ctx, python, "127.0.0.2", announceURL, torrent, seedDir)
				mi, err := metainfo.LoadFromFile(torrent)
				if err != nil {
					t.Fatal(err)
				}
				ih := mi.HashInfoBytes()
				eventually(t, "the seed announces itself", func() bool { return s.Swarm(ih).Seeders == 1 })

				if client == "libtorrent" {
					peer(t, ctx, python, "127.0.0.3", announceURL, torrent, leechDir)
					eventually(t, "the download is counted", func() bool { return s.Swarm(ih).Completed == 1 })
				} else {
					aria2(t, ctx, via, torrent, leechDir) // does not say that it completed, only that it stopped
					eventually(t, "the client is gone", func() bool { return s.Stats().Peers == 1 })
				}
				got, err := os.ReadFile(filepath.Join(leechDir, "content"))
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("downloaded %d bytes of %d: %v", len(got), len(content), err)
				}
			})
		}
	}
}

// peer runs a libtorrent peer until the test ends. It returns when the peer
// has everything.
func peer(t *testing.T, ctx context.Context, python string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, python, append([]string{"testdata/peer.py"}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		io.Copy(io.Discard, stdout)
		cmd.Wait()
		if t.Failed() {
			t.Logf("libtorrent %v:\n%s", args, &log)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "complete\n" {
		t.Fatalf("libtorrent %v: %q, %v", args, line, err)
	}
}

func aria2(t *testing.T, ctx context.Context, via, torrent, dir string) {
	t.Helper()
	args := []string{
		"--no-conf", "--interface=127.0.0.1", "--seed-time=0", "--dir=" + dir, "--listen-port=" + freePort(t),
		"--bt-enable-lpd=false", "--enable-peer-exchange=false", "--enable-dht6=false", "--console-log-level=info",
	}
	if via == "udp" { // for aria2, UDP trackers are a part of the DHT
		args = append(args, "--enable-dht=true", "--dht-listen-port="+freePort(t), "--dht-file-path="+filepath.Join(t.TempDir(), "dht"))
	} else {
		args = append(args, "--enable-dht=false")
	}
	if out, err := exec.CommandContext(ctx, "aria2c", append(args, torrent)...).CombinedOutput(); err != nil {
		t.Fatalf("aria2c: %v\n%s", err, out)
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

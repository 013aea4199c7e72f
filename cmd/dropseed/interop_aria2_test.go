package main_test

import (
	"os"
	"path/filepath"
	"testing"
)

// aria2 downloads what args name into a new folder, which it returns.
func aria2(t *testing.T, args ...string) string {
	t.Helper()
	out := t.TempDir()
	command := aria2Command(t, out, args...)
	run(t, "", command[0], command[1:]...)
	return out
}

// aria2Command is the command that downloads what args name into a folder.
func aria2Command(t *testing.T, out string, args ...string) []string {
	t.Helper()
	return append([]string{need(t, "aria2c"),
		"--no-conf", "--dir=" + out, "--seed-time=0", "--follow-torrent=mem", "--max-concurrent-downloads=8",
		"--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--disable-ipv6=true",
		"--file-allocation=none", "--summary-interval=0", "--console-log-level=warn", "--bt-stop-timeout=60",
	}, args...)
}

// torrents fetches the .torrent of each release, leaves out keys, and returns
// the paths of the files.
func (s *server) torrents(rels []release, keys ...string) []string {
	s.t.Helper()
	dir := s.t.TempDir()
	var paths []string
	for _, r := range rels {
		status, data := s.get(r.TorrentURL)
		if status != 200 {
			s.t.Fatalf("GET %s: status %d: %.200s", r.TorrentURL, status, data)
		}
		if len(keys) > 0 {
			data = without(s.t, data, keys...)
		}
		path := filepath.Join(dir, r.InfoHash+".torrent")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			s.t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// The ways in which bytes may have come, for expectSent.
func peersOnly(r release) bool {
	return r.Sent.Peers >= r.Size && r.Sent.Webseed == 0 && r.Sent.Direct == 0
}
func webseedOnly(r release) bool {
	return r.Sent.Webseed >= r.Size && r.Sent.Peers == 0 && r.Sent.Direct == 0
}
func directOnly(r release) bool {
	return r.Sent.Direct >= r.Size && r.Sent.Peers == 0 && r.Sent.Webseed == 0
}
func eitherWay(r release) bool { return r.Sent.Peers+r.Sent.Webseed >= r.Size && r.Sent.Direct == 0 }

// closedPort returns arguments for a server whose port for peers is closed from
// outside, and which does not go to the peers either, like one behind a
// firewall: clients hear of it and cannot connect.
func closedPort(t testing.TB) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "closed.yaml")
	if err := os.WriteFile(path, []byte("peers: {public_port: 1, dial: false}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", path}
}

func TestAria2Downloads(t *testing.T) {
	for _, row := range []struct {
		name   string
		trees  []string
		closed bool     // the port for peers
		leave  []string // out of the .torrent; all means: use the magnet
		args   []string
		rule   string
		sent   func(release) bool
	}{
		{"as published", fewFiles, false, nil, nil, "by peers and webseed", eitherWay},
		{"from peers", allTrees, false, []string{"url-list"}, nil, "by peers only", peersOnly},
		{"encrypted header", []string{single, nested}, false, []string{"url-list"}, []string{"--bt-require-crypto", "--bt-min-crypto-level=plain"}, "by peers only", peersOnly},
		{"encrypted wholly", []string{single, nested}, false, []string{"url-list"}, []string{"--bt-force-encryption"}, "by peers only", peersOnly},
		{"from the webseed alone", fewFiles, true, nil, nil, "by webseed only", webseedOnly},
		{"from the webseed without peers", fewFiles, false, []string{"announce", "announce-list"}, nil, "by webseed only", webseedOnly},
		{"from magnets", []string{oneByte, single, nested}, false, []string{"all"}, []string{"--bt-metadata-only=false"}, "by peers only", peersOnly},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			need(t, "aria2c")
			folder := dropTrees(t, row.trees...)
			var serveArgs []string
			if row.closed {
				serveArgs = closedPort(t)
			}
			s := serve(t, folder, serveArgs...)
			rels := s.published(row.trees...)
			var args []string
			if len(row.leave) == 1 && row.leave[0] == "all" {
				for _, r := range rels {
					args = append(args, r.Magnet)
				}
				row.args = append(row.args, "--force-sequential")
			} else {
				args = s.torrents(rels, row.leave...)
			}
			out := aria2(t, append(row.args, args...)...)
			for _, r := range rels {
				expectSame(t, filepath.Join(folder, r.Name), filepath.Join(out, r.Name))
				s.expectSent(r.Name, row.rule, row.sent)
			}
		})
	}
}

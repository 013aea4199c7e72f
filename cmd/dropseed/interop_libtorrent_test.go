package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// python is Debian's, for which python3-libtorrent is installed.
const python = "/usr/bin/python3"

// libtorrentJob is what testdata/libtorrent_get.py reads.
type libtorrentJob struct {
	Torrents   []string `json:"torrents"` // files or magnets
	Out        string   `json:"out"`
	Encryption string   `json:"encryption,omitempty"` // required or refused; else as it comes
	Trackers   []string `json:"trackers,omitempty"`   // only these; else those of the torrent. "udp" stands for ours
	NoTrackers bool     `json:"no_trackers,omitempty"`
	NoWebseeds bool     `json:"no_webseeds,omitempty"`
	Listen     string   `json:"listen,omitempty"` // else the loopback interface
}

// libtorrent downloads what job says; before stands before its command.
func libtorrent(t testing.TB, job libtorrentJob, before ...string) {
	t.Helper()
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	command := append(before, python, filepath.Join("testdata", "libtorrent_get.py"))
	run(t, string(in), command[0], command[1:]...)
}

func needLibtorrent(t testing.TB) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import libtorrent").CombinedOutput(); err != nil {
		missing(t, "python3-libtorrent is not installed: "+string(out))
	}
}

func TestLibtorrentDownloads(t *testing.T) {
	for _, row := range []struct {
		name   string
		trees  []string
		magnet bool
		closed bool // the port for peers
		job    libtorrentJob
		rule   string
		sent   func(release) bool
	}{
		{"as published", allTrees, false, false, libtorrentJob{}, "by peers and webseed", eitherWay},
		{"from peers", fewFiles, false, false, libtorrentJob{NoWebseeds: true, Encryption: "refused"}, "by peers only", peersOnly},
		{"encryption required", []string{single, nested}, false, false, libtorrentJob{NoWebseeds: true, Encryption: "required"}, "by peers only", peersOnly},
		{"UDP tracker alone", []string{single}, false, false, libtorrentJob{NoWebseeds: true, Trackers: []string{"udp"}}, "by peers only", peersOnly},
		{"from magnets", []string{oneByte, single, nested}, true, false, libtorrentJob{NoWebseeds: true}, "by peers only", peersOnly},
		{"from the webseed without peers", fewFiles, false, false, libtorrentJob{NoTrackers: true}, "by webseed only", webseedOnly},
		{"from the webseed alone", fewFiles, false, true, libtorrentJob{}, "by webseed only", webseedOnly},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			needLibtorrent(t)
			folder := dropTrees(t, row.trees...)
			var args []string
			if row.closed {
				args = closedPort(t)
			}
			s := serve(t, folder, args...)
			rels := s.published(row.trees...)
			if row.magnet {
				for _, r := range rels {
					row.job.Torrents = append(row.job.Torrents, r.Magnet)
				}
			} else {
				row.job.Torrents = s.torrents(rels)
			}
			if len(row.job.Trackers) > 0 {
				row.job.Trackers = []string{"udp://" + s.udp + "/announce"}
			}
			row.job.Out = t.TempDir()
			libtorrent(t, row.job)
			for _, r := range rels {
				expectSame(t, filepath.Join(folder, r.Name), filepath.Join(row.job.Out, r.Name))
				s.expectSent(r.Name, row.rule, row.sent)
			}
		})
	}
}

func TestLargeFileDownloadsAndIsNotHashedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 3 GB")
	}
	needLibtorrent(t)
	const size = 3<<30 + 12345
	folder := t.TempDir()
	path := filepath.Join(folder, "large.iso")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	// Marks beside 2^31, where 32-bit offsets would end, and at both ends.
	for _, at := range []int64{0, 1 << 30, 1<<31 - 4, 1<<31 + 1<<20, size - 8} {
		if _, err := f.WriteAt([]byte("<<mark>>"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder)
	rels := s.published("large.iso")
	if rels[0].Size != size {
		t.Fatalf("it is published with %d bytes, want %d", rels[0].Size, size)
	}
	out := t.TempDir()
	libtorrent(t, libtorrentJob{Torrents: s.torrents(rels), Out: out})
	expectSame(t, path, filepath.Join(out, "large.iso"))
	s.expectSent("large.iso", "by peers and webseed", eitherWay)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}

	began := time.Now()
	s = serve(t, folder)
	if again := s.published("large.iso"); again[0].InfoHash != rels[0].InfoHash {
		t.Errorf("restarted with info-hash %s, was %s", again[0].InfoHash, rels[0].InfoHash)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("published %v after a restart, want less than a second", took)
	}
	time.Sleep(2 * time.Second) // well beyond settle, when it might start to hash
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if used := s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime(); used > time.Second {
		t.Errorf("used %v of processor time after a restart: it must have read the content", used)
	}
}

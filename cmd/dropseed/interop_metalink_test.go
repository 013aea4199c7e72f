package main_test

import (
	"context"
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// metalinkFrom returns arguments for a server that sends Metalink in place of
// files of that size.
func metalinkFrom(t testing.TB, size string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metalink.yaml")
	if err := os.WriteFile(path, []byte("http: {metalink_from: "+size+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"--config", path}
}

func TestAria2FollowsMetalink(t *testing.T) {
	aria2c := need(t, "aria2c")
	// A file with "&" in its name, which in that tree has one byte, comes directly.
	fromPeers := func(r release) bool { return r.Sent.Peers+r.Sent.Webseed >= r.Size-1 && r.Sent.Direct == 1 }
	fromWebseed := func(r release) bool { return r.Sent.Peers == 0 && fromPeers(r) }
	for _, row := range []struct {
		name, target, tree string
		serve              func(t testing.TB) []string
		rule               string
		sent               func(release) bool
	}{
		{"a file's", "/files/" + escape(single) + ".meta4", single, nil, "by peers and webseed", eitherWay},
		{"a directory's", "/files/" + escape(portable) + ".meta4", portable, nil, "by peers and webseed but for a byte", fromPeers},
		{"without peers", "/files/" + escape(portable) + ".meta4", portable, closedPort, "by webseed but for a byte", fromWebseed},
		{"with & in all names", "/files/" + escape(nested) + ".meta4", nested, nil, "direct only", directOnly},
		{"a file's own URL", "/files/" + escape(single), single,
			func(t testing.TB) []string { return metalinkFrom(t, "1MiB") }, "by peers and webseed", eitherWay},
		{"a small file's own URL", "/files/" + escape(single), single, nil, "direct only", directOnly},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			folder := dropTrees(t, row.tree)
			var args []string
			if row.serve != nil {
				args = row.serve(t)
			}
			s := serve(t, folder, args...)
			s.published(row.tree)
			out := t.TempDir()
			command := aria2Command(t, out, "--console-log-level=notice", s.url(row.target))
			log := run(t, "", aria2c, command[1:]...)
			undoAmpersands(t, out)
			expectSame(t, filepath.Join(folder, row.tree), filepath.Join(out, row.tree))
			s.expectSent(row.tree, row.rule, row.sent)
			if strings.HasPrefix(row.name, "a small") && !strings.Contains(log, "Verification finished successfully") {
				t.Errorf("aria2 did not verify it by its Digest:\n%s", log)
			}
		})
	}
}

// undoAmpersands gives files the names that they would have if aria2 read XML well.
func undoAmpersands(t *testing.T, folder string) {
	t.Helper()
	var wrong []string
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), "&#38;") {
			wrong = append(wrong, path)
		}
		return err
	})
	for _, path := range slices.Backward(wrong) { // what is below comes first
		dir, name := filepath.Split(path)
		err = errors.Join(err, os.Rename(path, dir+strings.ReplaceAll(name, "&#38;", "&")))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAria2GivenAFilesURLGetsItFromPeersToo is slow enough for peers to find
// each other.
func TestAria2GivenAFilesURLGetsItFromPeersToo(t *testing.T) {
	t.Parallel()
	need(t, "aria2c")
	folder, name := t.TempDir(), "big.iso"
	drop(t, filepath.Join(folder, name), 24<<20)
	s := serve(t, folder, "--upload-limit", "6MB/s")
	s.published(name)
	out := aria2(t, s.url("/files/"+name))
	expectSame(t, filepath.Join(folder, name), filepath.Join(out, name))
	s.expectSent(name, "a part by peers", func(r release) bool { return r.Sent.Peers > 0 && r.Sent.Direct == 0 && eitherWay(r) })
}

// TestAria2ResumesAFilesURL cuts a download and begins it again.
func TestAria2ResumesAFilesURL(t *testing.T) {
	t.Parallel()
	need(t, "aria2c")
	folder, name := t.TempDir(), "big.iso"
	drop(t, filepath.Join(folder, name), 20<<20)
	s := serve(t, folder, "--upload-limit", "6MB/s")
	s.published(name)
	out := t.TempDir()
	// --stop ends it as if it was told to, after so many seconds.
	first := aria2Command(t, out, "--continue", "--stop=2", s.url("/files/"+name))
	runAnyway(t, first)
	if _, err := os.Stat(filepath.Join(out, name+".aria2")); err != nil {
		t.Logf("the first try was not cut: %v; there is %q", err, listing(out))
	}
	second := aria2Command(t, out, "--continue", s.url("/files/"+name))
	run(t, "", second[0], second[1:]...)
	expectSame(t, filepath.Join(folder, name), filepath.Join(out, name))
	s.expectSent(name, "hardly more than once", func(r release) bool { return r.Sent.Peers+r.Sent.Webseed < r.Size*3/2 })
}

func TestSha256sumChecksDownloads(t *testing.T) {
	t.Parallel()
	sha256sum, curl := need(t, "sha256sum"), need(t, "curl")
	folder := dropTrees(t, single, nested, oneByte)
	s := serve(t, folder)
	s.published(single, nested, oneByte)
	out, files := t.TempDir(), 0
	for _, tree := range []string{single, nested, oneByte} {
		for path := range filesOf(t, folder, tree) {
			files++
			run(t, "", curl, "--silent", "--show-error", "--fail", "--create-dirs", "--output", filepath.Join(out, path), s.url("/files/"+escape(path)))
		}
	}
	status, sums := s.get(s.url("/SHA256SUMS"))
	if status != 200 {
		t.Fatalf("status %d", status)
	}
	log := run(t, string(sums), "sh", "-c", "cd \"$0\" && \"$1\" --check --strict", out, sha256sum)
	if n := strings.Count(log, ": OK\n"); n != files {
		t.Errorf("%d of %d files are OK:\n%s", n, files, log)
	}
}

// TestFeedEnclosuresLead gets each .torrent that the feed names.
func TestFeedEnclosuresLead(t *testing.T) {
	t.Parallel()
	folder := dropTrees(t, single, nested, oneByte)
	s := serve(t, folder)
	rels := s.published(single, nested, oneByte)
	_, body := s.get(s.url("/feed.rss?limit=100"))
	var feed struct {
		Items []struct {
			GUID      string `xml:"guid"`
			Link      string `xml:"link"`
			Enclosure struct {
				URL    string `xml:"url,attr"`
				Length string `xml:"length,attr"`
			} `xml:"enclosure"`
		} `xml:"channel>item"`
	}
	if err := xml.Unmarshal(body, &feed); err != nil || len(feed.Items) != len(rels) {
		t.Fatalf("%v, %d items", err, len(feed.Items))
	}
	for _, it := range feed.Items {
		status, torrent := s.get(it.Enclosure.URL)
		if status != 200 || strconv.Itoa(len(torrent)) != it.Enclosure.Length {
			t.Errorf("%s: status %d, %d bytes, and the feed says %s", it.Enclosure.URL, status, len(torrent), it.Enclosure.Length)
		}
		if err := verifyInfoHash(torrent, it.GUID); err != nil {
			t.Error(err)
		}
		if status, _ := s.get(it.Link); status != 200 {
			t.Errorf("%s: status %d", it.Link, status)
		}
	}
}

// TestMirrorsAreNamed: the configured webseeds are mirrors of the files.
func TestMirrorsAreNamed(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "mirrors.yaml")
	if err := os.WriteFile(config, []byte("torrent: {webseeds: [\"https://mirror.example/pub/\"]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	folder := dropTrees(t, single, portable)
	s := serve(t, folder, "--config", config)
	s.published(single, portable)
	for _, path := range []string{single, portable + "/deep.txt"} {
		resp, err := s.client.Head(s.url("/files/" + escape(path)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		links := strings.Join(resp.Header.Values("Link"), "\n")
		for _, want := range []string{
			"<" + s.url("/torrents/"), `.torrent>; rel=describedby; type="application/x-bittorrent"`,
			`.meta4>; rel=describedby; type="application/metalink4+xml"`, "<https://mirror.example/pub/", "; rel=duplicate; pri=2",
		} {
			if !strings.Contains(links, want) {
				t.Errorf("%s: no %s in\n%s", path, want, links)
			}
		}
		status, doc := s.get(s.url("/files/" + escape(path) + ".meta4"))
		if status != 200 || !strings.Contains(string(doc), `<url priority="2">https://mirror.example/pub/`) || !strings.Contains(string(doc), `<url priority="1">`+s.url("/webseed/")) {
			t.Errorf("%s: status %d, %s", path, status, doc)
		}
	}
}

// runAnyway runs a command that may fail.
func runAnyway(t *testing.T, command []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Logf("%v: %.1000s", err, out)
	}
}

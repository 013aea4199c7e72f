package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCurlDownloads(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	folder := dropTrees(t, allTrees...)
	s := serve(t, folder)
	for _, r := range s.published(allTrees...) {
		if r.Name == onePiece && r.PieceLength != r.Size {
			t.Errorf("%q is to be one piece, but a piece has %d bytes", r.Name, r.PieceLength)
		}
	}
	out := filepath.Join(t.TempDir(), "out")
	fetch := func(path string, args ...string) {
		t.Helper()
		run(t, "", curl, append([]string{"--silent", "--show-error", "--fail", "--output", out, s.url("/files/" + escape(path))}, args...)...)
	}

	for _, path := range []string{oneByte, onePiece, single, many + "/07/file 0007.dat"} {
		fetch(path)
		expectSame(t, filepath.Join(folder, path), out)
	}
	for path := range filesOf(t, folder, nested) {
		fetch(path)
		expectSame(t, filepath.Join(folder, path), out)
	}
	s.expectSent(single, "direct only", directOnly)

	t.Run("a range", func(t *testing.T) {
		fetch(single, "--range", "100000-299999")
		whole, err := os.ReadFile(filepath.Join(folder, single))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(whole[100000:300000]) {
			t.Errorf("got %d other bytes", len(got))
		}
	})
	t.Run("resumed after a cut", func(t *testing.T) {
		const name = "long.iso" // more than fits into the buffers of a connection
		drop(t, filepath.Join(folder, name), 32<<20)
		s.published(name)
		part, url := filepath.Join(t.TempDir(), "part"), s.url("/files/"+name)
		err := exec.Command(curl, "--silent", "--limit-rate", "8M", "--max-time", "1", "--output", part, url).Run()
		st, statErr := os.Stat(part)
		if err == nil || statErr != nil || st.Size() == 0 {
			t.Fatalf("the first try was to be cut: %v, %v", err, statErr)
		}
		run(t, "", curl, "--silent", "--show-error", "--fail", "--continue-at", "-", "--output", part, url)
		expectSame(t, filepath.Join(folder, name), part)
	})
}

// filesOf returns the files of a tree, as paths from folder.
func filesOf(t *testing.T, folder, name string) map[string]bool {
	t.Helper()
	files := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(folder, name), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[filepath.ToSlash(strings.TrimPrefix(path, folder+string(filepath.Separator)))] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPageLinksLead(t *testing.T) {
	t.Parallel()
	folder := dropTrees(t, allTrees...)
	s := serve(t, folder)
	rels := s.published(allTrees...)
	for _, path := range []string{"/", "/healthz", "/readyz", "/api/v1/releases", "/api/v1/pending"} {
		if status, body := s.get(s.url(path)); status != 200 || len(body) == 0 {
			t.Errorf("GET %s: status %d, %d bytes", path, status, len(body))
		}
	}
	_, page := s.get(s.url("/"))
	for _, r := range rels {
		if !strings.Contains(string(page), r.InfoHash) {
			t.Errorf("the page does not have %q", r.Name)
		}
		for _, url := range []string{
			r.TorrentURL, s.url("/torrents/" + escape(r.Name) + ".torrent"),
			s.url("/releases/" + escape(r.Name)), s.url("/api/v1/releases/" + r.InfoHash),
		} {
			if status, _ := s.get(url); status != 200 {
				t.Errorf("GET %s: status %d", url, status)
			}
		}
	}
}

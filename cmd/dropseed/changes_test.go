package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestChangedTreeIsANewReleaseAndTheOldOneIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file, dir := filepath.Join(folder, "a.iso"), filepath.Join(folder, "set")
	drop(t, file, 100_000)
	drop(t, filepath.Join(dir, "one"), 50_000)
	drop(t, filepath.Join(dir, "two"), 1000)
	s := serve(t, folder)
	old := s.published("a.iso", "set")
	for i, content := range []string{file, dir} {
		if err := s.checkServed(old[i], content); err != nil {
			t.Error(err)
		}
	}

	drop(t, file, 120_000)
	drop(t, filepath.Join(dir, "three"), 77)
	s.eventually("both are new releases", func() error {
		now, err := s.releases()
		for _, r := range old {
			if err == nil && (now[r.Name].InfoHash == r.InfoHash || now[r.Name].InfoHash == "") {
				err = fmt.Errorf("%q is %+v", r.Name, now[r.Name])
			}
		}
		return err
	})
	now := s.published("a.iso", "set")
	for i, content := range []string{file, dir} {
		if err := s.checkServed(now[i], content); err != nil {
			t.Error(err)
		}
		if err := s.checkRefused(old[i]); err != nil {
			t.Error(err)
		}
	}

	s.stop()
	s = serve(t, folder)
	now = s.published("a.iso", "set")
	for i, content := range []string{file, dir} {
		if err := s.checkServed(now[i], content); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		old[i].WebseedURL = "http://" + s.http + "/webseed/" + old[i].InfoHash + "/" + escape(old[i].Name)
		if err := s.checkRefused(old[i]); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
}

func TestRemovedTreeIsRetired(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "gone.iso"), 100_000)
	drop(t, filepath.Join(folder, "gone", "file"), 100_000)
	drop(t, filepath.Join(folder, "stays.iso"), 100_000)
	s := serve(t, folder)
	rels := s.published("gone.iso", "gone", "stays.iso")
	for _, name := range []string{"gone.iso", "gone"} {
		if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rels[:2] {
		s.eventually("it is retired", func() error { return s.checkRefused(r) })
		if status, _ := s.get(s.url("/files/" + r.Name)); status != 404 && status != 410 {
			t.Errorf("/files/%s: status %d", r.Name, status)
		}
	}
	if err := s.checkServed(rels[2], filepath.Join(folder, "stays.iso")); err != nil {
		t.Error(err)
	}
}

func TestUnfinishedAndHiddenNamesAreNotPublished(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{".hidden", "a.iso.part", "b.tmp", "c.crdownload", "dir/.git/config", "dir/file", "z.iso"} {
		drop(t, filepath.Join(folder, name), 1000)
	}
	s := serve(t, folder)
	s.published("dir", "z.iso")
	all, err := s.releases()
	if err != nil || len(all) != 2 {
		t.Errorf("published: %v (%v)", all, err)
	}
	if files := all["dir"].Files; len(files) != 1 {
		t.Errorf("dir has %v", files)
	}
	// What is renamed into place is complete.
	if err := os.Rename(filepath.Join(folder, "a.iso.part"), filepath.Join(folder, "a.iso")); err != nil {
		t.Fatal(err)
	}
	s.published("a.iso")
}

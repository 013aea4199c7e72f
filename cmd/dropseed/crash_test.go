package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The process is killed at many moments while trees come, change and go. After
// each, what is committed on disk is whole; in the end, a start publishes all
// that is there, and everything that it lists is matching, tracked, seeded and
// served, while everything retired is refused.
func TestKilledAtAnyMomentLeavesNoHalfRelease(t *testing.T) {
	t.Parallel()
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	folder := t.TempDir()
	state := filepath.Join(folder, ".dropseed")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	want := map[string]bool{} // names of the trees in folder
	retired := map[string]release{}

	args := []string{"--settle", "50ms", "--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "127.0.0.1:0"}
	for round := range rounds {
		before, after := rng.IntN(2) == 0, time.Duration(rng.IntN(500))*time.Millisecond
		if before {
			disturb(t, rng, folder, round, want)
		}
		s := launch(t, []string{binary(t)}, folder, args...)
		if !before {
			time.Sleep(after / 2)
			disturb(t, rng, folder, round, want)
		}
		time.Sleep(after)
		s.kill()
		checkState(t, state, retired)
		if t.Failed() {
			t.Fatalf("in round %d, killed %v after its change", round, after)
		}
	}

	s := serve(t, folder, "--settle", "50ms")
	var names []string
	for name := range want {
		names = append(names, name)
	}
	s.eventually("just what is there is published", func() error {
		s.published(names...)
		all, err := s.releases()
		if err != nil {
			return err
		}
		for name, r := range all {
			if !want[name] {
				return fmt.Errorf("%q is published and not there", name)
			}
			if err := s.checkServed(r, filepath.Join(folder, name)); err != nil {
				return err
			}
		}
		return nil
	})
	all, err := s.releases()
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, state, retired)
	for infoHash, r := range retired {
		if all[r.Name].InfoHash == infoHash {
			continue // it came back
		}
		r.WebseedURL = s.url("/webseed/" + infoHash + "/" + escape(r.Name))
		if err := s.checkRefused(r); err != nil {
			t.Error(err)
		}
	}
	if len(retired) == 0 || len(all) == 0 {
		t.Errorf("tested little: %d live and %d retired releases", len(all), len(retired))
	}
}

// disturb adds, changes or removes a tree.
func disturb(t *testing.T, rng *rand.Rand, folder string, round int, want map[string]bool) {
	t.Helper()
	old := fmt.Sprintf("tree %d", rng.IntN(round+1))
	switch action := rng.IntN(4); {
	case action == 0 && want[old]:
		if err := os.RemoveAll(filepath.Join(folder, old)); err != nil {
			t.Fatal(err)
		}
		delete(want, old)
	case action == 1 && want[old]:
		if st, err := os.Stat(filepath.Join(folder, old)); err == nil && st.IsDir() {
			drop(t, filepath.Join(folder, old, "more"), 1000+round)
		} else {
			drop(t, filepath.Join(folder, old), 200_000+round)
		}
	default:
		name := fmt.Sprintf("tree %d", round)
		if rng.IntN(2) == 0 {
			drop(t, filepath.Join(folder, name), 1+rng.IntN(4<<20))
		} else {
			for i := range 1 + rng.IntN(50) {
				drop(t, filepath.Join(folder, name, fmt.Sprintf("%d/%d", i%3, i)), 1+rng.IntN(100_000))
			}
		}
		want[name] = true
	}
}

// checkState looks at the committed releases: each record has its .torrent,
// whose info-hash is that of its name. It notes the retired ones.
func checkState(t *testing.T, state string, retired map[string]release) {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(state, "releases", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	live := map[string]string{}
	for _, path := range records {
		infoHash := strings.TrimSuffix(filepath.Base(path), ".json")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		var record struct {
			release
			RetiredAt string `json:"retired_at"`
		}
		if err := json.Unmarshal(data, &record); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		torrent, err := os.ReadFile(filepath.Join(state, "releases", infoHash+".torrent"))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := verifyInfoHash(torrent, infoHash); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if record.RetiredAt != "" {
			retired[infoHash] = record.release
		} else if other := live[record.Name]; other != "" {
			t.Logf("both %s and %s are live records of %q", other, infoHash, record.Name)
		} else {
			live[record.Name] = infoHash
		}
	}
	if aside, err := os.ReadDir(filepath.Join(state, "set-aside")); err == nil && len(aside) > 0 {
		t.Errorf("a crash had %d files set aside, such as %s", len(aside), aside[0].Name())
	}
}

func TestForeignAndCorruptStateIsSetAside(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"a.iso", "b.iso", "c.iso"} {
		drop(t, filepath.Join(folder, name), 100_000)
	}
	s := serve(t, folder)
	rels := s.published("a.iso", "b.iso", "c.iso")
	s.stop()

	dir := filepath.Join(folder, ".dropseed", "releases")
	corrupt := filepath.Join(dir, rels[0].InfoHash+".json")
	for path, data := range map[string]string{
		corrupt: `{"name": "a.iso", "info_ha`,
		filepath.Join(dir, rels[1].InfoHash+".torrent"): "d4:infod6:lengthi1eee",
		filepath.Join(dir, "notes.txt"):                 "not ours",
	} {
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s = serve(t, folder)
	again := s.published("a.iso", "b.iso", "c.iso") // made anew from their content
	for i, r := range again {
		if r.InfoHash != rels[i].InfoHash {
			t.Errorf("%q has info-hash %s, was %s", r.Name, r.InfoHash, rels[i].InfoHash)
		}
		if err := s.checkServed(r, filepath.Join(folder, r.Name)); err != nil {
			t.Error(err)
		}
	}
	if warnings := s.logged("level", "WARN"); len(warnings) < 3 {
		t.Errorf("%d warnings for three bad files:\n%s", len(warnings), s.logText())
	}
	var kept []string
	err := filepath.WalkDir(filepath.Join(folder, ".dropseed", "set-aside"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			data, readErr := os.ReadFile(path)
			kept, err = append(kept, string(data)), readErr
		}
		return err
	})
	if all := strings.Join(kept, "|"); err != nil || !strings.Contains(all, `"info_ha`) || !strings.Contains(all, "not ours") {
		t.Errorf("set aside: %q, %v", all, err)
	}
}

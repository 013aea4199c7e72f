package main_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestStatusSaysWhatAServerDoes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "a.iso"), 3<<20)
	s := serve(t, folder)
	rel := s.published("a.iso")[0]
	s.get(s.url("/files/a.iso"))

	s.eventually("the status has what was sent", func() error {
		var got struct {
			URL   string
			Stats struct {
				Version  string
				Releases int
				Size     int64
				Sent     struct{ Direct int64 }
				Copies   float64
			}
			Pending  []any
			Releases []struct {
				Name     string
				InfoHash string `json:"info_hash"`
			}
		}
		out := run(t, "", binary(t), "status", "--json", s.url("/"))
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		st := got.Stats
		if got.URL != s.url("") || st.Version == "" || st.Releases != 1 || st.Size != rel.Size || got.Pending == nil ||
			len(got.Releases) != 1 || got.Releases[0].InfoHash != rel.InfoHash {
			t.Fatalf("got %s", out)
		}
		if st.Sent.Direct != rel.Size || st.Copies != 1 {
			return fmt.Errorf("got %s", out)
		}
		return nil
	})
	// Standard output is no terminal, so both are the same but for the time.
	for _, args := range [][]string{{"status", s.http}, {"status", "--once", s.url("")}} {
		out := run(t, "", binary(t), args...)
		for _, want := range []string{s.url(""), "1, 3.1 MB", "direct 3.1 MB", "1.00", "a.iso"} {
			if !strings.Contains(out, want) {
				t.Errorf("%v lacks %q:\n%s", args, want, out)
			}
		}
		if strings.ContainsRune(out, '\x1b') {
			t.Errorf("%v writes what only a terminal understands: %q", args, out)
		}
	}
}

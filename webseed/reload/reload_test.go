package reload

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAChangeIsSeenAndNonsenseIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	loads := 0
	load := func() (string, error) {
		loads++
		b, err := os.ReadFile(path)
		if err == nil && string(b) == "bad" {
			err = errors.New("it is bad")
		}
		return string(b), err
	}
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if _, err := New("a word", 0, logger, load, path); err == nil {
		t.Fatal("a file that is missing at first is no error")
	}
	write("one")
	v, err := New("a word", 0, logger, load, path)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string, warnings int) {
		t.Helper()
		for range 3 {
			if got := v.Get(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		if got := strings.Count(log.String(), "level=WARN"); got != warnings {
			t.Errorf("%d warnings, want %d:\n%s", got, warnings, &log)
		}
	}
	expect("one", 0)
	write("two") // as many bytes, and maybe at the same time
	expect("two", 0)
	write("bad")
	expect("two", 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("two", 2)
	write("three")
	expect("three", 2)
	if loads != 10 { // bad files three times each
		t.Errorf("loaded %d times, want 10", loads)
	}
}

// A file that belongs to another user at first, or that there is no descriptor
// for, looks no different when that is over.
func TestWhatCouldNotBeReadIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	var refused error
	var log bytes.Buffer
	v, err := New("a word", 0, slog.New(slog.NewTextHandler(&log, nil)), func() (string, error) {
		b, err := os.ReadFile(path)
		return string(b), errors.Join(err, refused)
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	write("another")
	refused = os.ErrPermission
	for range 3 {
		if got := v.Get(); got != "one" {
			t.Errorf("got %q of a file that cannot be read", got)
		}
	}
	refused = nil
	if got := v.Get(); got != "another" {
		t.Errorf("got %q once the file can be read", got)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, &log)
	}
}

func TestFilesAreLeftAloneInBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := New("a word", time.Hour, slog.New(slog.DiscardHandler), func() (string, error) {
		b, err := os.ReadFile(path)
		return string(b), err
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := v.Get(); got != "one" {
		t.Errorf("got %q before it was time to look", got)
	}
}

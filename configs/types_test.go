package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSizesAndRates(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "42": 42, "42B": 42, "16KiB": 16384, "10MB": 10_000_000, "10 MB": 10_000_000, "1.5GiB": 3 << 29,
		"1m": 1_000_000, "0.5": -1, "": -1, "-1": -1, "MB": -1, "1 parsec": -1, "9EiB": -1, "1e3": -1,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); (err != nil) != (want < 0) || err == nil && int64(s) != want {
			t.Errorf("size %q: got %d, %v; want %d", text, s, err, want)
		}
	}
	for text, want := range map[string]int64{
		"0": 0, "10MB/s": 10_000_000, "500KiB/s": 512_000, "10MB": 10_000_000, "100Mbit/s": 12_500_000, "100 Mbit / s": -1,
		"1.5 Gbit/s": 187_500_000, "8bit/s": 1, "64 Kibit": 8192, "7bit/s": -1, "bit": -1, "/s": -1, "": -1, "0.2B/s": -1, "-1MB/s": -1,
	} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); (err != nil) != (want < 0) || err == nil && int64(r) != want {
			t.Errorf("rate %q: got %d, %v; want %d", text, r, err, want)
		}
	}
	for _, n := range []int64{0, 1, 999, 1000, 1024, 16384, 1 << 20, 1<<20 + 1, 12_500_000, 1 << 40, 1<<63 - 1} {
		var s Size
		if err := s.UnmarshalText([]byte(Size(n).String())); err != nil || int64(s) != n {
			t.Errorf("size %d prints as %v, which is %d, %v", n, Size(n), s, err)
		}
		var r Rate
		if err := r.UnmarshalText([]byte(Rate(n).String())); err != nil || int64(r) != n {
			t.Errorf("rate %d prints as %v, which is %d, %v", n, Rate(n), r, err)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	var b bytes.Buffer
	s := Secret("hunter2")
	in := struct{ Password Secret }{s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+verb, s, in)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "secret", s, "in", in)
	}
	if err := json.NewEncoder(&b).Encode(in); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); strings.Contains(out, "hunter2") || strings.Contains(out, "68756e746572") || strings.Count(out, redacted) != 19 {
		t.Errorf("printed %d times in %s", strings.Count(out, redacted), out)
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal does not")
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSimulatePrintsLinesAndATable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.jsonl")
	var table strings.Builder
	cmd := command()
	cmd.SetOut(&table)
	cmd.SetArgs(strings.Fields("simulate --peers 2,5 --size 4MiB --mix 100Mbit/1Gbit --leave --gap 10ms --json " + path))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for line := range strings.Lines(string(text)) {
		var r simulated
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, r.Peers)
		if r.Finished != r.Peers || r.Connected != r.Peers || r.Copies < 1 || r.Median > r.Last || r.Last < r.Limit || r.Out > r.Last {
			t.Errorf("implausible: %s", line)
		}
		if r.Mix != "100Mbit/1Gbit" || r.Size != 4<<20 || r.OriginRate != 100e6 || r.Gap != 0.01 || !r.Leave {
			t.Errorf("not what was asked for: %s", line)
		}
	}
	if len(sizes) != 2 || sizes[0] != 2 || sizes[1] != 5 {
		t.Errorf("sizes %v, want 2 and 5", sizes)
	}
	if n := strings.Count(table.String(), "\n"); n != 4 || !strings.Contains(table.String(), "÷ limit") {
		t.Errorf("the table has %d lines: %s", n, table.String())
	}
}

func TestSimulateTellsAllProblemsAtOnce(t *testing.T) {
	cmd := command()
	cmd.SetOut(io.Discard)
	cmd.SetArgs(strings.Fields("simulate --peers 0,1000000 --size 100GiB --piece-length 1KiB --connections 0 --gap -1s --help-share NaN"))
	err := cmd.ExecuteContext(t.Context())
	if _, ok := errors.AsType[usageError](err); !ok {
		t.Fatalf("%v is not said to be a usage error", err)
	}
	for _, part := range []string{"not 0", "1000000 peers", "--piece-length 1KiB", "--connections 0", "--gap -1s", "--help-share NaN"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestSimulateCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := command()
	cmd.SetOut(io.Discard)
	cmd.SetArgs([]string{"simulate"})
	if err := cmd.ExecuteContext(ctx); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("it ends with %v", err)
	}
}

func TestLineMix(t *testing.T) {
	var m lineMix
	if err := m.Set("20Mbit/200Mbit,1Gbit/1500kbit"); err != nil || m.String() != "20Mbit/200Mbit,1Gbit/1500kbit" {
		t.Errorf("%v (%v)", m, err)
	}
	for _, text := range []string{"", "20Mbit", "20Mbit/", "1Mbit/1Mbit,", "1/1", "1Mbit/1Mbit/1Mbit"} {
		if err := m.Set(text); err == nil {
			t.Errorf("%q is taken for lines", text)
		}
	}
	if len(m) != 2 {
		t.Errorf("what was wrong left %v", m)
	}
}

//go:build linux

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets this binary be swarmlab, for labs and for their janitors: what
// go test passes are flags, never a command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// swarmlab returns the command with its arguments, not started.
func swarmlab(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// needLab skips the test where no lab can be built.
func needLab(t *testing.T, programs ...string) {
	t.Helper()
	because := ""
	if not := missing(append(programs, "ip", "tc")); len(not) > 0 {
		because = "not installed: " + strings.Join(not, ", ")
	} else if err := needRoot(); err != nil {
		because = err.Error()
	} else {
		name := "swarmtest-" + strconv.Itoa(os.Getpid())
		if err := runTool(t.Context(), "", "ip", "netns", "add", name); err != nil {
			because = "network namespaces cannot be made here: " + err.Error()
		} else if err := runTool(t.Context(), "", "ip", "netns", "delete", name); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case because != "" && os.Getenv("DROPSEED_REQUIRE_ALL") == "1":
		t.Fatal(because)
	case because != "":
		t.Skip(because)
	}
}

// leftovers returns what is left of the lab with a process id.
func leftovers(t *testing.T, pid int, dir string) []string {
	t.Helper()
	id := strconv.Itoa(pid)
	left, err := namespacesNamed(prefix(id))
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{filepath.Join(claims, id), filepath.Join(dir, "*")} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	return left
}

func TestClientsDownloadFromDropseed(t *testing.T) {
	needLab(t, "aria2c", "curl")
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out.jsonl")
	cmd := swarmlab(t, "run", "crowd", "--clients", "2", "--size", "4MiB", "--client", "aria2,curl", "--dir", dir, "--json", out,
		"--origin-rate", "500Mbit", "--up-rate", "500Mbit", "--down-rate", "500Mbit", "--timeout", "1m")
	table, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, table)
	}
	if left := leftovers(t, cmd.Process.Pid, dir); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var clients []string
	for line := range strings.Lines(string(text)) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, r.Client)
		if r.Finished != 2 || r.Last <= 0 || r.Median <= 0 || r.Median > r.Last || r.Last < r.Limit {
			t.Errorf("%d clients finished, the last after %v s, the median after %v s; the limit is %v s", r.Finished, r.Last, r.Median, r.Limit)
		}
		if r.Copies < 0.9 || r.Copies > 3 || r.Payload == nil || *r.Payload < 0.9 {
			t.Errorf("implausible copies in %s", line)
		}
		if r.Client == "curl" && *r.Sent.Direct != 2*r.Size {
			t.Errorf("two curls got %d bytes of %d", *r.Sent.Direct, r.Size)
		}
	}
	if want := []string{"aria2", "curl"}; !slices.Equal(clients, want) {
		t.Errorf("runs with %q, want %q", clients, want)
	}
	if !strings.Contains(string(table), "crowd") {
		t.Errorf("no table was printed: %s", table)
	}
}

func TestKilledLabLeavesNothing(t *testing.T) {
	needLab(t, "aria2c", "nginx")
	dir := t.TempDir()
	cmd := swarmlab(t, "run", "crowd", "--origin", "nginx", "--size", "64MiB", "--clients", "2", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both clients run", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "*", "run-*", "ready", "c002"))
		return len(found) == 1
	})
	if len(leftovers(t, cmd.Process.Pid, dir)) < 5 {
		t.Fatal("there is no lab to be left")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it says
	var left []string
	eventually(t, "nothing is left", func() bool {
		left = leftovers(t, cmd.Process.Pid, dir)
		return len(left) == 0
	})
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for that %s", what)
		}
	}
}

func TestCleanSparesLivingLabs(t *testing.T) {
	needLab(t)
	c, err := newClaim(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(t.Context(), c, "cubic")
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := clean(&said); err != nil {
		t.Fatal(err)
	}
	if want := "Lab " + c.id + " is running.\n"; !strings.Contains(said.String(), want) {
		t.Errorf("clean said %q, want %q", said.String(), want)
	}
	if _, err := os.Stat(l.dir); err != nil {
		t.Error(err)
	}
	if ids := c.others(); slices.Contains(ids, c.id) {
		t.Errorf("the lab takes itself for another: %q", ids)
	}
	if ids := (&claim{id: "another"}).others(); !slices.Contains(ids, c.id) {
		t.Errorf("another lab sees %q, not %s", ids, c.id)
	}
	if names, err := namespacesNamed(l.prefix); err != nil || len(names) == 0 {
		t.Errorf("the lab's namespaces are gone: %v", err)
	}
	if err := l.tearDown(); err != nil {
		t.Error(err)
	}
	if err := c.release(); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, os.Getpid(), filepath.Dir(c.dir)); len(left) > 0 {
		t.Errorf("release left %q", left)
	}
}

func TestVerifyFindsAByteThatDiffers(t *testing.T) {
	for _, files := range []int{0, 7} {
		folder := t.TempDir()
		c, err := newContent(folder, 100_000, files)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.verify(folder); err != nil {
			t.Errorf("%d files: %v", files, err)
		}
		path := filepath.Join(folder, c.files[len(c.files)-1])
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := c.verify(folder); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%d files: with a byte changed, verify says %v", files, err)
		}
		if err := c.verify(t.TempDir()); err == nil {
			t.Errorf("%d files: verify accepts an empty folder", files)
		}
	}
}

func TestContentHasTheSizeThatWasAskedFor(t *testing.T) {
	for _, row := range []struct {
		size  byteSize
		files int
	}{{1, 0}, {100_001, 1}, {100_001, 300}, {30, 30}} {
		folder := t.TempDir()
		c, err := newContent(folder, row.size, row.files)
		if err != nil {
			t.Fatal(err)
		}
		var sum byteSize
		for _, path := range c.files {
			info, err := os.Stat(filepath.Join(folder, path))
			if err != nil {
				t.Fatal(err)
			}
			sum += byteSize(info.Size())
		}
		if sum != row.size || len(c.files) != max(1, row.files) || c.isFile() != (row.files == 0) {
			t.Errorf("%d bytes in %d files, want %d in %d", sum, len(c.files), row.size, row.files)
		}
	}
}

func TestMixedClientsEndWithTwoWithoutBitTorrent(t *testing.T) {
	for _, row := range []struct {
		name    string
		n       int
		torrent bool
		want    string
	}{
		{"aria2", 2, true, "aria2 aria2"},
		{"aria2", 2, false, "curl curl"},
		{"mixed", 6, true, "aria2 libtorrent transmission aria2 curl curl"},
		{"mixed", 1, true, "curl"},
		{"mixed", 2, false, "curl curl"},
	} {
		got, err := clientsNamed(row.name, row.n, row.torrent)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range got {
			names = append(names, c.name)
		}
		if s := strings.Join(names, " "); s != row.want {
			t.Errorf("%d clients %s are %s, want %s", row.n, row.name, s, row.want)
		}
	}
	if _, err := clientsNamed("netscape", 1, true); err == nil {
		t.Error("there is a client netscape")
	}
}

func TestArgumentsBecomePlansInTurns(t *testing.T) {
	for _, row := range []struct {
		args string
		want string // plans, or what the error has in it
		fail bool
	}{
		{"crowd", "dropseed/aria2", false},
		{"mixed", "dropseed/mixed", false},
		{"crowd --origin dropseed,nginx --client aria2,curl --repeat 2",
			"dropseed/aria2 nginx/curl dropseed/curl dropseed/aria2 nginx/curl dropseed/curl", false},
		{"crowd --origin libtorrent,dropseed --client mixed", "dropseed/mixed", false},
		{"crowd --origin libtorrent --client curl", "nothing to run", true},
		{"rush", "no scenario is called", true},
		{"crowd --origin ftp", "no origin is called", true},
		{"crowd --client netscape", "no client is called", true},
		{"crowd --webseed maybe --repeat 0 --timeout -1s --clients 2000", "--webseed", true},
		{"crowd --webseed maybe --repeat 0 --timeout -1s --clients 2000", "--repeat", true},
		{"crowd --webseed maybe --repeat 0 --timeout -1s --clients 2000", "--timeout", true},
		{"crowd --webseed maybe --repeat 0 --timeout -1s --clients 2000", "1 to 1000 clients", true},
	} {
		cmd, o := newRunCommand()
		if err := cmd.ParseFlags(strings.Fields(row.args)[1:]); err != nil {
			t.Fatal(err)
		}
		m, err := o.matrix(strings.Fields(row.args)[0], cmd.Flags())
		var plans []string
		for _, p := range m.plans {
			plans = append(plans, p.origin.name+"/"+p.client)
		}
		switch got := strings.Join(plans, " "); {
		case row.fail && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: error %v, want one with %q", row.args, err, row.want)
		case !row.fail && got != row.want:
			t.Errorf("%s: plans %s, want %s", row.args, got, row.want)
		}
	}
}

func TestFiguresReplaceTheScenarios(t *testing.T) {
	cmd, o := newRunCommand()
	if err := cmd.ParseFlags(strings.Fields("--size 3MiB --files 2 --clients 7 --origin-rate 5Mbit --up-rate 6Mbit --down-rate 1.5Gbit --gap 1s")); err != nil {
		t.Fatal(err)
	}
	s, err := findScenario("churn")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.apply(&s, cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	if s.size != 3<<20 || s.files != 2 || s.clients != 7 || s.originRate != 5e6 || s.up != 6e6 || s.down != 1.5e9 || s.gap != time.Second || s.deaths != 2 {
		t.Errorf("the scenario became %+v", s)
	}
}

func TestTrafficIsReadFromTheBridgesSide(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
    v0: 12345    17    0    0    0     0          0         0      678       9    0    0    0     0       0          0
`
	all, err := parseTraffic([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := all["v0"], (traffic{sent: 12345, received: 678}); got != want {
		t.Errorf("v0 has %+v, want %+v", got, want)
	}
	for _, bad := range []string{"v0: 1 2 3", "v0: x 17 0 0 0 0 0 0 678 9 0 0 0 0 0 0"} {
		if _, err := parseTraffic([]byte(bad)); err == nil {
			t.Errorf("%q can be read", bad)
		}
	}
}

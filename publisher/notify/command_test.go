//go:build unix

package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dropseed/publisher/catalog"
)

// script writes an executable shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "announce me")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// commanded starts a Notifier with a command and no URL.
func commanded(t *testing.T, c *catalog.Catalog, log *slog.Logger, timeout time.Duration, command ...string) (*Notifier, func()) {
	t.Helper()
	n := open(t, c, t.TempDir(), nil, func(o *Options) {
		o.URLs, o.Command, o.Timeout, o.Log = nil, command, timeout, log
		o.Trees = func() []Tree {
			return []Tree{{Source: "src", Name: "bad one", Path: "bad one/x", Reason: "it's $(bad)"}}
		}
		o.Every = 20 * time.Millisecond
	})
	return n, run(t, n)
}

func TestCommandHasTheFacts(t *testing.T) {
	t.Setenv("DROPSEED_NOTIFY_SECRET", testSecret)
	t.Setenv("OTHER", "kept")
	out := t.TempDir()
	prog := script(t, `d="$1/$DROPSEED_EVENT $DROPSEED_NAME"; env > "$d.env"; echo "$#|$2" > "$d.args"; cat > "$d.new"; mv "$d.new" "$d.json"`)
	c := openCatalog(t, t.TempDir())
	_, stop := commanded(t, c, nil, time.Minute, prog, out, "two; words $HOME")
	name := "a 'b' $(touch x);\n\"c\"" + ".iso"
	r := publish(t, c, name, "1")
	json1, json2 := filepath.Join(out, "published "+name+".json"), filepath.Join(out, "failed bad one.json")
	eventually(t, "both events are told", func() bool {
		_, err1 := os.Stat(json1)
		_, err2 := os.Stat(json2)
		return err1 == nil && err2 == nil
	})
	stop()
	env := readText(t, strings.TrimSuffix(json1, ".json")+".env")
	for _, want := range []string{
		"DROPSEED_EVENT=published\n", "DROPSEED_NAME=" + name + "\n", "DROPSEED_SOURCE=src\n", "DROPSEED_INFO_HASH=" + r.InfoHash.HexString() + "\n",
		"DROPSEED_SIZE=3\n", "DROPSEED_FILES=1\n", "DROPSEED_PAGE_URL=https://dl.example/", "DROPSEED_TORRENT_URL=https://dl.example/",
		"DROPSEED_MAGNET=magnet:?xt=", "DROPSEED_REASON=\n", "OTHER=kept\n", "DROPSEED_CREATED_AT=" + r.CreatedAt.Format(time.RFC3339Nano),
	} {
		if !strings.Contains(env, want) {
			t.Errorf("%q is not in the environment:\n%s", want, env)
		}
	}
	if strings.Contains(env, testSecret) {
		t.Errorf("the secret is in the environment:\n%s", env)
	}
	if args := readText(t, strings.TrimSuffix(json1, ".json")+".args"); args != "2|two; words $HOME\n" {
		t.Errorf("arguments %q", args)
	}
	var m message
	if err := json.Unmarshal([]byte(readText(t, json1)), &m); err != nil || m.Data.Name != name || !strings.Contains(env, "DROPSEED_ID="+m.ID+"\n") {
		t.Errorf("got %+v, %v", m, err)
	}
	env = readText(t, strings.TrimSuffix(json2, ".json")+".env")
	for _, want := range []string{"DROPSEED_EVENT=failed\n", "DROPSEED_NAME=bad one\n", "DROPSEED_PATH=bad one/x\n", "DROPSEED_REASON=it's $(bad)\n", "DROPSEED_SIZE=\n"} {
		if !strings.Contains(env, want) {
			t.Errorf("%q is not in the environment:\n%s", want, env)
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The command runs for one event at a time, and again until it succeeds.
func TestFailedCommandIsRunAgain(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	out := filepath.Join(t.TempDir(), "out")
	prog := script(t, fmt.Sprintf(`mkdir %[1]q.lock || exit 9
echo "$DROPSEED_EVENT $DROPSEED_NAME" >> %[1]q
rmdir %[1]q.lock
n=$(wc -l < %[1]q)
[ $n -ne 2 ] || { echo "no luck"; head -c 100000 /dev/zero | tr '\0' x; exit 3; }`, out))
	c := openCatalog(t, t.TempDir())
	publish(t, c, "0", "1")
	_, stop := commanded(t, c, slog.New(slog.NewTextHandler(&log, nil)), time.Minute, prog)
	for i := range 3 {
		publish(t, c, strconv.Itoa(i), "2")
	}
	var told []string
	eventually(t, "everything is told", func() bool {
		text, err := os.ReadFile(out)
		told = strings.Split(strings.TrimSpace(string(text)), "\n")
		return err == nil && slices.Contains(told, "published 2") && slices.Contains(told, "failed bad one")
	})
	stop()
	told = slices.DeleteFunc(told, func(s string) bool { return s == "failed bad one" })
	want := []string{"retired 0", "published 0", "published 1", "published 2"}
	if again := slices.Compact(slices.Clone(told)); !slices.Equal(again, want) || len(told) > 5 {
		t.Errorf("told %q, want %q, one of them twice", told, want)
	}
	text := log.String()
	if !strings.Contains(text, "exit status 3") || !strings.Contains(text, "no luck") || len(text) > 4*outputMost {
		t.Errorf("log of %d bytes: %.300s", len(text), text)
	}
}

// What takes too long is killed, with all that it started.
func TestSlowCommandIsKilledWithItsGroup(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	pids := filepath.Join(t.TempDir(), "pids")
	prog := script(t, fmt.Sprintf("sleep 600 & echo $! >> %q; sleep 600", pids))
	c := openCatalog(t, t.TempDir())
	n, stop := commanded(t, c, slog.New(slog.NewTextHandler(&log, nil)), 300*time.Millisecond, prog)
	publish(t, c, "a", "1")
	eventually(t, "it failed", func() bool { return strings.Contains(log.String(), "longer than 300ms") })
	stop()
	if left := n.queued(); len(left) == 0 {
		t.Error("nothing is left to be told")
	}
	for line := range strings.Lines(readText(t, pids)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is killed", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
	}
}

// zombie reports whether a process has ended and is not waited for: in
// containers, nobody may wait for orphans.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

func TestMissingCommandIsRefused(t *testing.T) {
	t.Parallel()
	_, err := Open(Options{Catalog: openCatalog(t, t.TempDir()), Folder: t.TempDir(), Command: []string{"/nowhere/announce"}})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/announce") {
		t.Errorf("got %v", err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

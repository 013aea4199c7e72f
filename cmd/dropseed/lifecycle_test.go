package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The command line, as scripts; see testdata/script. They have dropseed in
// their PATH, $TAKEN, an address somebody else listens on, and the command
// "exits CODE PROGRAM [ARGS...]", whose output is looked at with stdout and
// stderr.
func TestCommandLine(t *testing.T) {
	dir := filepath.Dir(binary(t))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() }) // the scripts run after this function
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	testscript.Run(t, testscript.Params{
		Dir:      filepath.Join("testdata", "script"),
		Deadline: time.Now().Add(patience),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", dir+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("DROPSEED_DHT_BOOTSTRAP", "") // nobody out there
			env.Setenv("TAKEN", listener.Addr().String())
			env.Setenv("TAKEN_UDP", packets.LocalAddr().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: exits CODE PROGRAM [ARGS...]")
				}
				code := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					// ts.Exec hides the type of the error.
					if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &code); scanErr != nil {
						ts.Fatalf("%v", err)
					}
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
		},
	})
}

func TestServePrintsThePage(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "does", "not", "exist", "yet")
	s := serve(t, folder)
	if st, err := os.Stat(folder); err != nil || !st.IsDir() {
		t.Errorf("the folder was not created: %v", err)
	}
	s.eventually("the page's address is on standard output", func() error {
		out, err := os.ReadFile(s.stdout)
		if err == nil && !strings.Contains(string(out), s.url("/")) {
			err = fmt.Errorf("it is %q", out)
		}
		return err
	})
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// started runs dropseed until it ends by itself, which it has to.
func started(t *testing.T, credential *syscall.Credential, args ...string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	var b strings.Builder
	cmd.Stderr = &b
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		t.Fatalf("%v did not end: %v", cmd, err)
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

func TestUnreadableFolderIsRefusedAtTheStart(t *testing.T) {
	var nobody *syscall.Credential
	base := t.TempDir()
	folder := filepath.Join(base, "drop")
	if err := os.Mkdir(folder, 0o000); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // to whom everything is readable
		nobody = &syscall.Credential{Uid: 65534, Gid: 65534}
		for dir := base; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(buildDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	state := filepath.Join(base, "state")
	if err := os.Mkdir(state, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(state, 0o777); err != nil {
		t.Fatal(err)
	}
	code, stderr := started(t, nobody, "serve", folder, "--state", state, "--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "")
	if code != 2 || !strings.Contains(stderr, folder) || !strings.Contains(stderr, "permission denied") {
		t.Errorf("exit code %d, want 2 and a message with the folder:\n%s", code, stderr)
	}
}

func TestStateFolderInUseIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	serve(t, folder)
	code, stderr := started(t, nil, "serve", folder, "--http", "127.0.0.1:0", "--peers", "127.0.0.1:0", "--udp", "127.0.0.1:0")
	if code != 2 || !strings.Contains(stderr, ".dropseed") {
		t.Errorf("exit code %d, want 2 and a message with the state folder:\n%s", code, stderr)
	}
}

func TestShutdownFinishesWhatIsBeingSent(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	folder := t.TempDir()
	file := filepath.Join(folder, "large.iso")
	drop(t, file, 48<<20)
	s := serve(t, folder)
	s.published("large.iso")
	out := filepath.Join(t.TempDir(), "out")
	// 48 MiB at 16 MB/s take three seconds.
	download := exec.Command(curl, "--silent", "--show-error", "--fail", "--limit-rate", "16M", "--output", out, s.url("/files/large.iso"))
	if err := download.Start(); err != nil {
		t.Fatal(err)
	}
	err := eventually(patience, func() error {
		st, err := os.Stat(out)
		if err == nil && st.Size() == 0 {
			err = fmt.Errorf("nothing has come yet")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	began := time.Now()
	code := s.stop()
	if err := download.Wait(); err != nil {
		t.Errorf("the download under way was cut: %v", err)
	}
	expectSame(t, file, out)
	if took := time.Since(began); code != 0 || took > 15*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "large.iso"), 48<<20)
	config := filepath.Join(t.TempDir(), "dropseed.yaml")
	if err := os.WriteFile(config, []byte("shutdown: 500ms\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, folder, "--config", config)
	s.published("large.iso")
	out := filepath.Join(t.TempDir(), "out")
	download := exec.Command(curl, "--silent", "--limit-rate", "4M", "--output", out, s.url("/files/large.iso"))
	if err := download.Start(); err != nil {
		t.Fatal(err)
	}
	err := eventually(patience, func() error { _, err := os.Stat(out); return err })
	if err != nil {
		t.Error(err)
	}
	began := time.Now()
	if code := s.stop(); code != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("exit code %d after %v, want 0 after half a second", code, time.Since(began))
	}
	if download.Wait() == nil {
		t.Error("the download was not cut")
	}
}

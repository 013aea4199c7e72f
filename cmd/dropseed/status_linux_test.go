package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// console is a terminal that shows what is written and answers nothing.
type console struct {
	*os.File // what a user types and sees

	mu   sync.Mutex // guards seen
	seen bytes.Buffer
}

// onConsole starts dropseed on a new terminal of 80 columns and 24 lines. wait
// returns its error once it has ended.
func onConsole(t *testing.T, args ...string) (c *console, wait func() error) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		missing(t, "there are no pseudo-terminals here: "+err.Error())
	}
	t.Cleanup(func() { user.Close() })
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close() // the process has its own
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "CI=") // with CI set, nothing would be asked
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c = &console{File: user}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for b := make([]byte, 4096); ; {
			n, err := user.Read(b)
			c.mu.Lock()
			c.seen.Write(b[:n])
			c.mu.Unlock()
			if err != nil { // when nobody has the terminal open any more
				return
			}
		}
	}()
	return c, func() error {
		err := cmd.Wait()
		<-read
		return err
	}
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

func (c *console) shows(what string) error {
	if text := c.text(); !bytes.Contains([]byte(text), []byte(what)) {
		return fmt.Errorf("the terminal shows %q, which lacks %q", text, what)
	}
	return nil
}

func TestStatusIsShownLiveOnATerminal(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := serve(t, folder)
	c, wait := onConsole(t, "status", s.url(""))
	s.eventually("there is a view", func() error { return c.shows("0, 0 B") })
	drop(t, filepath.Join(folder, "later.iso"), 1<<20)
	s.eventually("what comes later is in it", func() error { return c.shows("later.iso") })
	if _, err := c.Write([]byte("q")); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Errorf("after q: %v", err)
	}
}

// No command but the live view writes escape sequences to a terminal, or waits
// for what it answers.
func TestTerminalIsNotAskedAnything(t *testing.T) {
	t.Parallel()
	c, wait := onConsole(t, "version")
	if err := wait(); err != nil {
		t.Error(err)
	}
	if text := c.text(); bytes.ContainsRune([]byte(text), '\x1b') {
		t.Errorf("the terminal gets %q", text)
	}
}

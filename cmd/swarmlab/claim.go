//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// claims holds one file per lab, named by the lab's process id and locked for
// as long as the lab lives. It says where the lab's directory is. Whatever a
// lab makes can be found from there: the directory, the namespaces whose names
// begin with the lab's prefix, and the processes in them.
const claims = "/run/swarmlab"

// claim is this process's right to build a lab.
type claim struct {
	id      string
	dir     string // for everything the lab writes
	lock    *os.File
	janitor *exec.Cmd
	alive   io.Closer // the janitor works once it is closed
}

func prefix(id string) string { return "swarmlab-" + id + "-" }

// newClaim makes the lab's directory below parent. A janitor, a process of its
// own, waits beside the lab and removes what is left when it has ended, be it
// by SIGKILL.
//
// With keep the directory stays.
func newClaim(parent string, keep bool) (_ *claim, err error) {
	c := &claim{id: strconv.Itoa(os.Getpid())}
	if err := os.MkdirAll(claims, 0o700); err != nil {
		return nil, err
	}
	if err := cleanDead(c.id); err != nil { // of a lab that had the same process id
		return nil, err
	}
	if c.dir, err = os.MkdirTemp(parent, prefix(c.id)); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		os.RemoveAll(c.dir)
		if c.lock != nil {
			os.Remove(c.lock.Name())
			os.Remove(filepath.Join(claims, c.id))
			c.lock.Close()
		}
	}()
	// Some daemons give up root and read in there.
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return nil, err
	}
	// Locked before it has its name, so that nobody ever takes it for dead.
	if c.lock, err = os.CreateTemp(claims, "new-"); err != nil {
		return nil, err
	}
	if !keep {
		if _, err := c.lock.WriteString(c.dir); err != nil {
			return nil, err
		}
	}
	if err := unix.Flock(int(c.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w", c.lock.Name(), err)
	}
	if err := os.Rename(c.lock.Name(), filepath.Join(claims, c.id)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c.janitor = exec.Command(self, "janitor", c.id)
	c.janitor.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // spared by Ctrl-C
	c.janitor.Stderr = os.Stderr
	if c.alive, err = c.janitor.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.janitor.Start(); err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	return c, nil
}

// release hands everything to the janitor and waits until it is done.
func (c *claim) release() error {
	c.lock.Close()
	c.alive.Close()
	if err := c.janitor.Wait(); err != nil {
		return fmt.Errorf("clean up after the lab: %w", err)
	}
	return nil
}

// janitor cleans up after the lab called id once in ends, which is when the
// lab does.
func janitor(in io.Reader, id string) error {
	_, _ = io.Copy(io.Discard, in)
	// The lock falls with the lab's last thread, which may take a moment.
	var err error
	for range 100 {
		if err = cleanDead(id); !errors.Is(err, errAlive) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

var errAlive = errors.New("it is running")

// cleanDead removes everything of the lab called id, unless it is running:
// then it returns errAlive. That nothing is there is no error.
func cleanDead(id string) error {
	path := filepath.Join(claims, id)
	lock, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return removeNamespaces(prefix(id))
	case err != nil:
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lab %s: %w", id, errAlive)
	}
	dir, err := io.ReadAll(io.LimitReader(lock, 4096))
	if err != nil {
		return err
	}
	if err := removeNamespaces(prefix(id)); err != nil {
		return err
	}
	if strings.HasPrefix(filepath.Base(string(dir)), prefix(id)) {
		if err := os.RemoveAll(string(dir)); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// others returns the ids of the labs that run beside this one.
func (c *claim) others() []string {
	entries, _ := os.ReadDir(claims) // there since newClaim
	var ids []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "new-") {
			continue // its owner is about to lock it
		}
		lock, err := os.Open(filepath.Join(claims, e.Name()))
		if err != nil {
			continue // it has ended
		}
		if e.Name() != c.id && unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
			ids = append(ids, e.Name())
		}
		lock.Close()
	}
	return ids
}

// clean removes what dead labs have left, and says so on out.
func clean(out io.Writer) error {
	ids := map[string]bool{}
	entries, err := os.ReadDir(claims)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "new-") {
			ids[e.Name()] = true
		}
	}
	names, err := namespacesNamed("swarmlab-")
	if err != nil {
		return err
	}
	for _, name := range names {
		id, _, _ := strings.Cut(strings.TrimPrefix(name, "swarmlab-"), "-")
		ids[id] = true
	}
	var problems []error
	for id := range ids {
		switch err := cleanDead(id); {
		case errors.Is(err, errAlive):
			fmt.Fprintf(out, "Lab %s is running.\n", id)
		case err != nil:
			problems = append(problems, fmt.Errorf("clean up after lab %s: %w", id, err))
		default:
			fmt.Fprintf(out, "Removed what lab %s had left.\n", id)
		}
	}
	return errors.Join(problems...)
}

func namespacesNamed(prefix string) ([]string, error) {
	entries, err := os.ReadDir(namespaces)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// removeNamespaces kills all processes in the namespaces whose names begin
// with prefix, and removes them. The cables end with them.
func removeNamespaces(prefix string) error {
	names, err := namespacesNamed(prefix)
	if err != nil || len(names) == 0 {
		return err
	}
	// A process may start another one meanwhile; that one is found the next time.
	for deadline := time.Now().Add(10 * time.Second); ; {
		found, err := processesIn(names)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", found)
		}
		for _, pid := range found {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var script strings.Builder
	for _, name := range names {
		fmt.Fprintf(&script, "netns delete %s\n", name)
	}
	return runTool(ctx, script.String(), "ip", "-force", "-batch", "-")
}

// processesIn returns the processes in any of the namespaces. Dead ones that
// nobody has waited for do not count.
func processesIn(names []string) ([]int, error) {
	type identity struct{ device, inode uint64 }
	wanted := map[identity]bool{}
	for _, name := range names {
		var s unix.Stat_t
		if err := unix.Stat(filepath.Join(namespaces, name), &s); err == nil {
			wanted[identity{uint64(s.Dev), s.Ino}] = true
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var s unix.Stat_t
		if unix.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &s) == nil && wanted[identity{uint64(s.Dev), s.Ino}] {
			found = append(found, pid)
		}
	}
	return found, nil
}

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lab is one run's world: a network, and processes on its hosts.
type lab struct {
	*network
	prefix     string // of all namespaces
	dir        string // for everything the run writes
	congestion string
	processes  []*process
}

// newLab builds a lab in the claim's name. The caller must tear it down.
func newLab(ctx context.Context, c *claim, congestion string) (*lab, error) {
	l := &lab{prefix: prefix(c.id), congestion: congestion}
	var err error
	if l.dir, err = os.MkdirTemp(c.dir, "run-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return nil, err
	}
	if l.network, err = buildNetwork(ctx, l.prefix); err != nil {
		return nil, errors.Join(err, l.tearDown())
	}
	return l, nil
}

// tearDown ends all processes and removes the namespaces, but not the directory.
func (l *lab) tearDown() error {
	for _, p := range l.processes {
		p.kill()
	}
	err := removeNamespaces(l.prefix)
	for _, p := range l.processes {
		<-p.exited
	}
	return err
}

// host adds a host to the lab; index 0 is the origin.
func (l *lab) host(ctx context.Context, index int, name string, cable line) (host, error) {
	h := host{
		name: name, namespace: l.prefix + name, port: "v" + strconv.Itoa(index),
		address: netip.AddrFrom4([4]byte{10, 77, byte(index / 200), byte(index%200 + 1)}),
	}
	if err := l.add(ctx, h, cable, l.congestion); err != nil {
		return host{}, fmt.Errorf("connect %s: %w", name, err)
	}
	return h, os.Mkdir(l.path(h), 0o755)
}

// path returns a path in a host's own directory.
func (l *lab) path(h host, more ...string) string {
	return filepath.Join(append([]string{l.dir, h.name}, more...)...)
}

// process is a program that runs on a host.
type process struct {
	name   string
	in     io.WriteCloser
	log    string
	cmd    *exec.Cmd
	exited chan struct{} // closed once it has been waited for
}

// start starts a program on a host. What it prints goes to a log of its own.
func (l *lab) start(h host, args ...string) (*process, error) {
	p := &process{
		name:   filepath.Base(args[0]) + " on " + h.name,
		log:    l.path(h, fmt.Sprintf("%s-%d.log", filepath.Base(args[0]), len(l.processes))),
		cmd:    exec.Command(args[0], args[1:]...),
		exited: make(chan struct{}),
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Dir = l.path(h)
	p.cmd.Env = append(os.Environ(), "HOME="+l.path(h)) // nobody's own settings
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := inside(h.namespace, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	l.processes = append(l.processes, p)
	go func() { // until tearDown, which waits for it
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.exited)
	}()
	return p, nil
}

// signal sends a signal to the process and those that it started.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.exited: // its id may be another's by now
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s) // it may have ended
	}
}

func (p *process) kill() { p.signal(syscall.SIGKILL) }

// ended returns an error if the process has ended, with the end of its log.
func (p *process) ended() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended (%v): %s", p.name, p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

// tail returns the last few lines of the log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text[max(0, len(text)-2000):])
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n\t")
}

// poll calls check until it returns nil or a process has ended.
func poll(ctx context.Context, check func() error, processes ...*process) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		for _, p := range processes {
			if ended := p.ended(); ended != nil {
				return ended
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last, %w", context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// processorTime returns what the processes on a host have used since they
// started, with the children that they have waited for.
func processorTime(h host) (time.Duration, error) {
	pids, err := processesIn([]string{h.namespace})
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		// The name, in brackets, may hold anything. utime is the 12th field
		// after it.
		_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			return 0, fmt.Errorf("cannot read /proc/%d/stat", pid)
		}
		for _, f := range fields[11:15] { // user, system, and both of children
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cannot read /proc/%d/stat: %w", pid, err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ
}

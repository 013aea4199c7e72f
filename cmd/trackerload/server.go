//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
	"golang.org/x/sync/errgroup"

	"dropseed/publisher/tracker"
)

// server is a running tracker.
type server struct {
	addr   netip.AddrPort // UDP and HTTP
	cmd    *exec.Cmd
	exited chan struct{}
	stderr bytes.Buffer
	dir    string
}

// kind is a tracker that can be measured.
type kind string

const (
	ours  kind = "dropseed"
	rival kind = "opentracker"
)

// start starts a tracker of the swarms on some of the processor cores ("" = all), and
// waits until it answers.
func start(ctx context.Context, k kind, s *swarms, cores string) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "trackerload-")
	if err != nil {
		return nil, err
	}
	sv := &server{dir: dir, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start %s: %w: %s", k, err, sv.stderr.Bytes())
			sv.stop()
		}
	}()
	var list strings.Builder
	for _, h := range s.hashes {
		list.WriteString(hex.EncodeToString(h[:]) + "\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte(list.String()), 0o644); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	sv.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line := []string{self, "serve", sv.addr.String(), filepath.Join(dir, "list")}
	if k == rival {
		// It changes its root to dir, and then reads the list.
		os.Chmod(dir, 0o755)
		p := strconv.Itoa(int(port))
		line = []string{"opentracker", "-i", "127.0.0.1", "-p", p, "-P", p, "-d", dir, "-w", "list"}
	}
	if cores != "" {
		line = append([]string{"taskset", "--cpu-list", cores}, line...)
	}
	sv.cmd = exec.Command(line[0], line[1:]...)
	sv.cmd.Stderr = &sv.stderr
	sv.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := sv.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { sv.cmd.Wait(); close(sv.exited) }()
	for late := time.Now().Add(10 * time.Second); ; {
		select {
		case <-sv.exited:
			return nil, errors.New("it has ended")
		case <-time.After(20 * time.Millisecond):
		}
		if c, err := net.Dial("tcp", sv.addr.String()); err == nil {
			c.Close()
			return sv, nil
		} else if time.Now().After(late) {
			return nil, err
		}
	}
}

func freePort(ctx context.Context) (uint16, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), nil
}

func (sv *server) stop() {
	if sv.cmd != nil && sv.cmd.Process != nil {
		sv.cmd.Process.Kill()
		<-sv.exited
	}
	os.RemoveAll(sv.dir)
}

// processorTime is what the tracker has used so far.
func (sv *server) processorTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", sv.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // user, system
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ
}

// resident is the tracker's resident memory in bytes.
func (sv *server) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", sv.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	return n << 10, err
}

// serve is this project's tracker alone, as dropseed runs it.
func serve(ctx context.Context, addr, list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	tracked := make(map[infohash.T]bool)
	for line := range strings.Lines(string(text)) {
		var ih infohash.T
		if err := ih.FromHexString(strings.TrimSpace(line)); err != nil {
			return err
		}
		tracked[ih] = true
	}
	t := tracker.New(tracker.Options{
		Standing: func(ih infohash.T) tracker.Standing {
			if tracked[ih] {
				return tracker.Listed
			}
			return tracker.Unknown
		},
	})
	conns, err := tracker.ListenUDP(ctx, addr)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	h := &http.Server{Handler: t}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.Run(ctx) })
	for _, c := range conns {
		g.Go(func() error { return t.ServeUDP(ctx, c) })
	}
	g.Go(func() error { return h.Serve(l) })
	g.Go(func() error { <-ctx.Done(); return h.Close() })
	return g.Wait()
}

package main_test

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lab is two network namespaces joined by a cable, for clients that refuse
// peers on the loopback interface.
type lab struct {
	server, client string   // namespaces
	address        string   // of the server, as the client sees it
	env            []string // variables of the server, NAME=VALUE
}

func newLab(t *testing.T, subnet int) lab {
	t.Helper()
	ip := need(t, "ip")
	if os.Getuid() != 0 {
		missing(t, "network namespaces take root")
	}
	id := fmt.Sprintf("dstest-%d-%d", os.Getpid(), subnet)
	l := lab{server: id + "-s", client: id + "-c", address: fmt.Sprintf("10.77.%d.1", subnet)}
	for _, ns := range []string{l.server, l.client} {
		if out, err := exec.Command(ip, "netns", "add", ns).CombinedOutput(); err != nil {
			missing(t, fmt.Sprintf("network namespaces cannot be made here: %s", out))
		}
		t.Cleanup(func() { run(t, "", ip, "netns", "delete", ns) })
		run(t, "", ip, "-n", ns, "link", "set", "lo", "up")
	}
	run(t, "", ip, "-n", l.server, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", l.client)
	for i, ns := range []string{l.server, l.client} {
		run(t, "", ip, "-n", ns, "address", "add", fmt.Sprintf("10.77.%d.%d/24", subnet, i+1), "dev", "eth0")
		run(t, "", ip, "-n", ns, "link", "set", "eth0", "up")
	}
	return l
}

// serve is as the function of that name, inside the server's namespace.
func (l lab) serve(t *testing.T, folder string, args ...string) *server {
	t.Helper()
	any := l.address + ":0"
	command := slices.Concat([]string{need(t, "ip"), "netns", "exec", l.server, "env"}, l.env, []string{binary(t)})
	s := launch(t, command, folder,
		append([]string{"--http", any, "--peers", any, "--udp", any}, args...)...)
	s.client = &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: l.dial}}
	t.Cleanup(s.client.CloseIdleConnections)
	s.waitServing()
	return s
}

// dial connects from within the server's namespace.
func (l lab) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = l.inside(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// listen listens there.
func (l lab) listen(t *testing.T) (ln net.Listener) {
	t.Helper()
	err := l.inside(func() (err error) {
		ln, err = net.Listen("tcp", l.address+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// inside calls f in the server's namespace.
func (l lab) inside(f func() error) error {
	done := make(chan error)
	go func() {
		// The thread stays in the namespace and ends with this goroutine.
		runtime.LockOSThread()
		ns, err := os.Open("/run/netns/" + l.server)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func TestTransmissionDownloads(t *testing.T) {
	for i, row := range []struct {
		name  string
		tree  string
		leave []string
		args  []string
		rule  string
		sent  func(release) bool
	}{
		{"as published", portable, nil, nil, "by peers and webseed", eitherWay},
		{"from peers", single, []string{"url-list"}, []string{"--encryption-tolerated"}, "by peers only", peersOnly},
		{"encryption required", portable, []string{"url-list"}, []string{"--encryption-required"}, "by peers only", peersOnly},
		{"from the webseed alone", single, []string{"announce", "announce-list"}, nil, "by webseed only", webseedOnly},
		{"from the magnet", single, []string{"all"}, nil, "by peers and webseed", eitherWay},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			need(t, "transmission-cli")
			l := newLab(t, i)
			folder := dropTrees(t, row.tree)
			s := l.serve(t, folder)
			r := s.published(row.tree)[0]
			what := r.Magnet
			if len(row.leave) != 1 || row.leave[0] != "all" {
				what = s.torrents([]release{r}, row.leave...)[0]
			}
			out := l.transmission(t, what, row.args...)
			expectSame(t, asTransmissionNames(t, folder, r.Name), out)
			s.expectSent(r.Name, row.rule, row.sent)
		})
	}
}

// transmission downloads in the client's namespace. transmission-cli goes on
// seeding when it is done, so it is told to run a script then, and stopped.
func (l lab) transmission(t *testing.T, torrent string, args ...string) (out string) {
	t.Helper()
	out, config := t.TempDir(), t.TempDir()
	done := filepath.Join(config, "done")
	script := filepath.Join(config, "finish")
	for path, text := range map[string]string{
		script:                                 "#!/bin/sh\ntouch '" + done + "'\n",
		filepath.Join(config, "settings.json"): `{"dht-enabled": false, "lpd-enabled": false, "rename-partial-files": false}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{"netns", "exec", l.client, need(t, "transmission-cli"), "--config-dir", config, "--download-dir", out, "--finish", script, "--no-portmap"}, args...)
	cmd := exec.Command(need(t, "ip"), append(args, torrent)...)
	log, err := os.Create(filepath.Join(config, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = eventually(patience, func() error { _, err := os.Stat(done); return err })
	if err == nil { // the last file gets its name after that
		err = eventually(patience, func() error { return noneUnfinished(out) })
	}
	t.Logf("took %v", time.Since(began).Round(time.Millisecond))
	_ = cmd.Process.Kill() // it would tell the tracker first, for seconds
	_ = cmd.Wait()
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("%v: not finished: %s", cmd, text)
	}
	return out
}

// noneUnfinished reports a file below a folder that Transmission has not given
// its name yet.
func noneUnfinished(folder string) error {
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".part" {
			err = fmt.Errorf("%s is not finished", path)
		}
		return err
	})
}

// asTransmissionNames returns a folder with the tree of a name as Transmission
// 3.00 writes it: it replaces what Windows refuses, drops spaces that begin a
// name, and makes no empty files.
func asTransmissionNames(t *testing.T, folder, name string) string {
	t.Helper()
	to := t.TempDir()
	replace := strings.NewReplacer("<", "_", ">", "_", ":", "_", `"`, "_", `\`, "_", "|", "_", "?", "_", "*", "_", "/ ", "/")
	err := filepath.WalkDir(filepath.Join(folder, name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() == 0 {
			return err
		}
		target := to + replace.Replace(strings.TrimPrefix(path, folder))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.Link(path, target)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

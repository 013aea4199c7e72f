//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespaces is where ip netns keeps the names.
const namespaces = "/run/netns"

// network is a bridge in a namespace of its own with hosts around it. There
// is no way from it to anywhere else.
type network struct {
	bridge string // its namespace
}

// host is one machine: a namespace with one cable, eth0, to the bridge.
type host struct {
	name      string
	namespace string
	address   netip.Addr
	port      string // the bridge's end of the cable
}

// line is a cable's speed, as its host sees it.
type line struct{ up, down bitRate }

// buildNetwork makes a network in namespaces whose names begin with prefix.
// Whoever calls it removes them, also after an error.
func buildNetwork(ctx context.Context, prefix string) (*network, error) {
	n := &network{bridge: prefix + "bridge"}
	if err := runTool(ctx, "", "ip", "netns", "add", n.bridge); err != nil {
		return nil, err
	}
	// Multicast snooping would learn groups that nobody uses.
	script := "link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up\n"
	if err := runTool(ctx, script, "ip", "-n", n.bridge, "-batch", "-"); err != nil {
		return nil, err
	}
	return n, inside(n.bridge, func() error { return sysctl("net/ipv6/conf/all/disable_ipv6", "1") })
}

// add connects a new host to the network.
func (n *network) add(ctx context.Context, h host, l line, congestion string) error {
	link := fmt.Sprintf("netns add %s\nlink add %s netns %s type veth peer name eth0 netns %s\n", h.namespace, h.port, n.bridge, h.namespace)
	if err := runTool(ctx, link, "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := inside(h.namespace, tune); err != nil {
		return fmt.Errorf("tune %s: %w", h.name, err)
	}
	// The congestion control of the route, since its sysctl may be forbidden
	// to all namespaces but the first.
	script := fmt.Sprintf("link set lo up\naddress add %s/16 dev eth0 noprefixroute\nlink set eth0 up\nroute add 10.77.0.0/16 dev eth0 src %s congctl %s\n",
		h.address, h.address, congestion)
	if err := runTool(ctx, script, "ip", "-n", h.namespace, "-batch", "-"); err != nil {
		return err
	}
	if err := runTool(ctx, fmt.Sprintf("link set %s master br0 up\n", h.port), "ip", "-n", n.bridge, "-batch", "-"); err != nil {
		return err
	}
	if err := runTool(ctx, "", "tc", append([]string{"-n", h.namespace}, shape("eth0", l.up)...)...); err != nil {
		return err
	}
	return runTool(ctx, "", "tc", append([]string{"-n", n.bridge}, shape(h.port, l.down)...)...)
}

// shape returns tc's arguments that limit what a device sends. The burst holds
// two of the longest segments that TCP hands down (64 KiB), else they would
// be cut up; the queue holds 50 ms.
func shape(device string, r bitRate) []string {
	burst := max(128<<10, int64(r)/8/250)
	limit := burst + max(128<<10, int64(r)/8/20)
	return []string{"qdisc", "add", "dev", device, "root", "tbf", "rate", strconv.FormatInt(int64(r), 10) + "bit",
		"burst", strconv.FormatInt(burst, 10) + "b", "limit", strconv.FormatInt(limit, 10) + "b"}
}

// tune gives the calling thread's namespace the buffers that Linux comes with,
// whatever this machine is set to, and no IPv6.
func tune() error {
	return errors.Join(
		sysctl("net/ipv6/conf/all/disable_ipv6", "1"),
		sysctl("net/ipv4/tcp_rmem", "4096 131072 6291456"),
		sysctl("net/ipv4/tcp_wmem", "4096 16384 4194304"),
	)
}

func sysctl(name, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
	if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(name, "net/ipv6/") {
		return nil // a kernel without IPv6
	}
	return err
}

// traffic is what passed a host's cable, in bytes.
type traffic struct{ sent, received int64 }

// traffic returns what has passed each cable so far, by the host's port. The
// bridge's ends count the same bytes as the hosts' do, and are one file.
func (n *network) traffic() (map[string]traffic, error) {
	var text []byte
	err := inside(n.bridge, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count bytes: %w", err)
	}
	return parseTraffic(text)
}

// parseTraffic reads /proc/net/dev of the bridge's namespace.
func parseTraffic(text []byte) (map[string]traffic, error) {
	all := map[string]traffic{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		device, rest, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			continue // the two lines of headings
		}
		columns := strings.Fields(rest)
		if len(columns) < 16 {
			return nil, fmt.Errorf("count bytes: cannot read %q", lines.Text())
		}
		in, err1 := strconv.ParseInt(columns[0], 10, 64)
		out, err2 := strconv.ParseInt(columns[8], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("count bytes: %w", err)
		}
		all[strings.TrimSpace(device)] = traffic{sent: in, received: out}
	}
	return all, nil
}

// inside calls f on a thread of its own in a namespace. What f starts stays
// in there.
func inside(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("in %s: %v", namespace, p)
			}
		}()
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		file, err := os.Open(filepath.Join(namespaces, namespace))
		if err != nil {
			done <- err
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", namespace, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// dial connects from within the host.
func (h host) dial(ctx context.Context, kind, address string) (c net.Conn, err error) {
	err = inside(h.namespace, func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, kind, address)
		return err
	})
	return c, err
}

// client returns an HTTP client that works from within the host.
func (h host) client() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: h.dial}}
}

// runTool runs a short command with the given input.
func runTool(ctx context.Context, in, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

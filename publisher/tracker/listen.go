package tracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"syscall"
)

// socketBuffer is asked for on each socket, so that a burst of announces
// waits rather than being dropped. The system may grant less.
const socketBuffer = 4 << 20

// ListenUDP opens the sockets for addr, "host:port": for an address as many as there
// are processors to serve them, among which the system spreads the packets; for an
// empty host those of IPv4 and of IPv6 (only IPv4 if this machine has no IPv6); for a
// name those of each of its addresses. Port 0 takes a free port, the same on all. It
// fails if another process has the port. The caller closes them.
func ListenUDP(ctx context.Context, addr string) ([]*net.UDPConn, error) {
	conns, err := listenUDP(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("listen for UDP tracker packets on %q: %w", addr, err)
	}
	return conns, nil
}

func listenUDP(ctx context.Context, addr string) ([]*net.UDPConn, error) {
	host, portName, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", portName)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if host != "" {
		if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, err
		}
	}
	for attempt := 1; ; attempt++ {
		conns, err := listenAll(ctx, addrs, port, host == "")
		// A free port of one address may be taken on the next.
		if port == 0 && errors.Is(err, syscall.EADDRINUSE) && attempt < 10 {
			continue
		}
		return conns, err
	}
}

func listenAll(ctx context.Context, addrs []netip.Addr, port int, wildcard bool) (conns []*net.UDPConn, err error) {
	defer func() {
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			conns = nil
		}
	}()
	for _, a := range addrs {
		some, err := listenAt(ctx, a.Unmap(), port)
		conns = append(conns, some...)
		if err != nil {
			if wildcard && a.Is6() && noIPv6(err) {
				continue
			}
			return conns, err
		}
		port = some[0].LocalAddr().(*net.UDPAddr).Port
	}
	return conns, nil
}

// listenAt opens the sockets of one address.
func listenAt(ctx context.Context, a netip.Addr, port int) (conns []*net.UDPConn, err error) {
	network := "udp4"
	if a.Is6() {
		network = "udp6" // sets IPV6_V6ONLY
	}
	open := func(lc net.ListenConfig) (*net.UDPConn, error) {
		c, err := lc.ListenPacket(ctx, network, net.JoinHostPort(a.String(), strconv.Itoa(port)))
		if err != nil {
			return nil, err
		}
		conn := c.(*net.UDPConn)
		port = conn.LocalAddr().(*net.UDPAddr).Port
		return conn, nil
	}
	// Sockets that share a port would share it with another process's too.
	alone, err := open(net.ListenConfig{})
	if err != nil || sharePort == nil {
		if err == nil {
			conns = append(conns, alone)
		}
		return conns, err
	}
	alone.Close()
	for range runtime.GOMAXPROCS(0) {
		conn, err := open(net.ListenConfig{Control: sharePort})
		if err != nil {
			return conns, err
		}
		conn.SetReadBuffer(socketBuffer)
		conns = append(conns, conn)
	}
	return conns, nil
}

func noIPv6(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

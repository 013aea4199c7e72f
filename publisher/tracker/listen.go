package tracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// socketBuffer is asked for on each socket, so that a burst of announces
// waits rather than being dropped. The system may grant less.
const socketBuffer = 4 << 20

// ListenUDP opens the sockets for addr, "host:port": for an address one, for
// an empty host two, IPv4 and IPv6 (only IPv4 if this machine has no IPv6), for
// a name one for each of its addresses. Port 0 takes a free port, the same on
// all. The caller closes them.
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
	var lc net.ListenConfig
	for _, a := range addrs {
		a = a.Unmap()
		network := "udp4"
		if a.Is6() {
			network = "udp6" // sets IPV6_V6ONLY
		}
		c, err := lc.ListenPacket(ctx, network, net.JoinHostPort(a.String(), strconv.Itoa(port)))
		if err != nil {
			if wildcard && a.Is6() && noIPv6(err) {
				continue
			}
			return conns, err
		}
		conn := c.(*net.UDPConn)
		conns = append(conns, conn)
		conn.SetReadBuffer(socketBuffer)
		if port == 0 {
			port = conn.LocalAddr().(*net.UDPAddr).Port
		}
	}
	return conns, nil
}

func noIPv6(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

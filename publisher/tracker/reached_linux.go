package tracker

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// enableReached makes the kernel say with every packet which local address it
// came to.
func enableReached(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	err2 := raw.Control(func(fd uintptr) {
		var family int
		if family, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
			return
		}
		if family == unix.AF_INET6 {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	})
	if err2 != nil {
		return err2
	}
	return err
}

// reachedBy returns the local address that a packet came to, and the control
// message that makes its answer leave from there: the same one, but without
// the interface, for that is the routing table's to choose (except among
// link-local addresses). Without a control message, the address is local.
func reachedBy(oob []byte, local netip.Addr) (netip.Addr, []byte) {
	if len(oob) < unix.CmsgLen(0) {
		return local, nil
	}
	hdr, data, _, err := unix.ParseOneSocketControlMessage(oob)
	switch {
	case err != nil:
	case hdr.Level == unix.IPPROTO_IP && hdr.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		// struct in_pktinfo: interface, local address, destination address
		clear(data[:4])
		return netip.AddrFrom4([4]byte(data[4:8])), oob
	case hdr.Level == unix.IPPROTO_IPV6 && hdr.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		// struct in6_pktinfo: destination address, interface
		a := netip.AddrFrom16([16]byte(data[:16]))
		if !a.IsLinkLocalUnicast() {
			clear(data[16:20])
		}
		return a, oob
	}
	return local, nil
}

package tracker

import (
	"encoding/binary"
	"net/netip"
)

// class says how far an address reaches. A peer is told only of peers that it
// can reach: the public ones, and those of its own class (see reaches).
type class uint8

const (
	public    class = iota
	private         // RFC 1918, RFC 4193
	shared          // RFC 6598, carrier-grade NAT
	linkLocal       // RFC 3927, RFC 4291
	loopback
)

var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

func classOf(a netip.Addr) class {
	switch {
	case a.IsLoopback():
		return loopback
	case a.IsPrivate():
		return private
	case a.IsLinkLocalUnicast():
		return linkLocal
	case sharedRange.Contains(a):
		return shared
	}
	return public
}

// reaches reports whether somebody at an address of class c may be told of
// one of class to. Whoever comes from loopback is on this machine, so it
// reaches all that this machine reaches.
func (c class) reaches(to class) bool {
	return to == public || to == c || c == loopback
}

// MayTell reports whether a peer at one address may be told of a peer at
// another: everybody of public ones, others only of those that they reach.
func MayTell(to, about netip.Addr) bool { return classOf(plain(to)).reaches(classOf(plain(about))) }

// usable reports whether a is an address that a peer can have.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// plain returns a as it is stored and compared: IPv4-mapped addresses as
// IPv4, and without a zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// The sizes of an address and port in a compact peer list (BEP 23, BEP 7).
const (
	width4 = 4 + 2
	width6 = 16 + 2
)

// endpoint is an address and port in the form of a compact peer list: the
// address, then the port, in network byte order.
type endpoint struct {
	b     [width6]byte
	width uint8 // width4 or width6
}

func endpointOf(ap netip.AddrPort) endpoint {
	var e endpoint
	a := ap.Addr().Unmap()
	if a.Is4() {
		e.width = width4
		a4 := a.As4()
		copy(e.b[:], a4[:])
	} else {
		e.width = width6
		a16 := a.As16()
		copy(e.b[:], a16[:])
	}
	binary.BigEndian.PutUint16(e.b[e.width-2:], ap.Port())
	return e
}

func (e *endpoint) bytes() []byte { return e.b[:e.width] }

// addrPortOf is the reverse of endpointOf; compact is width4 or width6 long.
func addrPortOf(compact []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(compact[:len(compact)-2])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(compact[len(compact)-2:]))
}

func widthOf(a netip.Addr) uint8 {
	if a.Is4() || a.Is4In6() {
		return width4
	}
	return width6
}

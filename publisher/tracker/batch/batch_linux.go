package batch

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the kernel's struct mmsghdr: a message, and how long it is.
type message struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// Conn is a UDP socket as a batch of slots. It is for one goroutine; several Conns
// may share a socket.
type Conn struct {
	raw   syscall.RawConn
	sizes Sizes

	in, out      []message
	inVec, vec   []unix.Iovec
	names        []unix.RawSockaddrInet6 // of the senders, one per slot; large enough for IPv4 too
	to           unix.RawSockaddrInet4   // of what is no reply
	inBuf, oob   []byte
	outBuf       []byte
	queued, left int // messages to be sent, and those of a batch under way that were not yet

	receive, send func(fd uintptr) bool // made once, so that they are not allocated per batch
	n             int
	errno         syscall.Errno
}

// New returns the socket as so many slots. It does not take the socket over.
func New(conn *net.UDPConn, slots int, sizes Sizes) (*Conn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("batch packets on %s: %w", conn.LocalAddr(), err)
	}
	c := &Conn{
		raw: raw, sizes: sizes,
		in: make([]message, slots), out: make([]message, slots),
		inVec: make([]unix.Iovec, slots), vec: make([]unix.Iovec, slots),
		names: make([]unix.RawSockaddrInet6, slots),
		inBuf: make([]byte, slots*sizes.In), oob: make([]byte, slots*sizes.OOB), outBuf: make([]byte, slots*sizes.Out),
	}
	for i := range c.in {
		c.inVec[i].Base = &c.inBuf[i*sizes.In]
		c.inVec[i].SetLen(sizes.In)
		c.in[i].hdr.Iov, c.out[i].hdr.Iov = &c.inVec[i], &c.vec[i]
		c.in[i].hdr.SetIovlen(1)
		c.out[i].hdr.SetIovlen(1)
		c.in[i].hdr.Name = (*byte)(unsafe.Pointer(&c.names[i]))
		if sizes.OOB > 0 {
			c.in[i].hdr.Control = &c.oob[i*sizes.OOB]
		}
	}
	c.receive = func(fd uintptr) bool {
		n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&c.in[0])), uintptr(len(c.in)), unix.MSG_DONTWAIT, 0, 0)
		c.n, c.errno = int(n), errno
		return errno != syscall.EAGAIN && errno != syscall.EINTR
	}
	c.send = func(fd uintptr) bool {
		n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&c.out[c.queued-c.left])), uintptr(c.left), unix.MSG_DONTWAIT, 0, 0)
		c.n, c.errno = int(n), errno
		return errno != syscall.EAGAIN && errno != syscall.EINTR
	}
	return c, nil
}

// Receive waits for packets and returns how many there are. They are good until
// the next call. It ends with an error at the socket's read deadline.
func (c *Conn) Receive() (int, error) {
	for i := range c.in {
		h := &c.in[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(c.sizes.OOB)
	}
	if err := c.raw.Read(c.receive); err != nil {
		return 0, err
	}
	if c.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", c.errno)
	}
	return c.n, nil
}

// In returns the packet in slot i, and its control messages.
func (c *Conn) In(i int) (p, oob []byte) {
	m := &c.in[i]
	start := i * c.sizes.OOB
	return c.inBuf[i*c.sizes.In:][:m.len], c.oob[start : start+int(m.hdr.Controllen)]
}

// From returns who sent the packet in slot i.
func (c *Conn) From(i int) netip.AddrPort {
	name := &c.names[i]
	// A port is two bytes in network order, wherever they are read.
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), port)
}

// Out returns the memory for the packet that is queued next, empty.
func (c *Conn) Out() []byte {
	i := c.queued
	return c.outBuf[i*c.sizes.Out : i*c.sizes.Out : (i+1)*c.sizes.Out]
}

// Reply queues p, in Out's memory or any other that stays as it is until Flush, for
// whoever sent the packet in slot i. oob says from which address, if it is not empty.
func (c *Conn) Reply(i int, p, oob []byte) {
	h := &c.out[c.queued].hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.names[i])), c.in[i].hdr.Namelen
	c.queue(p, oob)
}

// Dial sets where packets go that are no replies: an IPv4 address.
func (c *Conn) Dial(to netip.AddrPort) {
	c.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&c.to.Port))[:], to.Port())
}

// Queue queues p, as Reply does, for where Dial says.
func (c *Conn) Queue(p, oob []byte) {
	h := &c.out[c.queued].hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.to)), unix.SizeofSockaddrInet4
	c.queue(p, oob)
}

func (c *Conn) queue(p, oob []byte) {
	h := &c.out[c.queued].hdr
	h.Control = unsafe.SliceData(oob)
	h.SetControllen(len(oob))
	c.vec[c.queued].Base = unsafe.SliceData(p)
	c.vec[c.queued].SetLen(len(p))
	c.queued++
}

// Queued returns how many packets wait for Flush. There is room for as many as
// there are slots.
func (c *Conn) Queued() int { return c.queued }

// Flush sends what is queued. A packet that the system refuses is dropped; the
// last refusal is returned.
func (c *Conn) Flush() (err error) {
	defer runtime.KeepAlive(c)
	for c.left = c.queued; c.left > 0; {
		if werr := c.raw.Write(c.send); werr != nil {
			c.queued = 0
			return werr
		}
		if c.errno != 0 {
			err = os.NewSyscallError("sendmmsg", c.errno)
			c.n = 1 // the first of them is refused
		}
		c.left -= c.n
	}
	c.queued = 0
	return err
}

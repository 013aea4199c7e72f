//go:build !linux

package batch

import (
	"net"
	"net/netip"
)

// Conn is a UDP socket as a batch of one slot. It is for one goroutine; several
// Conns may share a socket.
type Conn struct {
	conn         *net.UDPConn
	in, oob, out []byte
	n, oobn      int
	from         netip.AddrPort
	reply        []byte
	replyOOB     []byte
	queued       int
}

// New returns the socket as one slot. It does not take the socket over.
func New(conn *net.UDPConn, _ int, sizes Sizes) (*Conn, error) {
	return &Conn{
		conn: conn,
		in:   make([]byte, sizes.In), oob: make([]byte, sizes.OOB), out: make([]byte, sizes.Out),
	}, nil
}

// Receive waits for a packet and returns 1. It is good until the next call. It
// ends with an error at the socket's read deadline.
func (c *Conn) Receive() (n int, err error) {
	c.n, c.oobn, _, c.from, err = c.conn.ReadMsgUDPAddrPort(c.in, c.oob)
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// In returns the packet, and its control messages.
func (c *Conn) In(int) (p, oob []byte) { return c.in[:c.n], c.oob[:c.oobn] }

// From returns who sent the packet.
func (c *Conn) From(int) netip.AddrPort { return c.from }

// Out returns the memory for the packet that is queued next, empty.
func (c *Conn) Out() []byte { return c.out[:0] }

// Reply queues p for whoever sent the packet. oob says from which address, if it
// is not empty.
func (c *Conn) Reply(_ int, p, oob []byte) { c.reply, c.replyOOB, c.queued = p, oob, 1 }

// Queued returns how many packets wait for Flush. There is room for one.
func (c *Conn) Queued() int { return c.queued }

// Flush sends what is queued.
func (c *Conn) Flush() error {
	if c.queued == 0 {
		return nil
	}
	c.queued = 0
	_, _, err := c.conn.WriteMsgUDPAddrPort(c.reply, c.replyOOB, c.from)
	return err
}

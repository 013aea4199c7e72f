// Package peerwire speaks the BitTorrent peer protocol on one connection:
// handshakes (BEP 3), their obfuscated form (Message Stream Encryption, MSE),
// message framing, the fast extension (BEP 6) and the extension protocol
// (BEP 10) with metadata (BEP 9) and peer exchange (BEP 11).
//
// [Accept] answers an incoming connection up to and including the peer's
// handshake and returns a [Conn]. [Conn.Next] reads messages out of one small
// buffer without allocating, and [Conn.More] tells whether the next one has
// arrived already, so that all requests that wait are answered by one
// [Conn.WriteBuffers]. Everything read is bounded before it is kept.
//
// It knows nothing of torrents' content, and leaves what to say and when to
// its callers.
package peerwire

import (
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// Protocol begins every plain handshake.
const Protocol = "\x13BitTorrent protocol"

// handshakeLen is the length of a handshake: protocol, reserved bits, info-hash, peer id.
const handshakeLen = len(Protocol) + 8 + 20 + 20

// PeerID names a client in a handshake, by convention as BEP 20 says.
type PeerID [20]byte

// Reserved are the handshake's bits that say what a client can do.
type Reserved [8]byte

// The extensions that a client announces in its handshake.
var (
	bitExtended = [2]byte{5, 0x10} // BEP 10
	bitFast     = [2]byte{7, 0x04} // BEP 6
	bitDHT      = [2]byte{7, 0x01} // BEP 5
)

// OurReserved says that we know the fast extension and the extension protocol.
func OurReserved() (r Reserved) {
	for _, b := range [][2]byte{bitExtended, bitFast} {
		r[b[0]] |= b[1]
	}
	return r
}

// WithDHT says also that we run a DHT node (BEP 5).
func (r Reserved) WithDHT() Reserved {
	r[bitDHT[0]] |= bitDHT[1]
	return r
}

// Extended reports whether the client knows the extension protocol (BEP 10).
func (r Reserved) Extended() bool { return r[bitExtended[0]]&bitExtended[1] != 0 }

// Fast reports whether the client knows the fast extension (BEP 6).
func (r Reserved) Fast() bool { return r[bitFast[0]]&bitFast[1] != 0 }

// DHT reports whether the client runs a DHT node (BEP 5).
func (r Reserved) DHT() bool { return r[bitDHT[0]]&bitDHT[1] != 0 }

// Hello is the content of a handshake.
type Hello struct {
	Reserved Reserved
	InfoHash infohash.T
	PeerID   PeerID
}

// Append appends the handshake to b.
func (h Hello) Append(b []byte) []byte {
	b = append(b, Protocol...)
	b = append(b, h.Reserved[:]...)
	b = append(b, h.InfoHash[:]...)
	return append(b, h.PeerID[:]...)
}

// Sizes of a connection's read buffer, bytes. It holds 240 requests, and grows
// only for a message that needs it.
const (
	bufferSize   = 4 << 10
	maxExtension = 64 << 10 // no extension message of a leecher needs more
)

// Conn is a connection after its handshake. One goroutine may read while
// another writes; Close may be called by any.
type Conn struct {
	raw  net.Conn
	dec  *rc4.Cipher // nil on a plain connection
	enc  *rc4.Cipher
	buf  []byte
	r, w int // buf[r:w] was read and not yet consumed; already decrypted
	most int // the longest message that is accepted, bytes
}

// KeyFinder returns the info-hash whose [Key] is key, if it is one of ours.
type KeyFinder func(key [20]byte) (infohash.T, bool)

// Accept reads the handshake on an incoming connection, plain or obfuscated.
// It does not answer it (an obfuscated one is answered as far as MSE goes).
// The caller sets the deadline and closes raw after an error.
func Accept(raw net.Conn, find KeyFinder) (*Conn, Hello, error) {
	c := newConn(raw)
	if err := c.need(len(Protocol)); err != nil {
		return nil, Hello{}, fmt.Errorf("read a handshake: %w", err)
	}
	if string(c.buf[:len(Protocol)]) != Protocol {
		if err := c.acceptEncrypted(find); err != nil {
			return nil, Hello{}, fmt.Errorf("read an encrypted handshake: %w", err)
		}
	}
	h, err := c.readHello()
	return c, h, err
}

// Open sends a plain handshake on an outgoing connection and reads the answer,
// which must be for the same info-hash.
func Open(raw net.Conn, ours Hello) (*Conn, Hello, error) {
	if _, err := raw.Write(ours.Append(nil)); err != nil {
		return nil, Hello{}, fmt.Errorf("send a handshake: %w", err)
	}
	return newConn(raw).opened(ours)
}

// OpenEncrypted is like Open, for a peer that takes encrypted connections only.
func OpenEncrypted(raw net.Conn, ours Hello) (*Conn, Hello, error) {
	c := newConn(raw)
	if err := c.openEncrypted(ours.InfoHash, ours.Append(nil)); err != nil {
		return nil, Hello{}, fmt.Errorf("send an encrypted handshake: %w", err)
	}
	return c.opened(ours)
}

// opened reads the answer to our handshake.
func (c *Conn) opened(ours Hello) (*Conn, Hello, error) {
	h, err := c.readHello()
	if err == nil && h.InfoHash != ours.InfoHash {
		err = fmt.Errorf("read a handshake: it is for %v, not for %v", h.InfoHash, ours.InfoHash)
	}
	return c, h, err
}

func newConn(raw net.Conn) *Conn {
	return &Conn{raw: raw, buf: make([]byte, bufferSize), most: 1 + 1 + maxExtension}
}

func (c *Conn) readHello() (h Hello, err error) {
	b, err := c.take(handshakeLen)
	if err != nil {
		return h, fmt.Errorf("read a handshake: %w", err)
	}
	if string(b[:len(Protocol)]) != Protocol {
		return h, errors.New("read a handshake: it is not BitTorrent's")
	}
	b = b[len(Protocol):]
	b = b[copy(h.Reserved[:], b):]
	b = b[copy(h.InfoHash[:], b):]
	copy(h.PeerID[:], b)
	return h, nil
}

// Encrypted reports whether the connection is encrypted, so that what is
// written must be copied.
func (c *Conn) Encrypted() bool { return c.enc != nil }

// AllowPieces makes room for a BITFIELD of so many pieces.
func (c *Conn) AllowPieces(n int) { c.most = max(1+1+maxExtension, 1+(n+7)/8) }

// SetReadDeadline and SetWriteDeadline are those of the connection.
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.raw.SetReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }

// Close closes the connection; a blocked read or write then returns.
func (c *Conn) Close() error { return c.raw.Close() }

// Write sends b. On an encrypted connection it encrypts b in place, so that
// the caller must own it.
func (c *Conn) Write(b []byte) (int, error) {
	if c.enc != nil {
		c.enc.XORKeyStream(b, b)
	}
	return c.raw.Write(b)
}

// WriteBuffers sends all buffers with one vectored write and consumes them. It
// must not be called on an encrypted connection.
func (c *Conn) WriteBuffers(bufs *net.Buffers) (int64, error) {
	if c.enc != nil {
		panic("peerwire: vectored write on an encrypted connection")
	}
	return bufs.WriteTo(c.raw)
}

// need reads until n bytes wait in the buffer, which grows if it must.
func (c *Conn) need(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	if c.r+n > len(c.buf) {
		to := c.buf
		if n > len(to) {
			to = make([]byte, n)
		}
		c.w = copy(to, c.buf[c.r:c.w])
		c.buf, c.r = to, 0
	}
	for c.w-c.r < n {
		m, err := c.raw.Read(c.buf[c.w:])
		if c.dec != nil {
			c.dec.XORKeyStream(c.buf[c.w:c.w+m], c.buf[c.w:c.w+m])
		}
		c.w += m
		if err != nil && c.w-c.r < n {
			if err == io.EOF && c.w > c.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// take returns the next n bytes, valid until the next read.
func (c *Conn) take(n int) ([]byte, error) {
	if err := c.need(n); err != nil {
		return nil, err
	}
	b := c.buf[c.r : c.r+n]
	c.r += n
	if c.r == c.w {
		c.r, c.w = 0, 0
		if len(c.buf) > bufferSize { // the long message is over
			c.buf = make([]byte, bufferSize)
		}
	}
	return b, nil
}

// More reports whether a whole message waits in the buffer.
func (c *Conn) More() bool {
	have := c.w - c.r
	return have >= 4 && have-4 >= int(binary.BigEndian.Uint32(c.buf[c.r:]))
}

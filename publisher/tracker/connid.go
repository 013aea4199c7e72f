package tracker

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// ConnectionKey signs connection ids. It prints as [redacted].
type ConnectionKey [16]byte

// Format keeps the key out of logs and error messages, whatever the verb.
func (ConnectionKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// MarshalText keeps it out of structured logs too.
func (ConnectionKey) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// connectionIDs makes and checks the connection ids of BEP 15, which prove
// that whoever uses one receives packets at the address that it sends from.
// Nothing is stored per client. An id is
//
//	16 bits  when it was made: minutes since 1970, the lowest 16 bits
//	48 bits  a MAC over the address (not the port) and all bits of the minute
//
// The MAC is AES in CBC mode over exactly two blocks, for which length CBC-MAC
// is sound. Since it covers the whole time, an id that is as old as the 16
// bits take to come round (45 days) does not become good again, and the key
// need not be changed for that.
type connectionIDs struct {
	block  cipher.Block
	window int // minutes
}

func newConnectionIDs(key ConnectionKey, window time.Duration) *connectionIDs {
	if key == (ConnectionKey{}) {
		rand.Read(key[:]) // never fails, see crypto/rand
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return &connectionIDs{block: block, window: int((window + time.Minute - 1) / time.Minute)}
}

// scratch is memory for the MAC, which would else be allocated per packet.
type scratch struct{ a, b [aes.BlockSize]byte }

func (c *connectionIDs) make(addr netip.Addr, minute int64, s *scratch) uint64 {
	s.a = addr.As16()
	c.block.Encrypt(s.b[:], s.a[:])
	var m [8]byte
	binary.BigEndian.PutUint64(m[:], uint64(minute))
	for i := range m {
		s.b[i] ^= m[i]
	}
	c.block.Encrypt(s.a[:], s.b[:])
	mac := binary.BigEndian.Uint64(s.a[:]) >> 16
	return uint64(uint16(minute))<<48 | mac
}

// good reports whether id was made for addr within the window, or up to a
// minute ahead, by an instance whose clock is.
func (c *connectionIDs) good(id uint64, addr netip.Addr, minute int64, s *scratch) bool {
	age := int16(uint16(minute) - uint16(id>>48))
	if age < -1 || int(age) > c.window {
		return false
	}
	// Comparing two words takes the same time whatever they hold.
	return c.make(addr, minute-int64(age), s) == id
}

package peerwire

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/anacrolix/torrent/types/infohash"
)

// ID is a message's type.
type ID uint8

// Messages of BEP 3, 5, 6 and 10.
const (
	Choke         ID = 0
	Unchoke       ID = 1
	Interested    ID = 2
	NotInterested ID = 3
	Have          ID = 4
	Bitfield      ID = 5
	Request       ID = 6
	Piece         ID = 7
	Cancel        ID = 8
	Port          ID = 9
	Suggest       ID = 13
	HaveAll       ID = 14
	HaveNone      ID = 15
	Reject        ID = 16
	AllowedFast   ID = 17
	Extended      ID = 20

	// KeepAlive is the message without a type.
	KeepAlive ID = 255
)

// Block is a part of a piece.
type Block struct {
	Index  uint32 // of the piece
	Begin  uint32 // bytes from the piece's start
	Length uint32 // bytes
}

// Message is one message as read.
type Message struct {
	ID      ID
	Block   Block  // REQUEST, CANCEL, REJECT; only Index for HAVE, SUGGEST, ALLOWED FAST
	Ext     uint8  // EXTENDED: which extension; 0 is the extension handshake
	Port    uint16 // PORT: where the sender's DHT node listens (BEP 5)
	Payload []byte // BITFIELD, EXTENDED; valid until the next read
}

// fixed is the length of the messages that have one, without their type.
var fixed = map[ID]int{
	Choke: 0, Unchoke: 0, Interested: 0, NotInterested: 0, HaveAll: 0, HaveNone: 0,
	Have: 4, Suggest: 4, AllowedFast: 4, Port: 2,
	Request: 12, Cancel: 12, Reject: 12,
}

// Next reads the next message. Messages of unknown types are passed over. A
// message that is malformed, longer than allowed or a PIECE (nothing is ever
// requested here) is an error, after which the connection is of no use.
func (c *Conn) Next() (Message, error) {
	for {
		b, err := c.take(4)
		if err != nil {
			return Message{}, err
		}
		n := binary.BigEndian.Uint32(b)
		if n == 0 {
			return Message{ID: KeepAlive}, nil
		}
		if n > uint32(c.most) {
			return Message{}, fmt.Errorf("a message of %d bytes: at most %d are accepted", n, c.most)
		}
		b, err = c.take(int(n))
		if err != nil {
			return Message{}, err
		}
		m, known, err := parse(ID(b[0]), b[1:])
		if known || err != nil {
			return m, err
		}
	}
}

func parse(id ID, b []byte) (m Message, known bool, err error) {
	m.ID = id
	if n, ok := fixed[id]; ok && len(b) != n {
		return m, true, fmt.Errorf("message %d has %d bytes, want %d", id, len(b), n)
	}
	switch id {
	case Request, Cancel, Reject:
		m.Block = Block{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}
	case Have, Suggest, AllowedFast:
		m.Block.Index = binary.BigEndian.Uint32(b)
	case Bitfield:
		m.Payload = b
	case Extended:
		if len(b) == 0 {
			return m, true, fmt.Errorf("an extension message without a type")
		}
		m.Ext, m.Payload = b[0], b[1:]
	case Piece:
		return m, true, fmt.Errorf("a PIECE that nobody requested")
	case Port:
		m.Port = binary.BigEndian.Uint16(b)
	case Choke, Unchoke, Interested, NotInterested, HaveAll, HaveNone:
	default:
		return m, false, nil
	}
	return m, true, nil
}

// PieceHeaderLen is the length of what precedes a block in a PIECE message.
const PieceHeaderLen = 13

// AppendPieceHeader appends what precedes the bytes of block in a PIECE message.
func AppendPieceHeader(b []byte, block Block) []byte {
	b = appendHead(b, Piece, 8+int(block.Length))
	b = binary.BigEndian.AppendUint32(b, block.Index)
	return binary.BigEndian.AppendUint32(b, block.Begin)
}

// AppendBlock appends a REQUEST, CANCEL or REJECT.
func AppendBlock(b []byte, id ID, block Block) []byte {
	b = appendHead(b, id, 12)
	b = binary.BigEndian.AppendUint32(b, block.Index)
	b = binary.BigEndian.AppendUint32(b, block.Begin)
	return binary.BigEndian.AppendUint32(b, block.Length)
}

// AppendBare appends a message that is only a type: CHOKE, UNCHOKE, HAVE ALL, …
func AppendBare(b []byte, id ID) []byte { return appendHead(b, id, 0) }

// AppendPort appends a PORT, which says where our DHT node listens (BEP 5).
func AppendPort(b []byte, port uint16) []byte {
	return binary.BigEndian.AppendUint16(appendHead(b, Port, 2), port)
}

// AppendIndex appends a HAVE, SUGGEST or ALLOWED FAST.
func AppendIndex(b []byte, id ID, index uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, id, 4), index)
}

// AppendBitfield appends a BITFIELD of so many pieces, all of them had.
func AppendBitfield(b []byte, pieces int) []byte {
	n := (pieces + 7) / 8
	b = appendHead(b, Bitfield, n)
	for range n {
		b = append(b, 0xff)
	}
	if pieces%8 != 0 {
		b[len(b)-1] <<= 8 - pieces%8 // spare bits are zero
	}
	return b
}

// AppendKeepAlive appends the message that only says that we are there.
func AppendKeepAlive(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// AppendExtended appends an extension message.
func AppendExtended(b []byte, ext uint8, payload ...[]byte) []byte {
	n := 1
	for _, p := range payload {
		n += len(p)
	}
	b = append(appendHead(b, Extended, n), ext)
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

func appendHead(b []byte, id ID, n int) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(n+1)), byte(id))
}

// allowedFastCount is how many pieces a peer may ask for while it is choked.
const allowedFastCount = 10

// AllowedFastSet returns the pieces that a peer at an address may ask for while
// it is choked, by the canonical algorithm of BEP 6, which knows IPv4 only.
func AllowedFastSet(addr netip.Addr, ih infohash.T, pieces int) []uint32 {
	if !addr.Is4() || pieces <= 0 {
		return nil
	}
	ip := addr.As4()
	ip[3] = 0 // a user has a whole /24
	x := sha1.Sum(append(ip[:], ih[:]...))
	var set []uint32
	for len(set) < min(allowedFastCount, pieces) {
		for i := 0; i < len(x) && len(set) < min(allowedFastCount, pieces); i += 4 {
			if index := binary.BigEndian.Uint32(x[i:]) % uint32(pieces); !slices.Contains(set, index) {
				set = append(set, index)
			}
		}
		x = sha1.Sum(x[:])
	}
	return set
}

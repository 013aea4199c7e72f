package peerwire

import (
	"fmt"
	"net/netip"

	"github.com/anacrolix/torrent/bencode"
)

// The numbers by which peers address our extensions.
const (
	ExtHandshake uint8 = 0
	ExtMetadata  uint8 = 1
	ExtPEX       uint8 = 2
)

// Extensions is what an extension handshake (BEP 10) tells. Zero numbers mean
// that the peer does not know that extension.
type Extensions struct {
	Metadata     uint8      // BEP 9: how to address ut_metadata
	PEX          uint8      // BEP 11: how to address ut_pex
	Client       string     // name and version
	Requests     int        // how many requests may wait at once; 0: not said
	MetadataSize int        // bytes of the info dictionary; 0: not said
	YourIP       netip.Addr // the receiver's address as the sender sees it
	Port         uint16     // where the sender listens; 0: not said
	UploadOnly   bool       // BEP 21: the sender wants nothing
}

type extensionsWire struct {
	M            map[string]int64 `bencode:"m"`
	MetadataSize int64            `bencode:"metadata_size,omitempty"`
	Port         int64            `bencode:"p,omitempty"`
	Requests     int64            `bencode:"reqq,omitempty"`
	UploadOnly   int64            `bencode:"upload_only,omitempty"`
	Client       string           `bencode:"v,omitempty"`
	YourIP       string           `bencode:"yourip,omitempty"`
}

// Encode returns the payload of an extension handshake.
func (e Extensions) Encode() []byte {
	w := extensionsWire{
		M:            map[string]int64{},
		MetadataSize: int64(e.MetadataSize),
		Port:         int64(e.Port),
		Requests:     int64(e.Requests),
		Client:       e.Client,
		YourIP:       string(e.YourIP.AsSlice()),
	}
	if e.Metadata != 0 {
		w.M["ut_metadata"] = int64(e.Metadata)
	}
	if e.PEX != 0 {
		w.M["ut_pex"] = int64(e.PEX)
	}
	if e.UploadOnly {
		w.UploadOnly = 1
	}
	return bencode.MustMarshal(&w)
}

// ParseExtensions reads the payload of an extension handshake. What is out of
// range in it counts as not said.
func ParseExtensions(b []byte) (Extensions, error) {
	var w extensionsWire
	if err := bencode.Unmarshal(b, &w); err != nil {
		return Extensions{}, fmt.Errorf("parse an extension handshake: %w", err)
	}
	number := func(name string) uint8 {
		if n := w.M[name]; n > 0 && n < 256 {
			return uint8(n)
		}
		return 0
	}
	e := Extensions{
		Metadata:   number("ut_metadata"),
		PEX:        number("ut_pex"),
		Client:     w.Client[:min(len(w.Client), 64)],
		UploadOnly: w.UploadOnly != 0,
	}
	if w.Requests > 0 && w.Requests < 1<<20 {
		e.Requests = int(w.Requests)
	}
	if w.MetadataSize > 0 && w.MetadataSize < 1<<30 {
		e.MetadataSize = int(w.MetadataSize)
	}
	if w.Port > 0 && w.Port < 1<<16 {
		e.Port = uint16(w.Port)
	}
	e.YourIP, _ = netip.AddrFromSlice([]byte(w.YourIP))
	return e, nil
}

// MetadataPiece is how much of an info dictionary one message carries (BEP 9), bytes.
const MetadataPiece = 16 << 10

// The types of metadata messages (BEP 9).
const (
	metadataRequest = 0
	metadataData    = 1
	metadataReject  = 2
)

type metadataWire struct {
	Type  int64 `bencode:"msg_type"`
	Piece int64 `bencode:"piece"`
	Total int64 `bencode:"total_size,omitempty"`
}

// ParseMetadataRequest returns the piece of the info dictionary that a
// metadata message asks for. ok is false for messages that ask for nothing.
func ParseMetadataRequest(b []byte) (piece int, ok bool, err error) {
	var w metadataWire
	if err := bencode.Unmarshal(b, &w); err != nil {
		return 0, false, fmt.Errorf("parse a metadata message: %w", err)
	}
	if w.Type != metadataRequest {
		return 0, false, nil
	}
	if w.Piece < 0 || w.Piece > 1<<20 {
		return 1 << 20, true, nil
	}
	return int(w.Piece), true, nil
}

// AppendMetadata appends the answer to a metadata request, which is a
// rejection when info has no such piece. ext is the peer's number for
// ut_metadata.
func AppendMetadata(b []byte, ext uint8, info []byte, piece int) []byte {
	from := piece * MetadataPiece
	if piece < 0 || from >= len(info) {
		return AppendExtended(b, ext, bencode.MustMarshal(&metadataWire{Type: metadataReject, Piece: int64(piece)}))
	}
	to := min(from+MetadataPiece, len(info))
	head := bencode.MustMarshal(&metadataWire{Type: metadataData, Piece: int64(piece), Total: int64(len(info))})
	return AppendExtended(b, ext, head, info[from:to])
}

type pexWire struct {
	Added    string `bencode:"added"`
	Flags    string `bencode:"added.f"`
	Added6   string `bencode:"added6"`
	Flags6   string `bencode:"added6.f"`
	Dropped  string `bencode:"dropped"`
	Dropped6 string `bencode:"dropped6"`
}

// AppendPEX appends a peer exchange message (BEP 11). ext is the peer's number
// for ut_pex.
func AppendPEX(b []byte, ext uint8, added, dropped []netip.AddrPort) []byte {
	var w pexWire
	w.Added, w.Added6 = compact(added)
	w.Dropped, w.Dropped6 = compact(dropped)
	w.Flags, w.Flags6 = string(make([]byte, len(w.Added)/6)), string(make([]byte, len(w.Added6)/18))
	return AppendExtended(b, ext, bencode.MustMarshal(&w))
}

// compact gives addresses in the form of BEP 23 and BEP 7.
func compact(peers []netip.AddrPort) (v4, v6 string) {
	var b4, b6 []byte
	for _, p := range peers {
		if a := p.Addr().Unmap(); a.Is4() {
			b4 = append(append(b4, a.AsSlice()...), byte(p.Port()>>8), byte(p.Port()))
		} else {
			b6 = append(append(b6, a.AsSlice()...), byte(p.Port()>>8), byte(p.Port()))
		}
	}
	return string(b4), string(b6)
}

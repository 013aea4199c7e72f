package torrentfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/types/infohash"
)

// Network is where a torrent's content can be had: what a .torrent file says
// beside its info dictionary.
type Network struct {
	Trackers [][]string // announce URLs in tiers (BEP 12); written as announce, and announce-list if there are several
	Webseeds []string   // escaped URLs (BEP 19): a file's own for a single-file torrent, else the parent directory's with a final '/'
	Nodes    []Node     // DHT nodes (BEP 5)
}

// Node is a DHT node.
type Node struct {
	Host string // a name or an address, IPv6 without brackets
	Port uint16
}

// MarshalBencode writes the node as the list that BEP 5 asks for.
func (n Node) MarshalBencode() ([]byte, error) { return bencode.Marshal([]any{n.Host, n.Port}) }

// WithNetwork returns the stored .torrent with n in place of whatever trackers,
// webseeds and nodes it names. The info dictionary is copied byte for byte, so
// the info-hash stays the same. Equal arguments give equal bytes.
func WithNetwork(stored []byte, n Network) ([]byte, error) {
	root := make(map[string]bencode.Bytes)
	err := whole(stored, func(c *cursor, key string) (err error) {
		root[key], err = c.raw()
		return err
	})
	if err == nil && root["info"] == nil {
		err = errors.New("it has no info dictionary")
	}
	if err != nil {
		return nil, fmt.Errorf("add trackers and webseeds to a torrent: %w", err)
	}
	maps.DeleteFunc(root, func(key string, _ bencode.Bytes) bool {
		return slices.Contains([]string{"announce", "announce-list", "nodes", "url-list"}, key)
	})
	tiers := slices.DeleteFunc(slices.Clone(n.Trackers), func(tier []string) bool { return len(tier) == 0 })
	if len(tiers) > 0 {
		root["announce"] = bencode.MustMarshal(tiers[0][0])
	}
	if len(tiers) > 1 || len(tiers) == 1 && len(tiers[0]) > 1 {
		root["announce-list"] = bencode.MustMarshal(tiers)
	}
	if len(n.Webseeds) > 0 {
		root["url-list"] = bencode.MustMarshal(n.Webseeds)
	}
	if len(n.Nodes) > 0 {
		root["nodes"] = bencode.MustMarshal(n.Nodes)
	}
	var out bytes.Buffer
	out.Grow(len(stored) + 1024)
	if err := bencode.NewEncoder(&out).Encode(root); err != nil {
		return nil, fmt.Errorf("add trackers and webseeds to a torrent: %w", err)
	}
	return out.Bytes(), nil
}

// Added returns how many bytes longer WithNetwork makes a stored .torrent.
func Added(n Network) (int, error) {
	const least = "d4:infodee"
	b, err := WithNetwork([]byte(least), n)
	return len(b) - len(least), err
}

// Magnet is a magnet link (BEP 9). Empty fields are left out.
type Magnet struct {
	InfoHash infohash.T
	Name     string   // dn: shown until the metadata is there
	Trackers []string // tr: announce URLs; clients try them in this order
	Webseeds []string // ws: as in Network
	Torrents []string // xs: URLs of the .torrent file
	Peers    []string // x.pe: host:port, IPv6 in brackets
}

// String returns the link. Every value is percent-encoded in full, '=' and '&'
// too, because some clients split before they decode; except that btih stands
// first and bare, and that the colons and brackets of x.pe stay, because
// libtorrent 2.0.8 does not decode them and would ignore the peer.
func (m Magnet) String() string {
	var b strings.Builder
	b.WriteString("magnet:?xt=urn:btih:" + m.InfoHash.HexString())
	add := func(key, unescaped string, values ...string) {
		for _, v := range values {
			if v != "" {
				b.WriteString("&" + key + "=")
				escape(&b, v, unescaped)
			}
		}
	}
	add("dn", "", m.Name)
	add("tr", "", m.Trackers...)
	add("ws", "", m.Webseeds...)
	add("xs", "", m.Torrents...)
	add("x.pe", ":[]", m.Peers...)
	return b.String()
}

// escape writes s with every byte percent-encoded that is neither unreserved
// (RFC 3986) nor in keep.
func escape(b *strings.Builder, s, keep string) {
	const hex = "0123456789ABCDEF"
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~", c) >= 0, strings.IndexByte(keep, c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
}

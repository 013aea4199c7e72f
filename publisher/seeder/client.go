package seeder

import (
	"strconv"
	"strings"
	"unicode"

	"dropseed/publisher/peerwire"
)

const clientMost = 64 // bytes of a client's name

// clientName returns a peer's client and version to be shown: what it said of
// itself, else what its peer id says (BEP 20). It is empty if neither says anything.
func clientName(said string, id peerwire.PeerID) string {
	if name := printable(said); name != "" {
		// libtorrent/2.0.8.0
		if before, after, ok := strings.Cut(name, "/"); ok && after != "" && !strings.Contains(before, " ") {
			name = before + " " + after
		}
		return name
	}
	// -qB4520-…
	if id[0] == '-' && id[7] == '-' {
		name, ok := clientCodes[string(id[1:3])]
		if !ok {
			name = printable(string(id[1:3]))
		}
		return strings.TrimSpace(name + " " + codedVersion(id[3:7]))
	}
	// A2-1-36-0-…, M7-10-5-…
	for _, dashed := range []struct{ code, name string }{{"A2-", "aria2"}, {"M", "BitTorrent"}} {
		if rest, ok := strings.CutPrefix(string(id[:12]), dashed.code); ok {
			if parts := strings.Split(strings.TrimRight(rest, "-"), "-"); len(parts) >= 3 && digits(strings.Join(parts[:3], "")) {
				return dashed.name + " " + strings.Join(parts[:3], ".")
			}
		}
	}
	return ""
}

// clientCodes are the clients that are met most and may not say their name,
// those that came from magnets and have nothing yet among them.
var clientCodes = map[string]string{
	"AZ": "Vuze", "BI": "BiglyBT", "BT": "BitTorrent", "DE": "Deluge", "DS": "dropseed", "FD": "Free Download Manager",
	"FL": "Folx", "GT": "anacrolix/torrent", "KT": "KTorrent", "LT": "libtorrent", "PI": "PicoTorrent", "qB": "qBittorrent",
	"RN": "rain", "TL": "Tribler", "TR": "Transmission", "TX": "Tixati", "UT": "µTorrent", "WD": "WebTorrent Desktop", "WW": "WebTorrent",
	"XL": "Xunlei", "lt": "rTorrent",
}

// codedVersion reads the four characters of a version in a peer id: digits, or
// letters for what is above nine. Zeros at the end are left out but for one.
func codedVersion(b []byte) string {
	var parts []string
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			parts = append(parts, string(c))
		case c >= 'A' && c <= 'Z':
			parts = append(parts, strconv.Itoa(10+int(c-'A')))
		default:
			return ""
		}
	}
	for len(parts) > 2 && parts[len(parts)-1] == "0" {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, ".")
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// printable returns what can be shown of bytes from a peer, in one line.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	if len(s) > clientMost {
		s = strings.ToValidUTF8(s[:clientMost], "")
	}
	return strings.TrimSpace(s)
}

package tracker

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"

	"github.com/anacrolix/torrent/types/infohash"
)

// maxQuery is the longest query that is looked at, in bytes. A scrape of 100
// info-hashes is 7 KB.
const maxQuery = 16 << 10

// pairs calls visit with each key and its raw value of a query string, until
// visit returns false. Unlike url.ParseQuery it leaves '+' alone, which is an
// ordinary byte of an info-hash, and takes ';' for one too.
func pairs(query string, visit func(key, raw string) bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if key, raw, _ := strings.Cut(pair, "="); key != "" && !visit(key, raw) {
			return
		}
	}
}

// unescape percent-decodes raw into dst. It returns how long the result is;
// -1 if it is longer than dst, or if raw is malformed.
func unescape(dst []byte, raw string) int {
	n := 0
	for i := 0; i < len(raw); i++ {
		if n == len(dst) {
			return -1
		}
		b := raw[i]
		if b == '%' {
			if i+2 >= len(raw) {
				return -1
			}
			hi, lo := unhex(raw[i+1]), unhex(raw[i+2])
			if hi < 0 || lo < 0 {
				return -1
			}
			b = byte(hi<<4 | lo)
			i += 2
		}
		dst[n] = b
		n++
	}
	return n
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// unescape20 decodes what must be exactly 20 bytes.
func unescape20(dst *[20]byte, raw string) bool {
	return unescape(dst[:], raw) == len(dst)
}

// text decodes a short value, as are all that are not binary; "" if it is too
// long or malformed.
func text(raw string) string {
	if !strings.Contains(raw, "%") {
		return raw
	}
	var b [64]byte
	return string(b[:max(unescape(b[:], raw), 0)])
}

// query is an HTTP announce's query string, decoded.
type query struct {
	hash           infohash.T
	id             [idSize]byte
	key            uint32
	port           uint16
	left           uint64
	leftKnown      bool
	event          event
	want           int
	asList, noIDs  bool
	ip, ipv4, ipv6 netip.Addr // as claimed; zero if absent or unusable
}

var (
	errHash = errors.New("info_hash must be 20 bytes")
	errID   = errors.New("peer_id must be 20 bytes")
	errPort = errors.New(refusedPort.reason)
)

// parseAnnounce decodes an announce. Only info_hash, peer_id and port can make
// it fail; whatever else is missing, malformed or unknown is passed over. Of
// parameters that are repeated, the last counts.
func parseAnnounce(raw string, numWant int) (query, error) {
	q := query{want: numWant}
	var hasHash, hasID bool
	pairs(raw, func(key, raw string) bool {
		switch key {
		case "info_hash":
			hasHash = unescape20((*[20]byte)(&q.hash), raw)
		case "peer_id":
			hasID = unescape20(&q.id, raw)
		case "port":
			n, err := strconv.ParseUint(text(raw), 10, 16)
			if q.port = uint16(n); err != nil { // n is the greatest port then
				q.port = 0
			}
		case "left":
			n, err := strconv.ParseUint(text(raw), 10, 64)
			q.left, q.leftKnown = n, err == nil
		case "event":
			q.event = parseEvent(text(raw))
		case "numwant":
			q.want = parseNumWant(text(raw), numWant)
		case "compact":
			q.asList = raw == "0"
		case "no_peer_id":
			q.noIDs = raw == "1"
		case "key":
			q.key = parseKey(raw)
		case "ip":
			q.ip = parseClaimed(text(raw))
		case "ipv4":
			q.ipv4 = parseClaimed(text(raw))
		case "ipv6":
			q.ipv6 = parseClaimed(text(raw))
		}
		return true
	})
	switch {
	case !hasHash:
		return q, errHash
	case !hasID:
		return q, errID
	case q.port == 0:
		return q, errPort
	}
	return q, nil
}

func parseEvent(s string) event {
	switch s {
	case "started":
		return eventStarted
	case "completed":
		return eventCompleted
	case "stopped":
		return eventStopped
	case "paused":
		return eventPaused
	}
	return eventNone
}

func parseNumWant(s string, def int) int {
	n, err := strconv.Atoi(s)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n < 0 {
		return def
	}
	return n
}

// parseKey reads the number that most clients send as hexadecimal digits, so
// that it equals the one in their UDP announces; anything else is hashed.
func parseKey(raw string) uint32 {
	if n, err := strconv.ParseUint(raw, 16, 32); err == nil {
		return uint32(n)
	}
	return uint32(maphash.String(hashSeed, raw))
}

// parseClaimed reads the value of ip=, ipv4= or ipv6=, the latter two of which
// may have a port (BEP 7), which is not used.
func parseClaimed(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		a = ap.Addr()
	}
	if a = plain(a); !usable(a) {
		return netip.Addr{}
	}
	return a
}

// maxScrape is how many info-hashes of one scrape are answered.
const maxScrape = 100

// parseScrape returns the info-hashes of a scrape, the first maxScrape of them.
func parseScrape(raw string) ([]infohash.T, error) {
	var hashes []infohash.T
	var err error
	pairs(raw, func(key, raw string) bool {
		if key != "info_hash" {
			return true
		}
		var ih infohash.T
		if !unescape20((*[20]byte)(&ih), raw) {
			err = errHash
			return false
		}
		hashes = append(hashes, ih)
		return len(hashes) < maxScrape
	})
	if err == nil && len(hashes) == 0 {
		err = errors.New("a scrape must name its info_hash: there is no list of all torrents here")
	}
	return hashes, err
}

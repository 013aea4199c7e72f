package tracker

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// ServeHTTP answers GET /announce and /scrape, also with a passkey before or
// behind, or with .php; anything else is not found. A request that is refused
// gets status 200 and a failure reason, which is all that clients show. HEAD
// answers headers, and is not an announce.
func (t *Tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := actionOf(r.URL.Path)
	if action == "" {
		http.NotFound(w, r)
		return
	}
	switch {
	case isWebSocket(r) && action == "announce":
		t.serveWebSocket(w, r)
		return
	case r.Method == http.MethodGet:
	case r.Method == http.MethodHead:
		w.Header().Set("Content-Type", "text/plain")
		return
	default:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	x.body, x.refused = x.body[:0], nil
	switch {
	case len(r.URL.RawQuery) > maxQuery:
		x.refuse(&refusal{reason: "the query is too long"})
	case action == "announce":
		t.httpAnnounce(r, x)
	default:
		t.httpScrape(r, x)
	}
	if x.refused != nil {
		t.counts.failed(overHTTP, x.refused.cause)
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", strconv.Itoa(len(x.body)))
	w.Write(x.body)
}

// exchange is what answering one HTTP request needs.
type exchange struct {
	body    []byte
	answer  answer
	refused *refusal // if it was
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// actionOf returns "announce" or "scrape", or "" for a path that is neither.
func actionOf(path string) string {
	first, second, two := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !two {
		first = strings.TrimSuffix(first, ".php")
		if first == "announce" || first == "scrape" {
			return first
		}
		return ""
	}
	for _, p := range [2][2]string{{first, second}, {second, first}} {
		if (p[0] == "announce" || p[0] == "scrape") && isPasskey(p[1]) {
			return p[0]
		}
	}
	return ""
}

func isPasskey(s string) bool {
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 64
}

func (t *Tracker) httpAnnounce(r *http.Request, x *exchange) {
	q, err := parseAnnounce(r.URL.RawQuery, t.opt.NumWant)
	if err == errPort {
		x.refuse(refusedPort)
		return
	}
	if err != nil {
		x.refuse(&refusal{reason: err.Error()})
		return
	}
	seen, refused := t.clientAddr(r)
	if refused != nil {
		x.refuse(refused)
		return
	}
	req := request{
		hash: q.hash, id: q.id, key: q.key,
		peer: netip.AddrPortFrom(seen, q.port), seen: seen, reached: reachedAddr(r.Context()),
		event: q.event, seeder: q.leftKnown && q.left == 0,
		want: q.want, asList: q.asList,
	}
	if inAny(t.opt.TrustedIPs, seen) {
		req.honour(&q)
	}
	if refused := t.announce(&req, &x.answer); refused != nil {
		x.refuse(refused)
		return
	}
	t.counts.announced(overHTTP, seen, req.event)
	x.announced(t, &req, q.noIDs)
}

// honour takes over the addresses that a client in a trusted network claims:
// ip= or its own family's in place of the one that it was seen at, the other
// family's in addition.
func (r *request) honour(q *query) {
	port := r.peer.Port()
	own, other := q.ipv4, q.ipv6
	if r.seen.Is6() {
		own, other = other, own
	}
	if q.ip.IsValid() {
		own = q.ip
	}
	if own.IsValid() {
		r.peer = netip.AddrPortFrom(own, port)
	}
	if other.IsValid() && widthOf(other) != widthOf(r.peer.Addr()) {
		r.extra = netip.AddrPortFrom(other, port)
	}
}

// reachedAddr returns the local address that a request came to, or zero.
func reachedAddr(ctx context.Context) netip.Addr {
	if a, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return plain(a.AddrPort().Addr())
	}
	return netip.Addr{}
}

func (t *Tracker) httpScrape(r *http.Request, x *exchange) {
	hashes, err := parseScrape(r.URL.RawQuery)
	if err != nil {
		x.refuse(&refusal{reason: err.Error()})
		return
	}
	t.counts.scrapes[overHTTP].Add(1)
	slices.SortFunc(hashes, func(a, b infohash.T) int { return strings.Compare(string(a[:]), string(b[:])) })
	x.body = append(x.body, "d5:filesd"...)
	for _, ih := range slices.Compact(hashes) {
		c := t.Swarm(ih)
		x.str(string(ih[:]))
		x.body = append(x.body, 'd')
		x.integer("complete", c.Seeders)
		x.integer("downloaded", c.Completed)
		x.integer("downloaders", c.Downloaders)
		x.integer("incomplete", c.Leechers)
		x.body = append(x.body, 'e')
	}
	x.body = append(x.body, "ee"...)
}

// The rest writes bencode. Keys must be written in the order of their bytes.

func (x *exchange) str(s string) {
	x.body = strconv.AppendInt(x.body, int64(len(s)), 10)
	x.body = append(x.body, ':')
	x.body = append(x.body, s...)
}

func (x *exchange) integer(key string, n int) {
	x.str(key)
	x.body = append(x.body, 'i')
	x.body = strconv.AppendInt(x.body, int64(n), 10)
	x.body = append(x.body, 'e')
}

func (x *exchange) refuse(r *refusal) {
	x.refused = r
	x.body = append(x.body[:0], 'd')
	x.str("failure reason")
	x.str(r.reason)
	switch {
	case r.retry == retryNever:
		x.str("retry in")
		x.str("never")
	case r.retry > 0:
		x.integer("retry in", int(r.retry))
	}
	x.body = append(x.body, 'e')
}

func (x *exchange) announced(t *Tracker, r *request, noIDs bool) {
	a := &x.answer
	x.body = append(x.body, 'd')
	x.integer("complete", a.counts.Seeders)
	x.integer("downloaded", a.counts.Completed)
	x.str("external ip")
	x.str(string(r.seen.AsSlice()))
	x.integer("incomplete", a.counts.Leechers)
	x.integer("interval", seconds(a.interval))
	x.integer("min interval", seconds(min(a.interval, t.opt.MinInterval)))
	if r.asList {
		x.str("peers")
		x.list(noIDs)
	} else {
		x.compact("peers", width4, r)
		if r.seen.Is6() || slices.ContainsFunc(a.seeds, func(s netip.AddrPort) bool { return s.Addr().Is6() }) {
			x.compact("peers6", width6, r)
		}
	}
	if t.opt.Warning != "" {
		x.str("warning message")
		x.str(t.opt.Warning)
	}
	x.body = append(x.body, 'e')
}

// compact writes the seeds and peers of one address family.
func (x *exchange) compact(key string, width uint8, r *request) {
	a := &x.answer
	n := 0
	for _, s := range a.seeds {
		if widthOf(s.Addr()) == width {
			n += int(width)
		}
	}
	own := width == widthOf(r.seen)
	if own {
		n += len(a.peers.compact)
	}
	x.str(key)
	x.body = strconv.AppendInt(x.body, int64(n), 10)
	x.body = append(x.body, ':')
	for _, s := range a.seeds {
		if widthOf(s.Addr()) == width {
			e := endpointOf(s)
			x.body = append(x.body, e.bytes()...)
		}
	}
	if own {
		x.body = append(x.body, a.peers.compact...)
	}
}

// list writes peers as dictionaries (BEP 3). Those whose peer_id is not known,
// such as our own seeder, are without.
func (x *exchange) list(noIDs bool) {
	x.body = append(x.body, 'l')
	one := func(at netip.AddrPort, id []byte) {
		x.body = append(x.body, 'd')
		x.str("ip")
		x.str(at.Addr().String())
		if id != nil && !noIDs {
			x.str("peer id")
			x.str(string(id))
		}
		x.integer("port", int(at.Port()))
		x.body = append(x.body, 'e')
	}
	for _, s := range x.answer.seeds {
		one(s, nil)
	}
	for _, p := range x.answer.peers.list {
		one(p.at, p.id)
	}
	x.body = append(x.body, 'e')
}

// seconds is never 0: clients take that for a mistake, or worse, at its word.
func seconds(d time.Duration) int { return max(int(d/time.Second), 1) }

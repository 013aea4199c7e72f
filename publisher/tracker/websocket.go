package tracker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
	"github.com/coder/websocket"
)

// Bounds of a WebSocket (WebTorrent's tracker protocol).
const (
	webMessage  = 128 << 10 // bytes; a session description may have 64 KiB
	webOffers   = 10        // of an announce
	webSwarms   = 1000      // of a socket
	webSockets  = 20_000    // in all
	webWaiting  = 64        // messages that wait to be sent; a socket that is slower is closed
	webInterval = 2 * time.Minute
	webPing     = time.Minute
	webQuiet    = 3 * webPing      // without a sign of life, a socket is closed
	webWrite    = 10 * time.Second // for one message
)

// webIn is what peers send. Binary strings are texts whose code points, up to 255,
// are the bytes.
type webIn struct {
	Action   string     `json:"action"`
	InfoHash webHashes  `json:"info_hash"`
	PeerID   webID      `json:"peer_id"`
	Event    string     `json:"event"`
	Left     *float64   `json:"left"` // null or absent: not known, as while only a magnet link is
	Offers   []webOffer `json:"offers"`
	NumWant  *float64   `json:"numwant"`

	Answer   *webDescription `json:"answer"`
	ToPeerID webID           `json:"to_peer_id"`
	OfferID  webID           `json:"offer_id"`
}

type webOffer struct {
	Offer   webDescription `json:"offer"`
	OfferID webID          `json:"offer_id"`
}

// webDescription is a session description of WebRTC. The tracker does not look
// into it.
type webDescription struct {
	Type string `json:"type"`
	SDP  string `json:"sdp"`
}

// webID is 20 bytes.
type webID [20]byte

// UnmarshalJSON implements json.Unmarshaler.
func (id *webID) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	n := 0
	for _, r := range s {
		if r > 255 || n == len(id) {
			return errWebID
		}
		id[n] = byte(r)
		n++
	}
	if n != len(id) {
		return errWebID
	}
	return nil
}

var errWebID = errors.New("info_hash, peer_id, to_peer_id and offer_id must be 20 bytes, each a code point up to 255")

// MarshalJSON implements json.Marshaler.
func (id webID) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	for _, c := range id {
		b.WriteRune(rune(c))
	}
	return json.Marshal(b.String())
}

// webHashes is one info-hash, or for a scrape a list of them.
type webHashes []webID

// UnmarshalJSON implements json.Unmarshaler.
func (hs *webHashes) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]webID)(hs))
	}
	var one webID
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*hs = webHashes{one}
	return nil
}

// webReply answers an announce.
type webReply struct {
	Action      string `json:"action"`
	InfoHash    webID  `json:"info_hash"`
	Interval    int    `json:"interval"` // seconds, as those below, which are spelt in both ways in the field
	MinInterval int    `json:"min interval"`
	MinInterv2  int    `json:"min_interval"`
	Complete    int    `json:"complete"`
	Incomplete  int    `json:"incomplete"`
}

// webForward passes an offer or an answer on.
type webForward struct {
	Action   string          `json:"action"`
	InfoHash webID           `json:"info_hash"`
	PeerID   webID           `json:"peer_id"` // who it is from
	OfferID  webID           `json:"offer_id"`
	Offer    *webDescription `json:"offer,omitempty"`
	Answer   *webDescription `json:"answer,omitempty"`
}

// webFailure refuses something. Clients close a socket on a message without a
// proper info_hash, so there is always one.
type webFailure struct {
	Action   string `json:"action"`
	Failure  string `json:"failure reason"`
	InfoHash webID  `json:"info_hash"`
}

type webScrape struct {
	Action string              `json:"action"`
	Files  map[string]webCount `json:"files"`
}

type webCount struct {
	Complete   int `json:"complete"`
	Incomplete int `json:"incomplete"`
	Downloaded int `json:"downloaded"`
}

// webSocket is a connection. It may take part in many swarms.
type webSocket struct {
	conn *websocket.Conn
	addr netip.Addr // of the client
	out  chan []byte
	quit context.CancelFunc

	joined map[infohash.T]*webPeer // of its reader alone
}

// isWebSocket reports whether a request asks for a WebSocket.
func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveWebSocket takes a connection over until it closes, or the tracker's Run
// ends.
func (t *Tracker) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	addr, refused := t.clientAddr(r)
	if refused != nil {
		t.counts.failed(overWeb, refused.cause)
		http.Error(w, refused.reason, http.StatusForbidden)
		return
	}
	if !t.web.enter() {
		t.counts.failed(overWeb, causeMany)
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	defer t.web.leave()
	// Pages of any site may find peers here: no cookie or login is involved.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // it was answered
	}
	conn.SetReadLimit(webMessage)
	ctx, cancel := context.WithCancel(t.web.running)
	s := &webSocket{conn: conn, addr: addr, out: make(chan []byte, webWaiting), quit: cancel, joined: make(map[infohash.T]*webPeer)}
	defer conn.CloseNow()
	defer t.web.close(s)
	defer cancel()
	go s.write(ctx)
	for {
		read, done := context.WithTimeout(ctx, webQuiet)
		kind, b, err := conn.Read(read)
		done()
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			conn.Close(websocket.StatusUnsupportedData, "messages must be text")
			return
		}
		t.webMessage(s, b)
	}
}

// write sends what is queued, and pings. Every answer to a ping is a sign of life,
// though Read does not return for it; a peer that gives none is closed.
func (s *webSocket) write(ctx context.Context) {
	defer s.quit()
	ping := time.NewTicker(webPing)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case b := <-s.out:
			limit, done := context.WithTimeout(ctx, webWrite)
			err = s.conn.Write(limit, websocket.MessageText, b)
			done()
		case <-ping.C:
			limit, done := context.WithTimeout(ctx, webWrite)
			err = s.conn.Ping(limit)
			done()
		}
		if err != nil {
			return
		}
	}
}

// send queues a message. A socket that does not take them is closed.
func (s *webSocket) send(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		return // a description that is no UTF-8: it came as JSON, so it is not
	}
	select {
	case s.out <- b:
	default:
		s.quit()
	}
}

// webMessage does what a peer asks.
func (t *Tracker) webMessage(s *webSocket, b []byte) {
	var m webIn
	if err := json.Unmarshal(b, &m); err != nil {
		reason := "the message is not what it should be"
		if errors.Is(err, errWebID) {
			reason = errWebID.Error()
		}
		t.webRefuse(s, &m, "announce", &refusal{reason: reason, cause: causeMalformed})
		return
	}
	switch m.Action {
	case "announce":
		t.webAnnounce(s, &m)
	case "scrape":
		t.webScrape(s, &m)
	default:
		t.webRefuse(s, &m, "announce", &refusal{reason: "action must be announce or scrape", cause: causeMalformed})
	}
}

func (t *Tracker) webRefuse(s *webSocket, m *webIn, action string, why *refusal) {
	t.counts.failed(overWeb, why.cause)
	s.send(webFailure{action, why.reason, m.hash()})
}

func (m *webIn) hash() webID {
	if len(m.InfoHash) == 1 {
		return m.InfoHash[0]
	}
	return webID{}
}

func (t *Tracker) webAnnounce(s *webSocket, m *webIn) {
	fail := func(why *refusal) { t.webRefuse(s, m, "announce", why) }
	if len(m.InfoHash) != 1 || m.PeerID == (webID{}) {
		fail(&refusal{reason: "an announce must name one info_hash and a peer_id", cause: causeMalformed})
		return
	}
	ih := infohash.T(m.InfoHash[0])
	switch standing := t.opt.Standing(ih); {
	case standing == Retired:
		fail(refusedRetired)
		return
	case !standing.tracked():
		fail(refusedUnknown)
		return
	}
	if m.Answer != nil {
		t.web.answer(s, ih, m) // to whom it may concern; one that comes too late is no fault of the sender's
		return
	}
	p, refused := t.web.announce(s, ih, m)
	if refused != nil {
		fail(refused)
		return
	}
	t.counts.announced(overWeb, s.addr, parseEvent(m.Event))
	c := t.web.counts(ih)
	interval := max(int(webInterval/time.Second), 1)
	s.send(webReply{"announce", m.InfoHash[0], interval, interval / 2, interval / 2, c.Seeders, c.Leechers})
	if p != nil {
		t.web.offer(p, ih, m, t.opt.Now())
	}
}

func (t *Tracker) webScrape(s *webSocket, m *webIn) {
	if len(m.InfoHash) == 0 {
		t.webRefuse(s, m, "scrape", &refusal{reason: "a scrape must name its info_hash: there is no list of all torrents here", cause: causeMalformed})
		return
	}
	t.counts.scrapes[overWeb].Add(1)
	files := make(map[string]webCount)
	for _, h := range m.InfoHash[:min(len(m.InfoHash), maxScrape)] {
		var c Counts
		if t.opt.Standing(infohash.T(h)).tracked() {
			c = t.web.counts(infohash.T(h))
		}
		var key string
		if b, err := h.MarshalJSON(); err == nil {
			_ = json.Unmarshal(b, &key)
		}
		files[key] = webCount{c.Seeders, c.Leechers, c.Completed}
	}
	s.send(webScrape{"scrape", files})
}

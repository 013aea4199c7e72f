package tracker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
	"github.com/coder/websocket"

	"dropseed/publisher/tracker"
)

// webClient is a peer on a WebSocket.
type webClient struct {
	t    *testing.T
	conn *websocket.Conn
}

func dialWeb(t *testing.T, s *server, path string) *webClient {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+s.http4+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	return &webClient{t, conn}
}

// latin is bytes as the protocol writes them.
func latin(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

func webHash(n byte) string { h := hash(n); return latin(h[:]) }

func webPeerID(n byte) string {
	return latin([]byte("-WW0001-\x00\xff\x80 &%é\"\\!"[:18] + string([]byte{'x', n})))[:]
}

type object map[string]any

func (c *webClient) say(m object) {
	c.t.Helper()
	b, err := json.Marshal(m)
	if err == nil {
		err = c.conn.Write(c.t.Context(), websocket.MessageText, b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *webClient) hear() object {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	kind, b, err := c.conn.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	var m object
	if err := json.Unmarshal(b, &m); err != nil || kind != websocket.MessageText {
		c.t.Fatalf("%v: %q, %v", kind, b, err)
	}
	return m
}

// announce announces and returns the reply.
func (c *webClient) announce(n byte, id string, more object) object {
	c.t.Helper()
	m := object{"action": "announce", "info_hash": webHash(n), "peer_id": id, "uploaded": 0, "downloaded": 0, "left": 1, "numwant": 5}
	for k, v := range more {
		m[k] = v
	}
	c.say(m)
	return c.hear()
}

func webOffer(id string) object {
	return object{"offer_id": id, "offer": object{"type": "offer", "sdp": "v=0 of " + id}}
}

func offerID(n int) string { return fmt.Sprintf("offer%015d", n) }

func (c *webClient) quiet(n byte, id string) {
	c.t.Helper()
	// What was not said before this reply is not said.
	if got := c.announce(n, id, nil); got["interval"] == nil {
		c.t.Errorf("unexpected: %v", got)
	}
}

func TestWebSocketW01AnyBytesOnAnyPath(t *testing.T) {
	s := start(t, tracker.Options{})
	for i, path := range []string{"/announce", "/announce/key", "/key/announce", "/announce.php?x=1"} {
		c := dialWeb(t, s, path)
		all := make([]byte, 20)
		for j := range all {
			all[j] = byte(j*13 + i)
		}
		m := object{"action": "announce", "info_hash": latin(all), "peer_id": webPeerID(1)}
		c.say(m)
		if got := c.hear(); got["info_hash"] != latin(all) {
			t.Errorf("%s: %q", path, got["info_hash"])
		}
		for _, bad := range []string{"", "short", latin(append(all, 'x')), strings.Repeat("ж", 20)} {
			m["info_hash"] = bad
			c.say(m)
			if got := c.hear(); got["failure reason"] == nil {
				t.Errorf("info_hash %q: %v", bad, got)
			}
		}
	}
}

func TestWebSocketW02W03AnnounceIsAnswered(t *testing.T) {
	s := start(t, tracker.Options{})
	a, b := dialWeb(t, s, "/announce"), dialWeb(t, s, "/announce")
	if got := a.announce(1, webPeerID(1), object{"left": nil, "event": "started"}); got["complete"] != 0. || got["incomplete"] != 1. {
		t.Errorf("the first: %v", got)
	}
	got := b.announce(1, webPeerID(2), object{"left": 0, "event": "started"})
	if got["action"] != "announce" || got["complete"] != 1. || got["incomplete"] != 1. || got["interval"] != 120. || got["min interval"] == nil || got["min_interval"] == nil {
		t.Errorf("the second: %v", got)
	}
}

func TestWebSocketW04W05OffersAndAnswersAreForwarded(t *testing.T) {
	s := start(t, tracker.Options{})
	a, b, c := dialWeb(t, s, "/announce"), dialWeb(t, s, "/announce"), dialWeb(t, s, "/announce")
	b.announce(1, webPeerID(2), nil)
	c.announce(1, webPeerID(3), nil)
	offers := []object{webOffer(offerID(1)), webOffer(offerID(2)), webOffer(offerID(3))}
	a.announce(1, webPeerID(1), object{"offers": offers})

	gotB, gotC := b.hear(), c.hear() // one each, and the third has nobody to go to
	if gotB["offer_id"] == gotC["offer_id"] {
		t.Error("two peers got one offer")
	}
	for _, got := range []object{gotB, gotC} {
		want := "v=0 of " + got["offer_id"].(string)
		if got["peer_id"] != webPeerID(1) || got["info_hash"] != webHash(1) || got["offer"].(map[string]any)["sdp"] != want {
			t.Errorf("forwarded: %v", got)
		}
	}
	answer := func(who *webClient, id string, to, offer any) {
		who.say(object{"action": "announce", "info_hash": webHash(1), "peer_id": id, "to_peer_id": to, "offer_id": offer,
			"answer": object{"type": "answer", "sdp": "v=0 answer"}})
	}
	answer(b, webPeerID(2), webPeerID(1), gotC["offer_id"]) // not made to it
	answer(b, webPeerID(3), webPeerID(1), gotC["offer_id"]) // not its peer_id
	answer(b, webPeerID(2), webPeerID(3), gotB["offer_id"]) // not by that peer
	b.quiet(1, webPeerID(2))
	a.quiet(1, webPeerID(1))
	answer(b, webPeerID(2), webPeerID(1), gotB["offer_id"])
	got := a.hear()
	if got["peer_id"] != webPeerID(2) || got["offer_id"] != gotB["offer_id"] || got["answer"].(map[string]any)["sdp"] != "v=0 answer" {
		t.Errorf("the answer: %v", got)
	}
	answer(b, webPeerID(2), webPeerID(1), gotB["offer_id"]) // once only
	b.quiet(1, webPeerID(2))
	a.quiet(1, webPeerID(1))
}

func TestWebSocketW04OffersAreBounded(t *testing.T) {
	s := start(t, tracker.Options{})
	var others []*webClient
	for i := range 15 {
		c := dialWeb(t, s, "/announce")
		c.announce(1, webPeerID(byte(10+i)), object{"left": i % 2})
		others = append(others, c)
	}
	var offers []object
	for i := range 30 {
		offers = append(offers, webOffer(offerID(i)))
	}
	a := dialWeb(t, s, "/announce")
	a.announce(1, webPeerID(1), object{"offers": offers, "numwant": 30, "left": 0})
	a.quiet(1, webPeerID(1)) // now they are out
	heard := 0
	for i, c := range others {
		got := c.announce(1, webPeerID(byte(10+i)), object{"left": i % 2})
		if got["offer"] == nil {
			continue
		}
		c.hear()
		if heard++; i%2 == 0 {
			t.Error("a seeder got the offer of a seeder")
		}
	}
	if heard != 7 { // the leechers
		t.Errorf("%d peers got an offer", heard)
	}
}

func TestWebSocketW06StoppedAndClosedPeersAreGone(t *testing.T) {
	s := start(t, tracker.Options{})
	a, b, c := dialWeb(t, s, "/announce"), dialWeb(t, s, "/announce"), dialWeb(t, s, "/announce")
	for n := range byte(3) {
		a.announce(n, webPeerID(1), nil)
		b.announce(n, webPeerID(2), nil)
	}
	if got := b.announce(0, webPeerID(2), object{"event": "stopped", "offers": []object{webOffer(offerID(1))}}); got["incomplete"] != 1. {
		t.Errorf("after stopping: %v", got)
	}
	a.conn.CloseNow()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := c.announce(1, webPeerID(3), nil)
		if got["incomplete"] == 2. {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after closing: %v", got)
		}
	}
	if got := c.announce(0, webPeerID(3), nil); got["incomplete"] != 1. {
		t.Errorf("after all have gone: %v", got)
	}
}

func TestWebSocketW07PeerIDsAreNotTakenOver(t *testing.T) {
	s := start(t, tracker.Options{})
	a, b := dialWeb(t, s, "/announce"), dialWeb(t, s, "/announce")
	a.announce(1, webPeerID(1), nil)
	if got := b.announce(1, webPeerID(1), nil); got["failure reason"] == nil {
		t.Errorf("taken over: %v", got)
	}
	if got := a.announce(1, webPeerID(9), nil); got["failure reason"] == nil {
		t.Errorf("a second id: %v", got)
	}
	for n := range byte(50) {
		if got := a.announce(n, webPeerID(1), nil); got["failure reason"] != nil {
			t.Errorf("torrent %d: %v", n, got)
		}
	}
}

func TestWebSocketW08FailuresNameTheInfoHash(t *testing.T) {
	s := start(t, tracker.Options{Standing: func(ih infohash.T) tracker.Standing {
		switch ih {
		case hash(1):
			return tracker.Retired
		case hash(2):
			return tracker.Unknown
		}
		return tracker.Listed
	}})
	c := dialWeb(t, s, "/announce")
	for n := range byte(2) {
		if got := c.announce(n+1, webPeerID(1), nil); got["failure reason"] == nil || got["info_hash"] != webHash(n+1) || got["action"] != "announce" {
			t.Errorf("%v", got)
		}
	}
	for _, bad := range []string{"{", "[]", "null", `"x"`, `{"action":"announce"}`, `{"action":"jump"}`, `{"action":"announce","info_hash":5}`} {
		if err := c.conn.Write(t.Context(), websocket.MessageText, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if got := c.hear(); got["failure reason"] == nil || len([]rune(got["info_hash"].(string))) != 20 {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

func TestWebSocketW09Scrape(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialWeb(t, s, "/announce")
	c.announce(1, webPeerID(1), object{"left": 3})
	c.announce(1, webPeerID(1), object{"left": 0, "event": "completed"})
	c.announce(1, webPeerID(1), object{"left": 0, "event": "completed"})
	c.say(object{"action": "scrape", "info_hash": []string{webHash(1), webHash(2)}})
	got := c.hear()["files"].(map[string]any)
	if fmt.Sprint(got[webHash(1)]) != "map[complete:1 downloaded:1 incomplete:0]" || fmt.Sprint(got[webHash(2)]) != "map[complete:0 downloaded:0 incomplete:0]" {
		t.Errorf("files: %v", got)
	}
	c.say(object{"action": "scrape", "info_hash": webHash(1)})
	if got := c.hear()["files"].(map[string]any); len(got) != 1 {
		t.Errorf("one: %v", got)
	}
	c.say(object{"action": "scrape"})
	if got := c.hear(); got["failure reason"] == nil {
		t.Errorf("none: %v", got)
	}
}

func TestWebSocketW10Limits(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialWeb(t, s, "/announce")
	big := webOffer(offerID(1))
	big["offer"].(object)["sdp"] = strings.Repeat("x", 64<<10)
	c.announce(1, webPeerID(1), object{"offers": []object{big}})
	// The rest of it may find the connection closed already.
	_ = c.conn.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"action": "announce", "x": "%s"}`, strings.Repeat("x", 200<<10)))
	if _, _, err := c.conn.Read(t.Context()); err == nil {
		t.Error("a message of 200 KiB is answered")
	}
	d := dialWeb(t, s, "/announce")
	if err := d.conn.Write(t.Context(), websocket.MessageBinary, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("a binary message: %v", err)
	}
}

func TestWebSocketW11PeersAreTheirOwnKind(t *testing.T) {
	s := start(t, tracker.Options{})
	c := dialWeb(t, s, "/announce")
	c.announce(1, webPeerID(1), object{"left": 0})
	u := dialUDP(t, s.udp4, "")
	if got := u.announce(t, udpAsk{hash: hash(1), peer: 1, left: 1}); len(got.peers) != 0 {
		t.Errorf("over UDP: %v", got.peers)
	}
	c.quiet(1, webPeerID(1))
}

func TestWebSocketW12ProxyMustSayWhoAsks(t *testing.T) {
	s := start(t, tracker.Options{TrustedProxies: prefixes("127.0.0.0/8")})
	_, resp, err := websocket.Dial(t.Context(), "ws://"+s.http4+"/announce", &websocket.DialOptions{HTTPHeader: map[string][]string{"X-Forwarded-For": {"nobody"}}})
	if err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestWebSocketsEndWithTheTracker(t *testing.T) {
	var c *webClient
	t.Run("serving", func(tt *testing.T) {
		s := start(tt, tracker.Options{})
		c = dialWeb(t, s, "/announce")
		c.announce(1, webPeerID(1), nil)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, _, err := c.conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("Read: %v", err)
	}
}

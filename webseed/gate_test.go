package webseed

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

// fakeSwarm is a swarm with one peer at most, of which everything is said.
type fakeSwarm struct {
	plain    bool // not offered piece by piece
	out      bool // nothing can be lent
	peer     bool
	has      bool // ... what is asked about
	lacking  int
	quiet    bool
	gained   time.Time
	gains    time.Time // until then it gains something all the time
	joinsAt  time.Time // when the peer connects, if it is not zero
	lent     int
	returned int64 // bytes that were sent of the last loan
}

func (s *fakeSwarm) Spread(infohash.T) bool { return !s.plain }

func (s *fakeSwarm) Lend(infohash.T, int64, int64, netip.Addr) (end func(int64), ok bool) {
	s.lent++
	return func(n int64) { s.returned = n }, !s.out
}

func (s *fakeSwarm) At(infohash.T, netip.Addr, int64) Peers {
	p := Peers{Lacking: s.lacking, Gained: s.gained, Quiet: s.quiet}
	if now := time.Now(); now.Before(s.gains) {
		p.Gained = now
	} else if s.gains.After(p.Gained) {
		p.Gained = s.gains
	}
	if s.peer || !s.joinsAt.IsZero() && !time.Now().Before(s.joinsAt) {
		p.Connected = 1
		if s.has {
			p.Holding = 1
		}
	}
	return p
}

var gated = catalog.Release{InfoHash: infohash.T{1}, PieceLength: 256 << 10, Size: 256 << 20}

// ask lets a gate decide, and returns how long that took.
func ask(g *Gate, n int64) (served bool, took time.Duration) {
	start := time.Now()
	r := httptest.NewRequest("GET", "/", nil)
	_, served = g.admit(r, gated, 0, n)
	return served, time.Since(start)
}

func newGate(s *fakeSwarm) *Gate {
	return NewGate(s, func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") })
}

func TestGateServesWhatIsNotOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{peer: true, gained: time.Now()}
		if served, took := ask(newGate(s), lendMost); !served || took > 0 {
			t.Errorf("served %v after %v", served, took)
		}
		if served, _ := ask(newGate(s), lendMost+1); served || s.lent != 1 {
			t.Errorf("a long request: served %v, lent %d times", served, s.lent)
		}
	})
}

func TestGateLetsPassWhatIsNotSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{plain: true, out: true, peer: true, gained: time.Now().Add(time.Hour)}
		for _, agent := range []string{"", "aria2/1.36.0"} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("User-Agent", agent)
			p, served := newGate(s).admit(r, gated, 0, gated.Size)
			if !served {
				t.Errorf("%q is refused", agent)
			} else if n, err := p.next(0); n != chunkSize || err != nil {
				t.Errorf("%q: %d bytes, %v", agent, n, err)
			}
		}
	})
}

func TestGateServesWhoIsNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(&fakeSwarm{out: true})
		if served, took := ask(g, 1); !served || took != peerWithin {
			t.Errorf("served %v after %v, want %v", served, took, peerWithin)
		}
		for range 5 {
			time.Sleep(exemptFor / 2)
			if served, took := ask(g, 1); !served || took > 0 {
				t.Errorf("then: served %v after %v", served, took)
			}
		}
	})
}

func TestGateTurnsAwayWhoBecomesAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{out: true, joinsAt: time.Now().Add(2 * time.Second), gained: time.Now().Add(2 * time.Second)}
		if served, took := ask(newGate(s), 1); served || took > 2*time.Second+peerPoll {
			t.Errorf("served %v after %v", served, took)
		}
	})
}

func TestGateServesTheStuckAndOtherMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{out: true, peer: true, gained: time.Now()}
		g := newGate(s)
		if served, _ := ask(g, 1); served {
			t.Error("a peer that makes progress is served")
		}
		s.has = true
		if served, _ := ask(g, 1); !served {
			t.Error("another machine behind the peer's address is not served")
		}
		s.has = false
		time.Sleep(gainsWithin + time.Second)
		if served, _ := ask(g, 1); !served {
			t.Error("a peer that makes no progress is not served")
		}
	})
}

// TestGateRefusesNobodyForLong asks every second: once in refusedMost a request
// is served, and once in confirmedFor when the peer was seen to get that.
func TestGateRefusesNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{out: true, peer: true}
		g := newGate(s)
		refusals := func() (n int) {
			for {
				s.gained = time.Now()
				served, _ := ask(g, 1)
				if served {
					return n
				}
				n++
				time.Sleep(time.Second)
			}
		}
		if n := refusals(); n != 25 {
			t.Errorf("%d refusals in a row, want 25", n)
		}
		if n := refusals(); n != 25 {
			t.Errorf("then %d refusals, want 25", n)
		}
		// Now the peer has what was served; only the gate's look back may see it.
		s.has = true
		g.afterRefusals(clientKey{gated.InfoHash, netip.MustParseAddr("192.0.2.1")}, 0, time.Now())
		s.has = false
		if n := refusals(); n < 290 || n > 300 {
			t.Errorf("a confirmed peer's client is refused %d times, want about 300", n)
		}
	})
}

// TestGateStopsServingWhoBecomesAPeer is for clients that ask for a whole file.
func TestGateStopsServingWhoBecomesAPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{out: true}
		g := newGate(s)
		r := httptest.NewRequest("GET", "/", nil)
		var p *permit
		next := func(want int64, wantErr error) {
			t.Helper()
			if n, err := p.next(0); n != want || err != wantErr {
				t.Errorf("%d bytes, %v; want %d, %v", n, err, want, wantErr)
			}
		}
		var served bool
		if p, served = g.admit(r, gated, 0, 1); !served {
			t.Fatal("who is no peer is not served")
		}
		next(chunkSize, nil)
		s.peer = true
		next(chunkSize, nil) // a peer that gets nothing
		s.gained = time.Now()
		next(0, errPeer)
		next(chunkSize, nil) // served for another reason
	})
}

// TestGateKeepsQuietPeersClients is for Transmission, which gives the webseed up
// for minutes when a few requests in a row are refused.
func TestGateKeepsQuietPeersClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{out: true, peer: true, quiet: true, gained: time.Now()}
		g := newGate(s)
		for i := range 12 {
			if served, _ := ask(g, 1); served != (i%(quietRow+1) == quietRow) {
				t.Errorf("request %d: served %v", i, served)
			}
		}
		s.quiet = false
		for i := range 12 {
			if served, _ := ask(g, 1); served {
				t.Errorf("request %d of one that is not quiet is served", i)
			}
		}
	})
}

// TestGateHoldsAria2 is for a client that would give the webseed up.
func TestGateHoldsAria2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSwarm{out: true, peer: true, lacking: 1000, gained: time.Now()}
		g := newGate(s)
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("User-Agent", "aria2/1.36.0")
		p, served := g.admit(r, gated, 0, gated.Size)
		if !served {
			t.Fatal("refused")
		}
		next := func(want int64, wantErr error, least, most time.Duration) {
			t.Helper()
			before := time.Now()
			n, err := p.next(0)
			if took := time.Since(before); n != want || err != wantErr || took < least || took > most {
				t.Errorf("%d bytes, %v after %v; want %d, %v after %v to %v", n, err, took, want, wantErr, least, most)
			}
		}
		next(0, errPeer, 0, 0) // all ask for the first piece at first
		s.gains = time.Now().Add(70 * time.Second)
		next(1, nil, heldPulse, heldPulse+heldPoll) // so that it does not give up
		next(gated.PieceLength, nil, refusedMost-heldPulse-heldPoll, refusedMost-heldPulse+heldPoll)
		next(1, nil, heldPulse, heldPulse+heldPoll)
		s.out = false
		next(gated.PieceLength, nil, 0, 0) // nobody has it: it is lent
		s.out, s.returned = true, -1
		s.lacking = gated.Pieces() / heldUntil
		if n, err := p.next(gated.PieceLength); err != errPeer || s.returned != -1 {
			t.Errorf("%d bytes, %v at the end, %d of the loan returned", n, err, s.returned)
		}
		if p.done(gated.PieceLength); s.returned != 0 {
			t.Errorf("of what was lent and not shown, %d bytes count as sent", s.returned)
		}
		s.lacking = 1000
		time.Sleep(time.Minute)
		next(gated.PieceLength, nil, 0, 0) // the peer gets nothing any more
	})
}

func TestGateWaitsForWhoHasAnnouncedItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(&fakeSwarm{out: true})
		g.Announced(gated.InfoHash, netip.MustParseAddr("192.0.2.1"))
		if served, took := ask(g, 1); !served || took != announcedIn {
			t.Errorf("served %v after %v, want %v", served, took, announcedIn)
		}
	})
}

func TestGateForgets(t *testing.T) {
	g := newGate(&fakeSwarm{})
	for i := range clientsMost + 10 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		g.note(clientKey{gated.InfoHash, a}, func(*client) {})
	}
	if n := len(g.clients); n > clientsMost {
		t.Errorf("%d clients are remembered", n)
	}
}

// TestGateClosesTheConnection asks a real server, whose gate refuses.
func TestGateClosesTheConnection(t *testing.T) {
	s := &fakeSwarm{out: true, peer: true, gained: time.Now().Add(time.Hour)}
	f := newFixture(t)
	f.server.o.Gate = newGate(s)
	rel := f.publish(t, map[string]string{"a": "content"})
	url := WebseedURL(f.start(t).URL, rel)
	for method, want := range map[string]bool{"GET": false, "HEAD": true, "OPTIONS": true} {
		req, err := http.NewRequest(method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if answered := err == nil; answered != want || !answered && !errors.Is(err, io.EOF) {
			t.Errorf("%s: answered %v, %v", method, answered, err)
		}
	}
}

// TestWhatIsLentAndCannotBeOpenedIsFree asks for a file that has just changed.
func TestWhatIsLentAndCannotBeOpenedIsFree(t *testing.T) {
	s := &fakeSwarm{returned: -1}
	f := newFixture(t)
	f.server.o.Gate = newGate(s)
	rel := f.publish(t, map[string]string{"a": "content"})
	f.fail(watcher.ErrChanged)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("the connection is not closed: %v", p)
		}
		if s.lent != 1 || s.returned != 0 {
			t.Errorf("lent %d times, of the last %d bytes count as sent", s.lent, s.returned)
		}
	}()
	f.server.ServeWebseed(httptest.NewRecorder(), httptest.NewRequest("GET", WebseedURL("http://x", rel), nil))
}

func TestRequestedRange(t *testing.T) {
	for header, want := range map[string][2]int64{
		"":                              {0, 100},
		"bytes=0-":                      {0, 100},
		"bytes=10-19":                   {10, 10},
		"bytes=90-200":                  {90, 10},
		"bytes=5-5, 70-80":              {5, 1},
		"bytes=-5":                      {0, 100},
		"bytes=200-":                    {0, 100},
		"bytes=x-y":                     {0, 100},
		"items=1-2":                     {0, 100},
		"bytes=20-10":                   {20, 80},
		"bytes=0-999999999999999999999": {0, 100},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", header)
		if off, n := requested(r, 100); off != want[0] || n != want[1] {
			t.Errorf("%q: %d+%d, want %v", header, off, n, want)
		}
	}
}

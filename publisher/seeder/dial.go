package seeder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/peerwire"
)

const (
	dialsMost   = 64 // under way at once
	dialTimeout = 5 * time.Second
	dialAfter   = time.Second // most come by themselves; when both connect at once, clients may close both
)

// Dial connects to a peer that announced itself, unless it is connected soon.
// Some clients take ten seconds to come by themselves, and some cannot come at all.
// It does not block; when too much is under way it does nothing. A Seeder that
// is not being served does nothing either.
func (s *Seeder) Dial(ih infohash.T, to netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialing == nil || s.dials >= dialsMost || s.connectedTo(ih, to) {
		return
	}
	s.dials++
	ctx := s.dialing
	s.dialers.Go(func() {
		s.dial(ctx, ih, to)
		s.mu.Lock()
		s.dials--
		s.mu.Unlock()
	})
}

// connectedTo reports whether a peer of a swarm is connected that may be the
// one that listens at an address. s.mu is held.
func (s *Seeder) connectedTo(ih infohash.T, to netip.AddrPort) bool {
	sw := s.swarms[ih]
	if sw == nil {
		return false
	}
	for _, p := range sw.from[to.Addr()] {
		p.mu.Lock()
		port := p.ext.Port
		p.mu.Unlock()
		if port == 0 || port == to.Port() || p.addr.Port() == to.Port() {
			return true
		}
	}
	return false
}

// dial connects and speaks with a peer. Who closes a plain connection without
// an answer may want an encrypted one.
func (s *Seeder) dial(ctx context.Context, ih infohash.T, to netip.AddrPort) {
	for _, open := range []opener{peerwire.Open, peerwire.OpenEncrypted} {
		select {
		case <-ctx.Done():
			return
		case <-time.After(dialAfter):
		}
		s.mu.Lock()
		connected := s.connectedTo(ih, to)
		s.mu.Unlock()
		if connected {
			return
		}
		err := s.dialWith(ctx, open, ih, to)
		if err != nil {
			s.o.Log.Debug("a connection to a peer ended", "peer", to, "err", err)
		}
		if !errors.Is(err, errNoAnswer) {
			return
		}
	}
}

var errNoAnswer = errors.New("the handshake was not answered")

type opener func(net.Conn, peerwire.Hello) (*peerwire.Conn, peerwire.Hello, error)

func (s *Seeder) dialWith(ctx context.Context, open opener, ih infohash.T, to netip.AddrPort) error {
	d := net.Dialer{Timeout: dialTimeout, Control: s.o.Control}
	s.counts.dials.Add(1)
	raw, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer raw.Close()
	addr, ok := s.admit(raw)
	if !ok {
		return errFull
	}
	defer s.dismiss(addr)
	raw.SetDeadline(time.Now().Add(s.o.Limits.Handshake))
	conn, hello, err := open(raw, peerwire.Hello{Reserved: s.reserved(), InfoHash: ih, PeerID: s.id})
	if err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return s.converse(ctx, raw, conn, hello, addr, nil, outgoing)
}

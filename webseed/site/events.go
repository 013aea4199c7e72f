package site

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// Bounds and times of the streams of events.
const (
	streamsMost    = 512
	streamsFrom    = 16 // one address, or IPv6 /64
	streamWrite    = 10 * time.Second
	heartbeatAfter = 15 * time.Second
	pollEvery      = 500 * time.Millisecond // pending and catalog
	statsEvery     = 4                      // polls
	pendingShare   = 20                     // looking at what is pending takes this part of the time, at the most
	pendingMost    = 200                    // in one event
)

// event is a server-sent event: its kind and JSON in one line.
type event struct {
	kind string
	data []byte
}

// hub knows who listens to events. What they are told is made by Site.Run, once
// for all of them and only while there are any.
type hub struct {
	came chan struct{} // a stream has come; holds one
	over chan struct{} // closed when no stream may go on

	mu      sync.Mutex // guards the fields below, and those of streams
	streams map[*stream]struct{}
	from    map[netip.Addr]int
	ended   bool
}

// stream is one that listens.
type stream struct {
	from    netip.Addr
	of      subject
	release bool          // it wants to hear of that release too
	gone    chan struct{} // closed when the release is not published any more
	wake    chan struct{} // something waits; holds one

	waiting []event           // at most one of each kind, oldest first
	told    map[string][]byte // the last of each kind
}

// subject is a release as seen by those who reached us at a base.
type subject struct {
	infoHash infohash.T
	base     string
}

func newHub() *hub {
	return &hub{
		came: make(chan struct{}, 1), over: make(chan struct{}),
		streams: make(map[*stream]struct{}), from: make(map[netip.Addr]int),
	}
}

// join adds a stream, unless there are too many or none may be any more.
func (h *hub) join(st *stream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || len(h.streams) >= streamsMost || h.from[st.from] >= streamsFrom {
		return false
	}
	h.streams[st] = struct{}{}
	h.from[st.from]++
	select {
	case h.came <- struct{}{}:
	default:
	}
	return true
}

func (h *hub) leave(st *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, st)
	if h.from[st.from]--; h.from[st.from] == 0 {
		delete(h.from, st.from)
	}
}

// end ends all streams, and lets no more come.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	close(h.over)
}

func (h *hub) listened() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams) > 0
}

// put has a stream told of an event, in the place of an earlier one of its kind
// that waits. It does nothing if that is no news. h.mu is held.
func (st *stream) put(e event) {
	if bytes.Equal(st.told[e.kind], e.data) {
		return
	}
	st.told[e.kind] = e.data
	if i := slices.IndexFunc(st.waiting, func(w event) bool { return w.kind == e.kind }); i >= 0 {
		st.waiting[i] = e
	} else {
		st.waiting = append(st.waiting, e)
	}
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// tell has all streams told of an event.
func (h *hub) tell(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for st := range h.streams {
		st.put(e)
	}
}

// take returns what a stream has not been told of yet.
func (h *hub) take(st *stream) []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := st.waiting
	st.waiting = nil
	return events
}

// Run makes the events until ctx ends, which ends all streams at once. It
// returns ctx's error. While nobody listens it does nothing.
func (s *Site) Run(ctx context.Context) error {
	defer s.events.end()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.events.came:
		}
		s.tellNews(ctx)
	}
}

// tellNews tells the streams what is new, until there are none.
func (s *Site) tellNews(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var pendingAt time.Time // when it may be looked at again
	for n := 0; s.events.listened(); n++ {
		changed := s.o.Catalog.Changed() // before looking
		s.events.tell(s.releasesNews())
		if began := time.Now(); !began.Before(pendingAt) {
			s.events.tell(s.pendingNews())
			now := time.Now()
			pendingAt = now.Add(pendingShare*now.Sub(began) - pollEvery)
		}
		if n%statsEvery == 0 {
			s.events.tell(s.statsNews())
			s.tellOfReleases()
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				waiting = false
			case <-changed: // at once, and then not before the next tick
				s.events.tell(s.releasesNews())
				changed = nil
			}
		}
	}
}

func (s *Site) statsNews() event    { return newEvent("stats", s.stats()) }
func (s *Site) releasesNews() event { return newEvent("releases", s.totals.of(s.o.Catalog)) }

// pendingNews is what is pending, or the first of it by name and how much it is.
func (s *Site) pendingNews() event {
	pending := s.pending()
	return newEvent("pending", pendingPart{pending[:min(len(pending), pendingMost)], len(pending)})
}

// pending is freshPending, as it was half a second ago at the earliest.
func (s *Site) pending() []Pending { return s.lastPending.get(pollEvery/2, s.freshPending) }

// freshPending is Options.Pending as the API tells it: never null, in UTC.
func (s *Site) freshPending() []Pending {
	list := append([]Pending{}, s.o.Pending()...)
	for i := range list {
		list[i].Since = list[i].Since.UTC()
	}
	return list
}

// releaseNews is a release without its files, and who is connected for it. ok is
// false when it is not published any more.
func (s *Site) releaseNews(of subject) (news []event, ok bool) {
	rel, found := s.o.Catalog.Get(of.infoHash)
	if !found || !rel.Live() {
		return nil, false
	}
	return []event{newEvent("release", s.o.Listing.Release(of.base, rel)), newEvent("swarm", s.swarm(rel))}, true
}

// tellOfReleases tells the streams of a release what is new of it, and ends those
// of a release that is not published any more.
func (s *Site) tellOfReleases() {
	h := s.events
	listening := make(map[subject][]*stream)
	h.mu.Lock()
	for st := range h.streams {
		if st.release {
			listening[st.of] = append(listening[st.of], st)
		}
	}
	h.mu.Unlock()
	for of, streams := range listening {
		news, ok := s.releaseNews(of)
		h.mu.Lock()
		for _, st := range streams {
			if !ok {
				st.end()
			}
			for _, e := range news {
				st.put(e)
			}
		}
		h.mu.Unlock()
	}
}

// end ends a stream. The hub's lock is held.
func (st *stream) end() {
	select {
	case <-st.gone:
	default:
		close(st.gone)
	}
}

// newEvent encodes a value that can be encoded.
func newEvent(kind string, v any) event {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return event{kind, bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}

// apiEvents answers with a stream of events (Server-Sent Events), until the
// client goes, does not read, or may not see what is the operator's any more, or
// the server stops.
func (s *Site) apiEvents(w http.ResponseWriter, r *http.Request) {
	st := &stream{gone: make(chan struct{}), wake: make(chan struct{}, 1), told: make(map[string][]byte)}
	q, ok := s.query(w, r)
	if !ok {
		return
	}
	if q.Has("release") {
		rel, status, _ := s.byHash(q.Get("release"))
		if status != http.StatusOK {
			s.fail(w, r, status, reasons[status])
			return
		}
		st.release, st.of = true, subject{rel.InfoHash, s.o.Base(r)}
	}
	h := w.Header()
	if r.Method == http.MethodHead {
		h.Set("Content-Type", "text/event-stream")
		return
	}
	st.from = network(s.o.Client(r))
	if !s.events.join(st) {
		h.Set("Retry-After", "30")
		s.fail(w, r, http.StatusServiceUnavailable, "There are too many streams of events, from this address or in all.")
		return
	}
	defer s.events.leave(st)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close") // nothing follows a stream
	}
	s.begin(st)
	s.stream(w, r, st)
}

// begin has a stream told how everything is.
func (s *Site) begin(st *stream) {
	news := []event{s.statsNews(), s.pendingNews(), s.releasesNews()}
	if st.release {
		more, _ := s.releaseNews(st.of)
		news = append(news, more...)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	for _, e := range news {
		if st.told[e.kind] == nil { // else Run was faster, and knows it better
			st.put(e)
		}
	}
}

// stream writes what a stream is told.
func (s *Site) stream(w http.ResponseWriter, r *http.Request, st *stream) {
	control := http.NewResponseController(w)
	beat := time.NewTicker(heartbeatAfter)
	defer beat.Stop()
	line := []byte("retry: 2000\n\n")
	for {
		// Of no use in a test that records the answer.
		_ = control.SetWriteDeadline(time.Now().Add(s.streamWrite))
		if _, err := w.Write(line); err != nil || control.Flush() != nil {
			return
		}
		_ = control.SetWriteDeadline(time.Time{}) // with HTTP/2 it would end the stream while nothing is written, too
		line = line[:0]
		select {
		case <-r.Context().Done():
			return
		case <-s.events.over:
			return
		case <-st.gone:
			return
		case <-beat.C:
			if !s.operator(r) { // any more
				return
			}
			line = append(line, ":\n\n"...)
		case <-st.wake:
			for _, e := range s.events.take(st) {
				line = append(line, "event: "+e.kind+"\ndata: "...)
				line = append(line, e.data...)
				line = append(line, "\n\n"...)
			}
		}
	}
}

// network is what one user has of addresses: an IPv4 address or an IPv6 /64.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); !a.Is6() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// Streams returns how many listen to events.
func (s *Site) Streams() int {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return len(s.events.streams)
}

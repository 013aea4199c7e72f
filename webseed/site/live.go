package site

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"dropseed/publisher/catalog"
	"dropseed/publisher/history"
)

// Swarm is who is connected for a release, and who has which part of it.
type Swarm struct {
	Pieces       int       `json:"pieces"`
	Parts        int       `json:"parts"` // that the pieces are put together in, in order
	Peers        []Peer    `json:"peers"`
	Availability []float64 `json:"availability"` // how many connected peers have each part, on average
	Truncated    bool      `json:"truncated"`    // there are more peers than these
}

// Peer is a connection to a peer.
type Peer struct {
	ID       string  `json:"id"` // stable while it lasts
	Client   string  `json:"client"`
	Progress float64 `json:"progress"`          // 0 to 1
	Rate     float64 `json:"rate"`              // bytes of content per second that we send it
	Parts    []byte  `json:"parts"`             // how much of each part it has, 0 to 255; base64 in JSON
	Address  string  `json:"address,omitempty"` // if addresses are shown
}

// stats are the figures of the whole server. Our own seeder is none of the seeders.
type stats struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Releases  int       `json:"releases"`
	Size      int64     `json:"size"` // bytes, of all releases
	Pending   int       `json:"pending"`
	Swarm     struct {
		Seeders   int   `json:"seeders"`
		Leechers  int   `json:"leechers"`
		Completed int64 `json:"completed"`
		Connected int   `json:"connected"`
	} `json:"swarm"`
	Sent struct {
		Peers   int64 `json:"peers"`
		Webseed int64 `json:"webseed"`
		Direct  int64 `json:"direct"`
	} `json:"sent"` // bytes, ever
	Carried    int64   `json:"carried"` // bytes that peers got from each other, ever
	Copies     float64 `json:"copies"`
	PeersShare float64 `json:"peers_share"`
	Rates      struct {
		Peers   int64 `json:"peers"`
		Webseed int64 `json:"webseed"`
		Direct  int64 `json:"direct"`
		Carried int64 `json:"carried"`
	} `json:"rates"` // bytes per second
}

// recent is a value that many ask for and that is made again only when it is old.
type recent[T any] struct {
	mu   sync.Mutex // guards the fields below
	at   time.Time  // when the value was made
	last T
}

func (r *recent[T]) get(age time.Duration, renew func() T) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) >= age {
		r.last = renew()
		r.at = time.Now()
	}
	return r.last
}

// stats returns the figures as they are, at most one or two seconds old.
func (s *Site) stats() stats { return s.lastStats.get(pollEvery, s.newStats) }

// newStats looks at the releases with something going on, and at no others
// unless the catalog has changed.
func (s *Site) newStats() stats {
	now := s.o.History.Now()
	total := s.totals.of(s.o.Catalog)
	st := stats{
		Version: s.o.Version, StartedAt: s.o.Started.UTC(),
		Releases: total.Total, Size: total.Size, Pending: len(s.pending()),
		Copies: decimals(now.Copies), PeersShare: decimals(now.PeersShare),
	}
	st.Swarm.Seeders, st.Swarm.Leechers, st.Swarm.Connected = now.Swarm.Seeders, now.Swarm.Leechers, now.Swarm.Connected
	st.Swarm.Completed = now.Sent.Completed
	st.Sent.Peers, st.Sent.Webseed, st.Sent.Direct = now.Sent.Peers, now.Sent.Webseed, now.Sent.Direct
	st.Rates.Peers, st.Rates.Webseed = int64(now.Rates.Peers), int64(now.Rates.Webseed)
	st.Carried = now.Carried
	st.Rates.Direct, st.Rates.Carried = int64(now.Rates.Direct), int64(now.Rates.Carried)
	return st
}

// decimals rounds to three of them.
func decimals(f float64) float64 { return math.Round(1000*f) / 1000 }

// totals is how many releases there are, and how large they are together. It is
// counted again only when the catalog has changed.
type totals struct {
	mu      sync.Mutex // guards the fields below
	changed <-chan struct{}
	last    releasesEvent
}

// releasesEvent is what is told when the catalog has changed.
type releasesEvent struct {
	Total int   `json:"total"`
	Size  int64 `json:"size"` // bytes
}

func (t *totals) of(c *catalog.Catalog) releasesEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.changed:
	default:
		if t.changed != nil {
			return t.last
		}
	}
	t.changed = c.Changed() // before looking
	live := c.Live()
	t.last = releasesEvent{Total: len(live)}
	for _, r := range live {
		t.last.Size += r.Size
	}
	return t.last
}

// apiStats answers with the figures of the whole server.
func (s *Site) apiStats(w http.ResponseWriter) { writeJSON(w, http.StatusOK, s.stats()) }

// apiHistory answers with the series of the last hour or day, of the whole
// server or of one release.
func (s *Site) apiHistory(w http.ResponseWriter, r *http.Request) {
	q, ok := s.query(w, r)
	if !ok {
		return
	}
	ranges := map[string]history.Range{"hour": history.Hour, "day": history.Day}
	over, ok := ranges[q.Get("range")]
	if !ok {
		s.invalid(w, r, &badParameter{"range", "is neither hour nor day"})
		return
	}
	var series history.Series
	if q.Has("release") {
		rel, status, _ := s.byHash(q.Get("release"))
		if status != http.StatusOK {
			s.fail(w, r, status, reasons[status])
			return
		}
		series = s.o.History.Release(over, rel.InfoHash)
	} else {
		series = s.o.History.Series(over)
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that went away is the only way to fail.
	_, _ = w.Write(seriesJSON(q.Get("range"), series))
}

// seriesJSON encodes series, with null for what is not known.
func seriesJSON(name string, series history.Series) []byte {
	b := make([]byte, 0, 16<<10)
	b = append(b, `{"range":"`+name+`","step":`...)
	b = strconv.AppendInt(b, int64(series.Step/time.Second), 10)
	b = append(b, `,"from":`...)
	b = strconv.AppendInt(b, series.From.Unix(), 10)
	b = append(b, `,"series":{`...)
	for i, values := range series.Of {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+history.Names[i]+`":[`...)
		for j, v := range values {
			if j > 0 {
				b = append(b, ',')
			}
			if f := float64(v); math.IsNaN(f) {
				b = append(b, "null"...)
			} else {
				b = strconv.AppendFloat(b, math.Round(10*f)/10, 'f', -1, 64)
			}
		}
		b = append(b, ']')
	}
	return append(b, "}}\n"...)
}

// apiSwarm answers with who is connected for a release.
func (s *Site) apiSwarm(w http.ResponseWriter, r *http.Request, hex string) {
	rel, status, _ := s.byHash(hex)
	if status != http.StatusOK {
		s.fail(w, r, status, reasons[status])
		return
	}
	writeJSON(w, http.StatusOK, s.swarm(rel))
}

// swarm returns who is connected for a release, with empty lists rather than none.
func (s *Site) swarm(rel catalog.Release) Swarm {
	sw := s.o.Swarm(rel.InfoHash)
	if sw.Peers == nil {
		sw.Peers = []Peer{}
	}
	if sw.Availability == nil {
		sw.Availability = []float64{}
	}
	return sw
}

package site

import (
	"net/http"
	"time"

	"dropseed/publisher/feed"
)

// Stats is the server's figures, for its operator.
type Stats struct {
	Version    string     `json:"version"`
	StartedAt  time.Time  `json:"started_at"`
	Releases   int        `json:"releases"`
	Size       int64      `json:"size"`    // bytes of all releases
	Pending    int        `json:"pending"` // trees that are not published
	Swarm      StatsSwarm `json:"swarm"`
	Sent       feed.Sent  `json:"sent"`
	Copies     float64    `json:"copies"`      // bytes sent ÷ size, of releases of which anything was sent
	PeersShare float64    `json:"peers_share"` // of the bytes delivered that peers carried, 0 to 1
	Rates      Rates      `json:"rates"`
}

// StatsSwarm is who is in all swarms together.
type StatsSwarm struct {
	Seeders   int `json:"seeders"`
	Leechers  int `json:"leechers"`
	Completed int `json:"completed"` // downloads that ended, ever
	Connected int `json:"connected"` // peers of our seeder
}

// Rates are bytes per second, over the last few seconds.
type Rates struct {
	Peers   float64 `json:"peers"`
	Webseed float64 `json:"webseed"`
	Direct  float64 `json:"direct"`
	Carried float64 `json:"carried"` // among peers
}

type statusPage struct {
	Stats   Stats
	Pending pendingList
	Ready   string // why the server is not ready; empty: it is
}

// status answers /status: everything that the operator wants to see at a glance.
func (s *Site) status(w http.ResponseWriter, r *http.Request) {
	if !s.operator(r) {
		s.fail(w, r, http.StatusForbidden, "This page is for who runs this server.")
		return
	}
	if s.o.Stats == nil {
		s.fail(w, r, http.StatusNotFound, "There is nothing at this address.")
		return
	}
	page := statusPage{Stats: s.o.Stats(), Pending: s.pendingList()}
	if err := s.o.Ready(); err != nil {
		page.Ready = err.Error()
	}
	f := s.frame(r, "status", page)
	f.Refresh = refreshAfter
	s.render(w, r, http.StatusOK, f)
}

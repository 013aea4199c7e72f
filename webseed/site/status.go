package site

import "net/http"

type statusPage struct {
	Stats   stats
	Pending pendingList
	Ready   string // why the server is not ready; empty: it is
}

// status answers /status: everything that the operator wants to see at a glance.
func (s *Site) status(w http.ResponseWriter, r *http.Request) {
	if !s.operator(r) {
		s.fail(w, r, http.StatusForbidden, "This page is for who runs this server.")
		return
	}
	page := statusPage{Stats: s.stats(), Pending: s.pendingList()}
	if err := s.o.Ready(); err != nil {
		page.Ready = err.Error()
	}
	f := s.frame(r, "status", page)
	f.Refresh = refreshAfter
	s.render(w, r, http.StatusOK, f)
}

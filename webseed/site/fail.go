package site

import (
	"net/http"
	"strings"
)

// setHeaders sets what every answer of the site has.
func (s *Site) setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	s.setFresh(h)
}

// setFresh has caches ask again each time.
func (s *Site) setFresh(h http.Header) {
	h.Set("Cache-Control", "no-cache")
	if s.o.Private {
		h.Set("Cache-Control", "private, no-cache")
	}
}

// Fail answers a request for any path of the server with an error: one that
// never came to the site. Browsers get a page.
func (s *Site) Fail(w http.ResponseWriter, r *http.Request, status int, reason string) {
	s.setHeaders(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	if !strings.HasPrefix(r.URL.Path, "/api/") && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		text(w, status, reason)
		return
	}
	s.fail(w, r, status, reason)
}

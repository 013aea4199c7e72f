package site

import (
	"net/http"
	"strings"
)

// begin sets what every answer of the site has.
func (s *Site) begin(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	if s.o.Private {
		h.Set("Cache-Control", "private, no-cache")
	}
}

// Fail answers a request for any path of the server with an error: one that
// never came to the site. Browsers get a page.
func (s *Site) Fail(w http.ResponseWriter, r *http.Request, status int, reason string) {
	s.begin(w.Header())
	w.Header().Set("Cache-Control", "no-store")
	if !strings.HasPrefix(r.URL.Path, "/api/") && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		text(w, status, reason)
		return
	}
	s.fail(w, r, status, reason)
}

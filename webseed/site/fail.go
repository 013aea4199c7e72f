package site

import (
	"net/http"
	"strings"

	"dropseed/webseed/access"
)

// setHeaders sets what every answer of the site has, and reports whether what
// head serves may be read by pages on other sites.
func (s *Site) setHeaders(h http.Header, head string) (public bool) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	s.setFresh(h)
	public = !s.o.Private && (head == "/torrents/" || strings.HasPrefix(head, "/api/") || isFeed(head))
	if public {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "Content-Length, ETag, Content-Disposition, Link, Retry-After")
	}
	return public
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
	head, _ := route(access.RawPath(r.URL))
	s.setHeaders(w.Header(), head)
	w.Header().Set("Cache-Control", "no-store")
	if !strings.HasPrefix(r.URL.Path, "/api/") && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		text(w, status, reason)
		return
	}
	s.fail(w, r, status, reason)
}

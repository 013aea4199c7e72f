package main

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"dropseed/configs"
	"dropseed/webseed/access"
)

// openAccess reads the files of accounts.
func (s *server) openAccess() (err error) {
	if c := s.config.Limits.Requests; c.Rate > 0 {
		s.requests = access.NewLimiter(c.Rate, c.Burst)
	}
	audiences := map[configs.Audience]access.Audience{
		configs.Public: access.Public, configs.Local: access.Local, configs.Private: access.Private,
	}
	c := s.config.Access
	o := access.Options{
		Catalog: audiences[c.Catalog], Operator: audiences[c.Operator],
		Accounts: c.Accounts, Operators: c.Operators,
		Tokens: reveal(c.Tokens), OperatorTokens: reveal(c.OperatorTokens),
		Realm:      s.config.HTTP.Title,
		ClientAddr: func(r *http.Request) netip.Addr { return s.tracker.ClientAddr(r) },
		Proxied:    s.trusted,
		Fail: func(w http.ResponseWriter, r *http.Request, status int, reason string) {
			s.site.Fail(w, r, status, reason)
		},
		Log: s.log,
	}
	if u := s.config.HTTP.PublicURL; u != nil {
		o.Host = u.Hostname()
	}
	s.access, err = access.New(o)
	return err
}

// checkFiles returns what is wrong with the accounts, certificates and logo that
// a configuration names.
func checkFiles(c configs.Config) error {
	s := &server{config: c, log: slog.New(slog.DiscardHandler)}
	return errors.Join(s.openAccess(), s.openTLS(), s.openBrand())
}

func reveal(secrets []configs.Secret) []string {
	texts := make([]string, len(secrets))
	for i, s := range secrets {
		texts[i] = s.Reveal()
	}
	return texts
}

// admit reports whether a request for what is not content may pass, and answers
// it if not.
func (s *server) admit(w http.ResponseWriter, r *http.Request, kind access.Kind) bool {
	s.secure(w.Header())
	if kind != access.Open && s.requests != nil {
		// This machine's own are not counted: they may be everybody's, through a
		// proxy that nobody told us of.
		if client := s.tracker.ClientAddr(r); !client.IsLoopback() {
			if wait := s.requests.Allow(client); wait > 0 {
				access.Refuse(w, r, http.StatusTooManyRequests, "Too many requests came from your address. Try again soon.", wait, s.site.Fail)
				return false
			}
		}
	}
	if !s.access.Admit(w, r, kind) {
		return false
	}
	if to := s.access.Rewritten(r, publicPath(s.config.HTTP.PublicURL)); to != "" {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusSeeOther)
		return false
	}
	return true
}

// secure sets what every answer has that is not content.
func (s *server) secure(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	if u := s.config.HTTP.PublicURL; u != nil && u.Scheme == "https" && s.tls != nil {
		h.Set("Strict-Transport-Security", "max-age=15552000") // half a year
	}
}

// mayOperate reports whether who sent a request may see what is the operator's.
func (s *server) mayOperate(r *http.Request) bool { return s.access.May(r, access.Operator) }

// catalogBase is the base of the URLs in the catalog's answers: they carry the
// token on by which it was asked. What people pass on must not: network and
// magnet leave it out.
func (s *server) catalogBase(r *http.Request) string { return s.base(r) + s.access.Prefix(r) }

// publicPath is the path of a public URL, without a slash at its end.
func publicPath(u *url.URL) string {
	return strings.TrimSuffix(cmp.Or(u, &url.URL{}).EscapedPath(), "/")
}

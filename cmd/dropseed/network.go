package main

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"dropseed/configs"
	"dropseed/publisher/catalog"
	"dropseed/publisher/torrentfile"
	"dropseed/webseed"
	"dropseed/webseed/access"
)

// base returns the URL, without a final slash, under which whoever sent a
// request reaches this server: the configured one, or else what the request
// says of itself.
func (s *server) base(r *http.Request) string {
	if u := s.config.HTTP.PublicURL; u != nil {
		return strings.TrimSuffix(u.String(), "/")
	}
	host, scheme := r.Host, "http"
	if r.TLS != nil || s.trusted(r) && r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	if !plainHost(host) {
		host = s.httpListener.Addr().String()
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			host = local.String()
		}
	}
	return scheme + "://" + host
}

// trusted reports whether a request came through a reverse proxy of ours.
func (s *server) trusted(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	for _, p := range s.config.HTTP.TrustedProxies {
		if p.Contains(from.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// plainHost reports whether a request's Host is a name or address, with or
// without a port: it ends up in torrents and pages.
func plainHost(host string) bool {
	return host != "" && len(host) <= 260 && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") == ""
}

// pageURL is where people on this network find the page.
func (s *server) pageURL() string {
	if u := s.config.HTTP.PublicURL; u != nil {
		return strings.TrimSuffix(u.String(), "/")
	}
	at := s.httpListener.Addr().(*net.TCPAddr).AddrPort()
	scheme, usual := "http://", uint16(80)
	if s.tls != nil {
		scheme, usual = "https://", 443
	}
	host := "localhost"
	switch domains := s.config.HTTP.ACME.Domains; {
	case len(domains) > 0: // by any other name there is no certificate
		if host = domains[0]; at.Port() == usual {
			return scheme + host
		}
	case !at.Addr().IsUnspecified():
		return scheme + at.String()
	default:
		if a := outwardAddress(); a.IsValid() {
			host = a.String()
		}
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(int(at.Port())))
}

// outwardAddress is this machine's address on the way to the rest of the
// world, as the routing table has it. No packet is sent.
func outwardAddress() netip.Addr {
	for _, target := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // documentation networks
		c, err := net.Dial("udp", target)
		if err != nil {
			continue
		}
		defer c.Close()
		if a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !a.IsUnspecified() {
			return a
		}
	}
	return netip.Addr{}
}

// torrentOptions are the settings of a release's source; those of the section
// torrent for a source that is not configured any more.
func (s *server) torrentOptions(r catalog.Release) configs.Torrent {
	if src := s.sources[r.Source]; src != nil {
		return src.config.Torrent
	}
	return s.config.Torrent
}

// network returns where a release can be had by those who reach us at base. It is
// what people pass on, so it holds no token.
func (s *server) network(base string, r catalog.Release) torrentfile.Network {
	base = access.WithoutToken(base)
	o := s.torrentOptions(r)
	// One tier: both are the same tracker, so a client need not announce twice.
	own := []string{base + "/announce"}
	if u, err := url.Parse(base); err == nil && len(s.udp) > 0 {
		port := s.udp[0].LocalAddr().(*net.UDPAddr).Port
		own = append(own, "udp://"+net.JoinHostPort(u.Hostname(), strconv.Itoa(port))+"/announce")
	}
	n := torrentfile.Network{
		Trackers: [][]string{own},
		Webseeds: []string{webseed.WebseedURL(base, r)},
	}
	if u, err := url.Parse(base); err == nil && s.dht != nil && !r.Private {
		n.Nodes = []torrentfile.Node{{Host: u.Hostname(), Port: s.peerPort()}}
	}
	if u := s.publicURL(r.Source); u != nil {
		n.Webseeds[0] = folderURL(u, r)
	}
	for _, tier := range o.Trackers {
		n.Trackers = append(n.Trackers, texts(tier))
	}
	for _, u := range o.Webseeds {
		n.Webseeds = append(n.Webseeds, folderURL(u, r))
	}
	return n
}

// folderURL returns what a release's .torrent says of a folder elsewhere that
// holds the same content: a file's own URL, so that no client has to append its
// name, and for several files the folder's.
func folderURL(u *url.URL, r catalog.Release) string {
	if r.IsFile {
		return u.String() + webseed.Escape(r.Name)
	}
	return u.String()
}

func texts(urls []*url.URL) []string {
	t := make([]string, len(urls))
	for i, u := range urls {
		t[i] = u.String()
	}
	return t
}

// torrent returns a release's .torrent for those who reach us at base.
func (s *server) torrent(base string, r catalog.Release) ([]byte, error) {
	stored, err := s.catalog.Torrent(r.InfoHash)
	if err != nil {
		return nil, err
	}
	return torrentfile.WithNetwork(stored, s.network(base, r))
}

// magnet returns a release's magnet link for those who reach us at base.
func (s *server) magnet(base string, r catalog.Release) string {
	base = access.WithoutToken(base)
	n := s.network(base, r)
	m := torrentfile.Magnet{
		InfoHash: r.InfoHash,
		Name:     r.Name,
		Webseeds: n.Webseeds,
		Torrents: []string{base + "/torrents/" + r.InfoHash.HexString() + ".torrent"},
	}
	for _, tier := range n.Trackers {
		m.Trackers = append(m.Trackers, tier...)
	}
	var reached netip.Addr
	if u, err := url.Parse(base); err == nil {
		reached, _ = netip.ParseAddr(u.Hostname())
	}
	for _, seed := range s.seeds(reached) {
		m.Peers = append(m.Peers, seed.String())
	}
	return m.String()
}

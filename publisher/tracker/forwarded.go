package tracker

import (
	"net/http"
	"net/netip"
	"strings"
)

var refusedForwarded = &refusal{"the proxy in front of this tracker did not say where the request came from", retryUnsaid, causeForwarded}

// clientAddr returns where a request came from: the TCP peer, or, if that is a
// trusted proxy, the rightmost address in X-Forwarded-For that is not one.
// What stands further left was written by whoever sent the request.
func (t *Tracker) clientAddr(r *http.Request) (netip.Addr, *refusal) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, refusedAddress
	}
	return forwardedFor(plain(peer.Addr()), r.Header.Values("X-Forwarded-For"), t.opt.TrustedProxies)
}

// ClientAddr returns where a request came from, reverse proxies of ours aside;
// the zero address if that cannot be told.
func (t *Tracker) ClientAddr(r *http.Request) netip.Addr {
	addr, refused := t.clientAddr(r)
	if refused != nil {
		return netip.Addr{}
	}
	return addr
}

func forwardedFor(peer netip.Addr, headers []string, trusted []netip.Prefix) (netip.Addr, *refusal) {
	addr := peer
	for i := len(headers) - 1; i >= 0; i-- {
		for rest, more := headers[i], true; more; {
			if !inAny(trusted, addr) {
				return addr, nil
			}
			hop := rest
			comma := strings.LastIndexByte(rest, ',')
			if more = comma >= 0; more {
				rest, hop = rest[:comma], rest[comma+1:]
			}
			if hop = strings.Trim(hop, " \t"); hop == "" {
				continue
			}
			var ok bool
			if addr, ok = parseHop(hop); !ok {
				return netip.Addr{}, refusedForwarded
			}
		}
	}
	return addr, nil
}

// parseHop reads one element of X-Forwarded-For: an address, IPv6 in brackets
// or not, with a port or without.
func parseHop(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plain(ap.Addr()), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	return plain(a), err == nil
}

func inAny(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

package configs

import (
	"net"
	"net/netip"
)

func (d Debug) validate(ps *Problems) {
	if d.Listen == "" {
		return
	}
	checkListen(ps, "debug.listen", d.Listen)
	host, _, err := net.SplitHostPort(d.Listen)
	if addr, bad := netip.ParseAddr(host); err == nil && host != "localhost" && (bad != nil || !addr.IsLoopback()) {
		ps.add("debug.listen", "", "want a loopback address, such as 127.0.0.1:6060, since profiles are for nobody else, got %q", d.Listen)
	}
}

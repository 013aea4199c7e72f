package tracker

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/types/infohash"
)

func fuzzOptions() Options {
	return Options{
		Standing: func(ih infohash.T) Standing { return Standing(ih[0] % 4) },
		Seeds: func(a netip.Addr) []netip.AddrPort {
			return []netip.AddrPort{netip.AddrPortFrom(a, 6881), netip.MustParseAddrPort("[2001:db8::1]:6881")}
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		TrustedIPs:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
	}
}

func FuzzAnnounceQuery(f *testing.F) {
	id := strings.Repeat("i", 20)
	f.Add("announce", "info_hash="+strings.Repeat("%01", 20)+"&peer_id="+id+"&port=6881&left=0&event=completed&key=1f&numwant=-1&compact=0")
	f.Add("announce", "info_hash="+strings.Repeat("a", 20)+"&peer_id="+id+"&port=6881&ip=1.2.3.4&ipv6=[::2]:3&ipv4=None")
	f.Add("announce", "info_hash=%&peer_id&port=99999&&=&%")
	f.Add("scrape", "info_hash="+strings.Repeat("%01", 20)+"&info_hash="+strings.Repeat("b", 20))
	t := New(fuzzOptions())
	f.Fuzz(func(tt *testing.T, action, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = &url.URL{Path: "/" + action, RawQuery: query}
		w := httptest.NewRecorder()
		t.ServeHTTP(w, r)
		if w.Code == http.StatusNotFound {
			return
		}
		var m map[string]any
		if err := bencode.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != 200 {
			tt.Fatalf("status %d, %q: %v", w.Code, w.Body, err)
		}
		if again := string(bencode.MustMarshal(m)); again != w.Body.String() {
			tt.Fatalf("not canonical: %q", w.Body)
		}
		if m["failure reason"] != nil || m["files"] != nil {
			return
		}
		if p, ok := m["peers"].(string); ok && len(p)%width4 != 0 || m["interval"].(int64) <= 0 {
			tt.Fatalf("answer %v", m)
		}
	})
}

func FuzzUDPPacket(f *testing.F) {
	w := newUDPWorker(New(fuzzOptions()))
	addrs := []netip.AddrPort{
		netip.MustParseAddrPort("198.51.100.1:5000"),
		netip.MustParseAddrPort("[2001:db8::7]:5000"),
		netip.MustParseAddrPort("[::ffff:198.51.100.1]:5000"),
	}
	announce := udpAnnounce(w, infohash.T{1}, addrs[0].Addr(), 50)
	f.Add(announce, true, uint8(0))
	f.Add(announce[:50], true, uint8(1))
	f.Add(append(announce, "\x02\x09/announce\x00"...), true, uint8(1))
	f.Add(append([]byte("12345678\x00\x00\x00\x02tid."), make([]byte, 40)...), true, uint8(2))
	f.Add(append(binary.BigEndian.AppendUint64(nil, protocolID), "\x00\x00\x00\x00tid."...), false, uint8(0))
	f.Fuzz(func(t *testing.T, p []byte, sign bool, at uint8) {
		p = bytes.Clone(p[:min(len(p), maxPacket)])
		from := addrs[int(at)%len(addrs)]
		isConnect := len(p) >= 16 && binary.BigEndian.Uint64(p) == protocolID && binary.BigEndian.Uint32(p[8:]) == actionConnect
		signed := sign && !isConnect && len(p) >= 16
		if signed {
			binary.BigEndian.PutUint64(p, w.t.conn.make(plain(from.Addr()), w.t.opt.Now().Unix()/60, &w.scratch))
		}
		r := w.handle(nil, p, from, netip.MustParseAddr("127.0.0.1"))
		if r == nil {
			return
		}
		if !isConnect && !signed {
			t.Fatalf("answer %x without a connection id", r)
		}
		if len(r) < 8 || string(r[4:8]) != string(p[12:16]) || len(r) > maxReply4 {
			t.Fatalf("answer %x to %x", r, p)
		}
	})
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "1.1.1.1, 192.0.2.9", "[2001:db8::1]:80,192.0.2.1", "unknown", ",,", "fe80::1%eth0", "[", "::ffff:1.2.3.4"} {
		f.Add(s, "192.0.2.7")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		proxy := netip.MustParseAddr("192.0.2.1")
		a, refused := forwardedFor(proxy, []string{one, two}, trusted)
		if refused == nil && (!a.IsValid() || a.Is4In6() || a.Zone() != "") {
			t.Fatalf("%q, %q: %v", one, two, a)
		}
		stranger := netip.MustParseAddr("198.51.100.1")
		if a, refused := forwardedFor(stranger, []string{one, two}, trusted); refused != nil || a != stranger {
			t.Fatalf("a stranger was believed: %v", a)
		}
		// What stands left of an address that is no proxy's changes nothing.
		if a, refused := forwardedFor(proxy, []string{one, two + ",203.0.113.5"}, trusted); refused != nil || a.String() != "203.0.113.5" {
			t.Fatalf("%q, %q: %v", one, two, a)
		}
	})
}

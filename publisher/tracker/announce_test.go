package tracker_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker"
)

const (
	seeding  = "&left=0"
	leeching = "&left=1000"
)

func TestAnnounceH01RawQueryBytes(t *testing.T) {
	s := start(t, tracker.Options{})
	ih := infohash.T{}
	copy(ih[:], "a+b;c/d?e:f@g\xff\x80\xabxyz~!")
	// Raw wherever it is allowed; net/http refuses raw control bytes itself.
	for i, written := range []string{
		escape(string(ih[:])),
		strings.ToUpper(escape(string(ih[:]))),
		string(ih[:]),
		strings.ReplaceAll(string(ih[:]), "+", "%2B"),
	} {
		m := s.get(t, fmt.Sprintf("/announce?info_hash=%s&peer_id=%s&port=%d", written, peerID(i), 7000+i), "")
		if m["incomplete"] != int64(i+1) {
			t.Errorf("info_hash written %q is another torrent, or none: %v", written, m)
		}
	}
	if got := s.Swarm(ih).Leechers; got != 4 {
		t.Errorf("leechers = %d, want 4", got)
	}
}

func TestAnnounceH02HashAndIDAre20Bytes(t *testing.T) {
	s := start(t, tracker.Options{})
	h20, id := strings.Repeat("h", 20), peerID(1)
	for name, query := range map[string]string{
		"nothing":        "",
		"no info_hash":   "peer_id=" + id + "&port=1",
		"no peer_id":     "info_hash=" + h20 + "&port=1",
		"19 bytes":       "info_hash=" + h20[1:] + "&port=1&peer_id=" + id,
		"21 bytes":       "info_hash=" + h20 + "h&port=1&peer_id=" + id,
		"hexadecimal":    "info_hash=" + strings.Repeat("ab", 20) + "&port=1&peer_id=" + id,
		"short peer_id":  "info_hash=" + h20 + "&port=1&peer_id=" + id[1:],
		"cut escape":     "info_hash=" + h20[1:] + "%a&port=1&peer_id=" + id,
		"no hex digits":  "info_hash=" + h20[1:] + "%zz&port=1&peer_id=" + id,
		"empty hash":     "info_hash=&port=1&peer_id=" + id,
		"huge hash":      "info_hash=" + strings.Repeat("h", 9000) + "&port=1&peer_id=" + id,
		"query too long": "info_hash=" + h20 + "&port=1&peer_id=" + id + "&x=" + strings.Repeat("x", 17000),
	} {
		t.Run(name, func(t *testing.T) { s.refused(t, "/announce?"+query) })
	}
	if n := s.Stats().Peers; n != 0 {
		t.Errorf("%d peers were recorded", n)
	}
}

func TestAnnounceH03FailureIs200(t *testing.T) {
	s := start(t, tracker.Options{})
	for _, path := range []string{"/announce", "/scrape", "/announce?" + params(hash(1), 1, "")} {
		resp, body := s.raw(t, "GET", path, "")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/plain" ||
			resp.Header.Get("Content-Length") != strconv.Itoa(len(body)) || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("GET %s: %s %v", path, resp.Status, resp.Header)
		}
		decode(t, body)
	}
}

func TestAnnounceH04KeysAreSorted(t *testing.T) {
	s := start(t, tracker.Options{
		Warning:  "please use UDP",
		Standing: standing(map[infohash.T]tracker.Standing{hash(1): tracker.Tracked}),
		Seeds:    seeds("203.0.113.9:6881", "[2001:db8::9]:6881"),
	})
	// decode checks the order; here, that all keys are there to be sorted.
	m := s.announce(t, hash(1), 1, leeching, "2001:db8::1")
	want := []string{"complete", "downloaded", "external ip", "incomplete", "interval", "min interval", "peers", "peers6", "warning message"}
	if got := slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
	m = s.refused(t, "/announce?"+params(hash(2), 1, ""))
	if got := slices.Sorted(maps.Keys(m)); !slices.Equal(got, []string{"failure reason", "retry in"}) {
		t.Errorf("keys of a failure %q", got)
	}
}

func TestAnnounceH05IntervalAndPeersAlways(t *testing.T) {
	s := start(t, tracker.Options{})
	for _, more := range []string{"", seeding, "&event=stopped", "&numwant=0", "&compact=0"} {
		m := s.announce(t, hash(1), 1, more, "")
		if n, ok := m["interval"].(int64); !ok || n <= 0 {
			t.Errorf("%s: interval %v", more, m["interval"])
		}
		if _, ok := m["peers"]; !ok {
			t.Errorf("%s: no peers key", more)
		}
	}
}

func TestAnnounceH06Strides(t *testing.T) {
	s := start(t, tracker.Options{})
	var m4, m6 map[string]any
	for i := range 20 {
		m4 = s.announce(t, hash(1), i, leeching, from(fmt.Sprintf("198.51.100.%d", i)))
		m6 = s.announce(t, hash(1), i, leeching, from(fmt.Sprintf("2001:db8::%x", i+1)))
	}
	if n := len(m4["peers"].(string)); n != 19*6 {
		t.Errorf("peers is %d bytes, want %d", n, 19*6)
	}
	if n := len(m6["peers6"].(string)); n != 19*18 {
		t.Errorf("peers6 is %d bytes, want %d", n, 19*18)
	}
}

func TestAnnounceH07CompactUnlessAskedNot(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, leeching, "198.51.100.1")
	s.announce(t, hash(1), 2, leeching, "2001:db8::2")
	for _, more := range []string{"", "&compact=1", "&compact="} {
		if m := s.announce(t, hash(1), 3, more, "198.51.100.3"); !maps.Equal(peers4(t, m), set(1)) {
			t.Errorf("%q: peers %q", more, m["peers"])
		}
	}
	want := map[string]any{"ip": "198.51.100.1", "peer id": peerID(1), "port": int64(7001)}
	m := s.announce(t, hash(1), 3, "&compact=0", "198.51.100.3")
	if got := m["peers"].([]any); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("list %v, want %v", got, want)
	}
	delete(want, "peer id")
	m = s.announce(t, hash(1), 3, "&compact=0&no_peer_id=1", "198.51.100.3")
	if got := m["peers"].([]any); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("list without ids %v, want %v", got, want)
	}
	m = s.announce(t, hash(1), 4, "&compact=0", "2001:db8::4")
	if got := m["peers"].([]any); len(got) != 1 || got[0].(map[string]any)["ip"] != "2001:db8::2" {
		t.Errorf("list over IPv6 %v", got)
	}
	if _, ok := m["peers6"]; ok {
		t.Error("peers6 beside a list")
	}
}

func TestAnnounceH08FamilyOfTheAnnounce(t *testing.T) {
	s := start(t, tracker.Options{})
	get6 := func(peer int) map[string]any { // straight over ::1
		req, _ := http.NewRequest("GET", "http://"+s.http6+"/announce?"+params(hash(1), peer, leeching), nil)
		_, body := do(t, req)
		return decode(t, body)
	}
	s.announce(t, hash(1), 1, leeching, "")
	get6(2)
	m4, m6 := s.announce(t, hash(1), 3, leeching, ""), get6(4)
	if got := peers4(t, m4); !maps.Equal(got, set(1)) || m4["peers6"] != nil {
		t.Errorf("over IPv4: %v, peers6 %q", got, m4["peers6"])
	}
	if got := peers6(t, m6); !maps.Equal(got, set(2)) || m6["peers"] != "" {
		t.Errorf("over IPv6: %v, peers %q", got, m6["peers"])
	}
}

func TestAnnounceH09MappedIsIPv4(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, leeching, "::ffff:198.51.100.1")
	m := s.announce(t, hash(1), 1, leeching, "198.51.100.1")
	wantCounts(t, m, 0, 1, 0)
	if m["external ip"] != "\xc6\x33\x64\x01" {
		t.Errorf("external ip %q", m["external ip"])
	}
	if m = s.announce(t, hash(1), 2, leeching, "::ffff:198.51.100.2"); !maps.Equal(peers4(t, m), set(1)) {
		t.Errorf("peers %q, peers6 %q", m["peers"], m["peers6"])
	}
}

func TestAnnounceH10NumWant(t *testing.T) {
	s := start(t, tracker.Options{})
	for i := range 250 {
		s.announce(t, hash(1), i, leeching, "")
	}
	for more, want := range map[string]int{
		"":                               50,
		"&numwant=":                      50,
		"&numwant":                       50,
		"&numwant=-1":                    50,
		"&numwant=ten":                   50,
		"&numwant=0":                     0,
		"&numwant=1":                     1,
		"&numwant=7":                     7,
		"&numwant=199":                   199,
		"&numwant=1000":                  200,
		"&numwant=99999999999999999999":  200,
		"&numwant=-99999999999999999999": 50,
	} {
		m := s.announce(t, hash(1), 0, leeching+more, "")
		got := compact(t, m["peers"], 6)
		slices.SortFunc(got, netip.AddrPort.Compare)
		if len(got) != want || len(slices.Compact(got)) != want {
			t.Errorf("%q: %d peers, %d different, want %d", more, len(got), len(slices.Compact(got)), want)
		}
	}
}

func TestAnnounceH11Port(t *testing.T) {
	s := start(t, tracker.Options{})
	ask := func(port string) string {
		return "/announce?info_hash=" + strings.Repeat("h", 20) + "&peer_id=" + peerID(1) + port
	}
	for _, port := range []string{"", "&port", "&port=", "&port=0", "&port=65536", "&port=-1", "&port=99999999999999999999", "&port=http"} {
		s.refused(t, ask(port))
	}
	for _, port := range []string{"&port=1", "&port=443", "&port=65535"} {
		if m := s.get(t, ask(port), ""); m["failure reason"] != nil {
			t.Errorf("%s: %v", port, m)
		}
	}
	s = start(t, tracker.Options{Ports: tracker.UnprivilegedPort})
	s.refused(t, ask("&port=443"))
	if m := s.get(t, ask("&port=1024"), ""); m["failure reason"] != nil {
		t.Errorf("port 1024: %v", m)
	}
}

func TestAnnounceH12Left(t *testing.T) {
	s := start(t, tracker.Options{})
	for more, complete := range map[string]int{
		"": 0, "&left=": 0, "&left=-1": 0, "&left=x": 0, "&left=18446744073709551616": 0,
		"&left=18446744073709551615": 0, "&left=1": 0, "&left=0": 1, "&left=00": 1,
	} {
		wantCounts(t, s.announce(t, hash(1), 1, more, ""), complete, 1-complete, 0)
	}
}

func TestAnnounceH13Events(t *testing.T) {
	s := start(t, tracker.Options{})
	for _, e := range []string{"", "&event=", "&event", "&event=started", "&event=paused", "&event=empty", "&event=%00", "&event=STOPPED"} {
		wantCounts(t, s.announce(t, hash(1), 1, leeching+e, ""), 0, 1, 0)
	}
	wantCounts(t, s.announce(t, hash(1), 1, seeding+"&event=completed", ""), 1, 0, 1)
	wantCounts(t, s.announce(t, hash(1), 1, seeding+"&event=stopped", ""), 0, 0, 1)
}

// steps announces as peer 1, beside another leecher, and checks the counts.
func steps(t *testing.T, rows [][2]string) {
	t.Helper()
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 2, leeching, "")
	for i, row := range rows {
		m := s.announce(t, hash(1), 1, row[0], "")
		if got := fmt.Sprintf("%d seeding %d leeching %d done", m["complete"], m["incomplete"].(int64)-1, m["downloaded"]); got != row[1] {
			t.Errorf("step %d, %s: %s, want %s", i+1, row[0], got, row[1])
		}
	}
}

func TestAnnounceH14CompletedCountsOnce(t *testing.T) {
	t.Run("leecher", func(t *testing.T) {
		steps(t, [][2]string{
			{leeching + "&event=started", "0 seeding 1 leeching 0 done"},
			{seeding + "&event=completed", "1 seeding 0 leeching 1 done"},
			{seeding + "&event=completed", "1 seeding 0 leeching 1 done"},
			{leeching, "0 seeding 1 leeching 1 done"},
			{seeding + "&event=completed", "1 seeding 0 leeching 1 done"},
		})
	})
	t.Run("with something left", func(t *testing.T) {
		steps(t, [][2]string{
			{leeching + "&event=completed", "0 seeding 1 leeching 0 done"},
			{seeding + "&event=completed", "1 seeding 0 leeching 1 done"},
		})
	})
	t.Run("new", func(t *testing.T) {
		steps(t, [][2]string{
			{seeding + "&event=completed", "1 seeding 0 leeching 1 done"},
			{seeding + "&event=completed", "1 seeding 0 leeching 1 done"},
		})
	})
}

func TestAnnounceH15SeedFromDiskIsNoDownload(t *testing.T) {
	steps(t, [][2]string{
		{seeding + "&event=started", "1 seeding 0 leeching 0 done"},
		{seeding + "&event=completed", "1 seeding 0 leeching 0 done"},
	})
}

func TestAnnounceH16Stopped(t *testing.T) {
	steps(t, [][2]string{
		{leeching + "&event=stopped", "0 seeding 0 leeching 0 done"},
		{leeching, "0 seeding 1 leeching 0 done"},
		{leeching + "&event=stopped", "0 seeding 0 leeching 0 done"},
		{seeding, "1 seeding 0 leeching 0 done"},
		{seeding + "&event=stopped", "0 seeding 0 leeching 0 done"},
	})
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 2, leeching, "")
	if m := s.announce(t, hash(1), 1, "&event=stopped&numwant=50", ""); m["peers"] != "" {
		t.Errorf("peers for one who leaves: %q", m["peers"])
	}
	s.announce(t, hash(9), 1, "&event=stopped", "")
	if n := s.Stats().Swarms; n != 1 {
		t.Errorf("%d swarms after a stop in an unknown one, want 1", n)
	}
}

func TestAnnounceH17RoleFlips(t *testing.T) {
	steps(t, [][2]string{
		{leeching, "0 seeding 1 leeching 0 done"},
		{seeding, "1 seeding 0 leeching 0 done"},
		{leeching, "0 seeding 1 leeching 0 done"},
	})
}

func TestAnnounceH18NotOneselfAndNoSeedersForSeeders(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, leeching, "")
	s.announce(t, hash(1), 2, leeching, "")
	s.announce(t, hash(1), 3, seeding, "")
	s.announce(t, hash(1), 4, seeding, "")
	for range 5 {
		if got := peers4(t, s.announce(t, hash(1), 1, leeching, "")); !maps.Equal(got, set(2, 3, 4)) {
			t.Errorf("a leecher is given %v, want 2, 3 and 4", got)
		}
		if got := peers4(t, s.announce(t, hash(1), 4, seeding, "")); !maps.Equal(got, set(1, 2)) {
			t.Errorf("a seeder is given %v, want 1 and 2", got)
		}
	}
	s.announce(t, hash(2), 1, seeding, "")
	if m := s.announce(t, hash(2), 2, seeding+"&numwant=50", ""); m["peers"] != "" {
		t.Errorf("a seeder among seeders is given %q", m["peers"])
	}
	// Somebody else at the same address is not oneself.
	if got := peers4(t, s.announce(t, hash(1), 5, leeching, "198.51.100.1")); got[5] {
		t.Error("given itself")
	}
}

func TestAnnounceH19CountsIncludeOneself(t *testing.T) {
	s := start(t, tracker.Options{})
	wantCounts(t, s.announce(t, hash(1), 1, leeching, ""), 0, 1, 0)
	wantCounts(t, s.announce(t, hash(1), 2, seeding, ""), 1, 1, 0)
}

func TestAnnounceH20OneClientInBothFamilies(t *testing.T) {
	both := [2]from{"198.51.100.1", "2001:db8::1"}
	for name, order := range map[string][2]from{"IPv4 first": both, "IPv6 first": {both[1], both[0]}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tracker.Options{})
			for i := range 40 { // large enough for indexes
				s.announce(t, hash(1), 100+i, leeching, from(fmt.Sprintf("203.0.113.%d", i)))
				s.announce(t, hash(1), 200+i, leeching, from(fmt.Sprintf("2001:db8::2:%x", i)))
			}
			const key = "&key=0BADCAFE"
			for range 2 {
				for _, at := range order {
					wantCounts(t, s.announce(t, hash(1), 1, leeching+key, at), 0, 81, 0)
				}
			}
			for range 2 {
				for _, at := range order {
					s.announce(t, hash(1), 1, seeding+"&event=completed"+key, at)
				}
			}
			wantCounts(t, s.announce(t, hash(1), 1, seeding+key, order[0]), 1, 80, 1)
			// Both addresses are given out, each to its family.
			if !peers4(t, s.announce(t, hash(1), 2, leeching+"&numwant=200", "198.51.100.2"))[1] ||
				!peers6(t, s.announce(t, hash(1), 2, leeching+"&numwant=200", "2001:db8::22"))[1] {
				t.Error("one of the addresses is not given out")
			}
			s.announce(t, hash(1), 2, "&event=stopped", "198.51.100.2")
			s.announce(t, hash(1), 2, "&event=stopped", "2001:db8::22")
			// It leaves one family, then the other.
			wantCounts(t, s.announce(t, hash(1), 1, seeding+"&event=stopped"+key, order[0]), 1, 80, 1)
			wantCounts(t, s.announce(t, hash(1), 1, seeding+"&event=stopped"+key, order[1]), 0, 80, 1)
		})
	}
	t.Run("key changes", func(t *testing.T) {
		s := start(t, tracker.Options{})
		s.announce(t, hash(1), 1, leeching+"&key=1", both[0])
		wantCounts(t, s.announce(t, hash(1), 1, leeching+"&key=1", both[1]), 0, 1, 0)
		wantCounts(t, s.announce(t, hash(1), 1, leeching+"&key=2", both[0]), 0, 2, 0)
		wantCounts(t, s.announce(t, hash(1), 1, leeching+"&key=2", both[1]), 0, 1, 0)
	})
}

func TestAnnounceH21ClaimedAddressIsIgnored(t *testing.T) {
	claims := "&ip=192.0.2.77&ipv4=192.0.2.77&ipv6=2001:db8::77"
	s := start(t, tracker.Options{TrustedIPs: prefixes("198.51.100.0/24")})
	s.announce(t, hash(1), 1, leeching+claims, "203.0.113.1")
	for _, odd := range []string{"&ipv4=None", "&ip=", "&ip=0.0.0.0", "&ip=255.255.255.255", "&ipv6=%5B::%5D:1", "&ip=224.0.0.1"} {
		s.announce(t, hash(1), 2, leeching+odd, "198.51.100.2") // trusted, but not usable
	}
	m := s.announce(t, hash(1), 9, leeching, "203.0.113.9")
	got := compact(t, m["peers"], 6)
	slices.SortFunc(got, netip.AddrPort.Compare)
	if want := "[198.51.100.2:7002 203.0.113.1:7001]"; fmt.Sprint(got) != want {
		t.Errorf("peers %v, want %v", got, want)
	}
	// A trusted network's claims are honoured, in both families at once.
	s.announce(t, hash(2), 3, leeching+"&ipv4=192.0.2.77&ipv6=%5B2001:db8::77%5D:9", "198.51.100.3")
	m = s.announce(t, hash(2), 9, leeching, "203.0.113.9")
	wantCounts(t, m, 0, 2, 0)
	if got := compact(t, m["peers"], 6); fmt.Sprint(got) != "[192.0.2.77:7003]" {
		t.Errorf("peers %v", got)
	}
	m = s.announce(t, hash(2), 9, leeching, "2001:db8::9")
	if got := compact(t, m["peers6"], 18); fmt.Sprint(got) != "[[2001:db8::77]:7003]" {
		t.Errorf("peers6 %v", got)
	}
}

func TestAnnounceH22ExternalIP(t *testing.T) {
	s := start(t, tracker.Options{})
	for xff, want := range map[from]string{
		"":             "127.0.0.1",
		"198.51.100.1": "198.51.100.1",
		"2001:db8::1":  "2001:db8::1",
	} {
		raw := s.announce(t, hash(1), 1, "&ip=192.0.2.1", xff)["external ip"].(string)
		if a, _ := netip.AddrFromSlice([]byte(raw)); a.String() != want {
			t.Errorf("external ip %v, want %v", a, want)
		}
	}
}

func TestAnnounceH23RetryIn(t *testing.T) {
	s := start(t, tracker.Options{Standing: standing(map[infohash.T]tracker.Standing{hash(2): tracker.Retired})})
	if m := s.refused(t, "/announce?"+params(hash(1), 1, "")); m["retry in"] != int64(1) {
		t.Errorf("unknown: %v", m)
	}
	m := s.refused(t, "/announce?"+params(hash(2), 1, ""))
	if m["retry in"] != "never" || !strings.Contains(m["failure reason"].(string), "retired") {
		t.Errorf("retired: %v", m)
	}
}

func TestAnnounceH24TrackerIDIsAccepted(t *testing.T) {
	s := start(t, tracker.Options{})
	wantCounts(t, s.announce(t, hash(1), 1, leeching+"&trackerid=%00%ff+'\"%zz", ""), 0, 1, 0)
}

func TestAnnounceH25UnknownParameters(t *testing.T) {
	s := start(t, tracker.Options{})
	for _, more := range []string{
		"&supportcrypto=1", "&requirecrypto=1", "&corrupt=0", "&redundant=5", "&cryptoport=1", "&azudp=1&azhttp=1",
		"&hide=1", "&", "&&&", "&foo", "&foo&", "&=", "&=bar", "&foo=%", "&foo=%g1", "&a=b=c", "&%69p=1.2.3.4", ";x=1",
	} {
		path := "/announce?" + strings.Replace(params(hash(1), 1, ""), "&port", leeching+more+"&port", 1)
		if more == ";x=1" { // not a separator: it makes left unreadable
			path += "&left=5"
		}
		wantCounts(t, s.get(t, path, ""), 0, 1, 0)
	}
}

func TestAnnounceH26MethodsAndPaths(t *testing.T) {
	s := start(t, tracker.Options{})
	q := "?" + params(hash(1), 1, leeching)
	for _, path := range []string{"/announce", "/a1B2-_/announce", "/announce/a1B2", "/announce.php", "/%61nnounce"} {
		if m := s.get(t, path+q+"&passkey=1", ""); m["incomplete"] != int64(1) {
			t.Errorf("%s: %v", path, m)
		}
	}
	for _, path := range []string{
		"/", "/announce/", "//announce", "/Announce", "/announces", "/x/y/announce", "/announce/x/y",
		"/x%2Fy/announce", "/announce/..", "/a b/announce", "/" + strings.Repeat("a", 65) + "/announce", "/announce.html",
	} {
		if resp, _ := s.raw(t, "GET", strings.ReplaceAll(path, " ", "%20")+q, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		resp, _ := s.raw(t, method, "/announce"+q, "")
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s, Allow %q", method, resp.Status, resp.Header.Get("Allow"))
		}
	}
	s = start(t, tracker.Options{})
	resp, body := s.raw(t, "HEAD", "/announce"+q, "")
	if resp.StatusCode != 200 || body != "" || resp.Header.Get("Content-Type") != "text/plain" || s.Stats().Peers != 0 {
		t.Errorf("HEAD: %s %v %q, %d peers", resp.Status, resp.Header, body, s.Stats().Peers)
	}
}

func TestAnnounceH27Connections(t *testing.T) {
	s := start(t, tracker.Options{})
	q := params(hash(1), 1, leeching)
	conn, err := net.Dial("tcp", s.http4)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	in := bufio.NewReader(conn)
	send := func(head string) *http.Response {
		t.Helper()
		io.WriteString(conn, head)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %s", resp.Status, body)
		}
		wantCounts(t, decode(t, string(body)), 0, 1, 0)
		return resp
	}
	send("GET /announce?" + q + " HTTP/1.1\r\nHost: t\r\n\r\n")
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "X-%d: y\r\n", i)
	}
	send("GET /announce?" + q + " HTTP/1.1\r\nHost: t\r\n" + many.String() + "\r\n")
	send("GET /announce?" + q + "&x=" + strings.Repeat("x", 8000-len(q)) + " HTTP/1.1\r\nHost: t\r\n\r\n")
	if resp := send("GET /announce?" + q + " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"); !resp.Close {
		t.Error("Connection: close is not answered")
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after Connection: close: %v, want EOF", err)
	}
	conn, err = net.Dial("tcp", s.http4)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	in = bufio.NewReader(conn)
	send("GET /announce?" + q + " HTTP/1.0\r\n\r\n")
}

func TestAnnounceH28ForwardedFor(t *testing.T) {
	s := start(t, tracker.Options{TrustedProxies: prefixes("127.0.0.1/32", "10.0.0.0/8", "2001:db8:ffff::/48")})
	for _, row := range []struct{ what, xff, want string }{
		{"none", "", "127.0.0.1"},
		{"one", "198.51.100.1", "198.51.100.1"},
		{"spoofed left", "1.1.1.1, 198.51.100.1", "198.51.100.1"},
		{"two proxies", "1.1.1.1,198.51.100.1 , 10.1.2.3", "198.51.100.1"},
		{"proxies in both families", "198.51.100.1, 2001:db8:ffff::1, 10.1.2.3", "198.51.100.1"},
		{"all are proxies", "10.0.0.1, 10.0.0.2", "10.0.0.1"},
		{"port", "198.51.100.1:4444", "198.51.100.1"},
		{"IPv6", "2001:db8::1", "2001:db8::1"},
		{"brackets", "[2001:db8::1]", "2001:db8::1"},
		{"brackets and port", "[2001:db8::1]:443", "2001:db8::1"},
		{"mapped", "::ffff:198.51.100.1", "198.51.100.1"},
		{"mapped proxy", "198.51.100.1, ::ffff:10.0.0.1", "198.51.100.1"},
		{"empty elements", "198.51.100.1, ,", "198.51.100.1"},
		{"rubbish left", "what?, 198.51.100.1", "198.51.100.1"},
		{"rubbish right", "198.51.100.1, unknown", ""},
		{"rubbish behind a proxy", "unknown, 10.0.0.1", ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			m := s.get(t, "/announce?"+params(hash(1), 1, leeching), from(row.xff))
			raw, _ := m["external ip"].(string)
			got, _ := netip.AddrFromSlice([]byte(raw))
			if row.want == "" && m["failure reason"] == nil || row.want != "" && got.String() != row.want {
				t.Errorf("X-Forwarded-For %q: seen as %v, want %s", row.xff, got, row.want)
			}
		})
	}
	t.Run("several headers", func(t *testing.T) {
		req, _ := http.NewRequest("GET", "http://"+s.http4+"/announce?"+params(hash(1), 1, leeching), nil)
		req.Header["X-Forwarded-For"] = []string{"1.1.1.1", "198.51.100.7", "10.0.0.1"}
		_, body := do(t, req)
		if m := decode(t, body); m["external ip"] != "\xc6\x33\x64\x07" {
			t.Errorf("external ip %q", m["external ip"])
		}
	})
	t.Run("not from a trusted proxy", func(t *testing.T) {
		req, _ := http.NewRequest("GET", "http://"+s.http6+"/announce?"+params(hash(1), 1, leeching), nil)
		req.Header.Set("X-Forwarded-For", "198.51.100.1")
		_, body := do(t, req)
		if m := decode(t, body); m["external ip"] != string(netip.IPv6Loopback().AsSlice()) {
			t.Errorf("external ip %q, want ::1", m["external ip"])
		}
	})
}

func TestAnnounceH29HybridHashesAreTwoSwarms(t *testing.T) {
	s := start(t, tracker.Options{Standing: standing(map[infohash.T]tracker.Standing{hash(1): tracker.Tracked, hash(2): tracker.Tracked})})
	s.announce(t, hash(1), 1, leeching, "") // v1
	m := s.announce(t, hash(2), 1, leeching, "")
	wantCounts(t, m, 0, 1, 0)
	if m = s.announce(t, hash(2), 2, leeching, ""); !maps.Equal(peers4(t, m), set(1)) {
		t.Errorf("peers of the v2 swarm: %v", peers4(t, m))
	}
	if c := s.Swarm(hash(1)); c.Leechers != 1 {
		t.Errorf("v1 swarm: %+v", c)
	}
}

func TestAnnounceH30TooSoonIsAnswered(t *testing.T) {
	s := start(t, tracker.Options{MinInterval: 10 * time.Minute})
	s.announce(t, hash(1), 2, leeching, "")
	for range 5 {
		m := s.announce(t, hash(1), 1, seeding+"&event=completed", "")
		wantCounts(t, m, 1, 1, 1)
		if !maps.Equal(peers4(t, m), set(2)) || m["min interval"] != int64(600) {
			t.Errorf("peers %q, min interval %v", m["peers"], m["min interval"])
		}
	}
}

func TestAnnounceH31WarningMessage(t *testing.T) {
	s := start(t, tracker.Options{Warning: "this tracker moves to udp://example.org:6969"})
	m := s.announce(t, hash(1), 1, leeching, "")
	if m["warning message"] != "this tracker moves to udp://example.org:6969" || m["peers"] == nil {
		t.Errorf("answer %v", m)
	}
	if m := start(t, tracker.Options{}).announce(t, hash(1), 1, leeching, ""); m["warning message"] != nil {
		t.Errorf("a warning without cause: %v", m)
	}
}

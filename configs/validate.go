package configs

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The Types of a source.
const (
	TypeFolder = "folder" // a local folder
	TypeBucket = "bucket" // an S3 bucket
)

// leastSecret is how long a secret that strangers may guess at has to be.
const leastSecret = 16

// The piece lengths that all clients take.
const (
	minPiece = 16 << 10
	maxPiece = 16 << 20
)

// Validate returns what is wrong with c's values, as [Problems], or nil. It
// does not look at the machine: neither at folders nor at ports.
func (c Config) Validate() error {
	var ps Problems
	c.Watch.validate(&ps, "watch")
	c.Torrent.validate(&ps, "torrent")
	between(&ps, "offload.help", c.Offload.Help, 0, 1)
	c.validateSources(&ps)
	c.validateState(&ps)
	between(&ps, "shutdown", c.Shutdown, 0, 10*time.Minute)

	checkListen(&ps, "http.listen", c.HTTP.Listen)
	if u := c.HTTP.PublicURL; u != nil {
		checkURL(&ps, "http.public_url", u, "http", "https")
		if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			ps.add("http.public_url", "", "want a URL without user, query and fragment, got %q", u.Redacted())
		}
	}
	checkText(&ps, "http.title", c.HTTP.Title, 200)
	between(&ps, "http.max_connections", c.HTTP.MaxConnections, 1, 1_000_000)
	if c.HTTP.MetalinkFrom < 0 {
		ps.add("http.metalink_from", "", "want a size, or 0 for never, got %d", c.HTTP.MetalinkFrom)
	}

	c.HTTP.validateTLS(&ps)
	c.Access.validate(&ps)
	c.Site.validate(&ps)
	c.Debug.validate(&ps)
	c.Peers.validate(&ps)
	c.Tracker.validate(&ps)
	c.DHT.validate(&ps)
	c.Cache.validate(&ps)
	c.Limits.validate(&ps)
	c.Notify.validate(&ps)
	return ps.err()
}

func (c Config) validateSources(ps *Problems) {
	if len(c.Sources) == 0 {
		ps.add("sources", "", "nothing to watch: give a FOLDER, or sources in the configuration file")
	}
	inherited := slices.Clone(*ps) // what is wrong with the settings for all sources is said once
	names := map[string]int{}
	for i, s := range c.Sources {
		key := fmt.Sprintf("sources[%d]", i)
		located := s.Path != ""
		switch s.Type {
		case TypeFolder:
			if !located {
				ps.add(key+".path", "", "missing: want the folder to watch")
			}
			if s.Bucket != (Bucket{}) {
				ps.add(key+".bucket", "", "want it only with type: %s", TypeBucket)
			}
		case TypeBucket:
			located = s.Bucket.Name != ""
			if s.Path != "" {
				ps.add(key+".path", "", "want it only with type: %s", TypeFolder)
			}
			s.Bucket.validate(ps, key+".bucket")
		default:
			ps.add(key+".type", "", "want %s or %s, got %q", TypeFolder, TypeBucket, s.Type)
		}
		if first, twice := names[s.Name]; located && !goodName(s.Name) {
			ps.add(key+".name", "", "want a name without slashes and control characters, of 1 to 100 bytes, got %q", s.Name)
		} else if twice {
			ps.add(key+".name", "", "want a name of its own, got %q, which is that of sources[%d] too", s.Name, first)
		} else {
			names[s.Name] = i
		}
		var own Problems
		s.Watch.validate(&own, key)
		s.Torrent.validate(&own, key+".torrent")
		between(&own, key+".offload.help", s.Offload.Help, 0, 1)
		*ps = append(*ps, slices.DeleteFunc(own, func(p Problem) bool {
			return slices.ContainsFunc(inherited, func(q Problem) bool { return p.Text == q.Text })
		})...)
	}
}

// validateState sees to it that what is ours alone is not published.
func (c Config) validateState(ps *Problems) {
	if c.State == "" {
		switch {
		case len(c.Sources) > 1:
			ps.add("state", "", "missing: with several sources, say where the catalog is kept")
		case len(c.Sources) == 1 && c.Sources[0].Type == TypeBucket:
			ps.add("state", "", "missing: with a bucket, say where the catalog is kept")
		}
	}
	c.unpublished(ps, "state", c.State)
	c.unpublished(ps, "cache.folder", c.Cache.Folder)
}

// unpublished says if a folder, unless it is "", would be published.
func (c Config) unpublished(ps *Problems, key, folder string) {
	if folder == "" {
		return
	}
	full, err := filepath.Abs(folder)
	if err != nil {
		ps.add(key, "", "%v", err)
		return
	}
	for i, s := range c.Sources {
		root, err := filepath.Abs(s.Path)
		if s.Path == "" || err != nil {
			continue
		}
		rel, err := filepath.Rel(root, full)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			continue
		}
		if rel == "." || !s.Watch.ignores(filepath.ToSlash(rel)) {
			ps.add(key, "", "%q is in the folder of sources[%d] and would be published: want a folder outside, or a name that ignore leaves out", folder, i)
		}
	}
}

func (b Bucket) validate(ps *Problems, section string) {
	if b.Name == "" {
		ps.add(section+".name", "", "missing: want the bucket's name")
	} else if strings.ContainsAny(b.Name, "/?#") || !goodName(b.Name) {
		ps.add(section+".name", "", "want the bucket's name alone, got %q", b.Name)
	}
	if u := b.Endpoint; u != nil {
		checkURL(ps, section+".endpoint", u, "http", "https")
		if u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			ps.add(section+".endpoint", "", "want a URL of nothing but scheme, host and port, got %q", u.Redacted())
		}
	}
	switch {
	case b.Anonymous && (b.AccessKey != "" || b.SecretKey != ""):
		ps.add(section+".anonymous", "", "want either credentials or anonymous: true")
	case (b.AccessKey == "") != (b.SecretKey == ""):
		ps.add(section+".access_key", "", "want both access_key and secret_key, or neither")
	}
	if b.Anonymous && b.Webseed == WebseedRedirect {
		ps.add(section+".webseed", "", "redirect takes credentials, to sign URLs with; want proxy or public with anonymous: true")
	}
	if u := b.PublicURL; u != nil {
		checkURL(ps, section+".public_url", u, "http", "https")
		if !strings.HasSuffix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" {
			ps.add(section+".public_url", "", "want a URL that ends in a slash, got %q", u.Redacted())
		}
	}
	if (b.Webseed == WebseedPublic) != (b.PublicURL != nil) {
		ps.add(section+".public_url", "", "want it with webseed: public, and only then")
	}
	if b.HookSecret != "" && len(b.HookSecret) < leastSecret {
		ps.add(section+".hook_secret", "", "want at least %d characters, as who knows it can have the bucket listed", leastSecret)
	}
}

func (c Cache) validate(ps *Problems) {
	between(ps, "cache.memory", c.Memory, 8<<20, 1<<40)
	between(ps, "cache.disk", c.Disk, 0, 1<<50)
	if (c.Disk > 0) != (c.Folder != "") {
		ps.add("cache.folder", "", "want both cache.disk and cache.folder, or neither")
	}
}

func (s Site) validate(ps *Problems) {
	checkText(ps, "site.description", s.Description, 500)
	checkText(ps, "site.announcement", s.Announcement, 4000)
	switch ext := strings.ToLower(filepath.Ext(s.Logo)); {
	case s.Logo == "", ext == ".svg", ext == ".png", ext == ".webp":
	default:
		ps.add("site.logo", "", "want an image file called .svg, .png or .webp, got %q", s.Logo)
	}
}

func (w Watch) validate(ps *Problems, section string) {
	between(ps, section+".settle", w.Settle, 10*time.Millisecond, 24*time.Hour)
	between(ps, section+".rescan", w.Rescan, 100*time.Millisecond, 24*time.Hour)
	for _, pattern := range w.Ignore {
		if _, err := path.Match(pattern, ""); err != nil || strings.Trim(pattern, "/") == "" {
			ps.add(section+".ignore", "", "want patterns such as *.part or /old/*.iso, got %q", pattern)
		}
	}
}

// ignores reports whether the slash-separated rel, or a folder that it is in,
// is left out.
func (w Watch) ignores(rel string) bool {
	for i := range len(rel) + 1 {
		if i < len(rel) && rel[i] != '/' {
			continue
		}
		p := strings.ToLower(rel[:i])
		for _, pattern := range w.Ignore {
			pattern = strings.ToLower(strings.TrimRight(pattern, "/"))
			subject := path.Base(p)
			if strings.Contains(pattern, "/") {
				pattern, subject = strings.TrimLeft(pattern, "/"), p
			}
			if ok, _ := path.Match(pattern, subject); ok {
				return true
			}
		}
	}
	return false
}

func (t Torrent) validate(ps *Problems, section string) {
	if n := t.PieceLength; n != 0 && (n < minPiece || n > maxPiece || n&(n-1) != 0) {
		ps.add(section+".piece_length", "", "want a power of two from %v to %v, or 0 for automatic, got %v", Size(minPiece), Size(maxPiece), n)
	}
	checkText(ps, section+".source", t.Source, 100)
	checkText(ps, section+".comment", t.Comment, 1000)
	for _, tier := range t.Trackers {
		for _, u := range tier {
			checkURL(ps, section+".trackers", u, "http", "https", "udp", "ws", "wss")
		}
	}
	for _, u := range t.Webseeds {
		checkURL(ps, section+".webseeds", u, "http", "https")
		if u != nil && !strings.HasSuffix(u.Path, "/") {
			ps.add(section+".webseeds", "", "want a URL that ends in a slash, got %q", u)
		}
	}
}

func (p Peers) validate(ps *Problems) {
	checkListen(ps, "peers.listen", p.Listen)
	families := map[int]netip.Addr{}
	for _, a := range p.PublicAddresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			ps.add("peers.public_addresses", "", "want addresses that peers can connect to, got %q", a)
		} else if other, twice := families[a.BitLen()]; twice {
			ps.add("peers.public_addresses", "", "want at most one IPv4 and one IPv6 address, got both %v and %v", other, a)
		}
		families[a.BitLen()] = a
	}
	between(ps, "peers.public_port", p.PublicPort, 0, 65535)
	between(ps, "peers.max_connections", p.MaxConnections, 1, 1_000_000)
	between(ps, "peers.max_per_release", p.MaxPerRelease, 1, 1_000_000)
	between(ps, "peers.max_per_address", p.MaxPerAddress, 1, 1_000_000)
	between(ps, "peers.queue", p.Queue, 16, 10_000)
	between(ps, "peers.handshake_timeout", p.HandshakeTimeout, time.Second, 10*time.Minute)
	between(ps, "peers.idle_timeout", p.IdleTimeout, time.Second, time.Hour)
	between(ps, "peers.write_timeout", p.WriteTimeout, time.Second, time.Hour)
}

func (t Tracker) validate(ps *Problems) {
	if t.UDP != "" {
		checkListen(ps, "tracker.udp", t.UDP)
	}
	between(ps, "tracker.interval", t.Interval, 10*time.Second, 24*time.Hour)
	between(ps, "tracker.min_interval", t.MinInterval, time.Second, max(time.Second, t.Interval))
	between(ps, "tracker.max_numwant", t.MaxNumWant, 1, 1000)
	between(ps, "tracker.numwant", t.NumWant, 1, max(1, t.MaxNumWant))
	between(ps, "tracker.max_peers", t.MaxPeers, 1, 1<<30)
	between(ps, "tracker.max_per_release", t.MaxPerRelease, 1, 1<<30)
}

func (d DHT) validate(ps *Problems) {
	between(ps, "dht.rate", d.Rate, 0.01, 1000)
	for i, node := range d.Bootstrap {
		if host, port, err := net.SplitHostPort(node); err != nil || host == "" || port == "" {
			ps.add(fmt.Sprintf("dht.bootstrap[%d]", i), "", "want HOST:PORT, such as router.bittorrent.com:6881, got %q", node)
		}
	}
}

func between[T cmp.Ordered](ps *Problems, key string, v, least, most T) {
	if !(v >= least && v <= most) { // NaN too
		ps.add(key, "", "want %s to %s, got %s", plainly(least), plainly(most), plainly(v))
	}
}

// plainly writes a number as people do, without an exponent.
func plainly(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func (l Limits) validate(ps *Problems) {
	if l.Upload < 0 {
		ps.add("limits.upload", "", "want a rate, or 0 for unlimited, got %d", l.Upload)
	}
	l.Requests.validate(ps)
	var floors Rate
	for _, k := range []struct {
		key string
		Share
	}{{"peers", l.Peers}, {"webseed", l.Webseed}, {"direct", l.Direct}} {
		key := "limits." + k.key
		floors += max(k.Floor, 0)
		switch {
		case k.Floor < 0 || k.Cap < 0:
			ps.add(key, "", "want rates, or 0 for none, got floor %d and cap %d", k.Floor, k.Cap)
		case k.Floor > 0 && l.Upload == 0:
			ps.add(key+".floor", "", "a floor needs limits.upload, of which it is a part")
		case k.Cap > 0 && k.Floor > k.Cap:
			ps.add(key+".floor", "", "want at most the cap, got %d of %d bytes per second", k.Floor, k.Cap)
		}
	}
	if l.Upload > 0 && floors > l.Upload {
		ps.add("limits.upload", "", "want at least the floors together, %d bytes per second, got %d", floors, l.Upload)
	}
}

// notifyMost is how many URLs may be told.
const notifyMost = 32

func (n Notify) validate(ps *Problems) {
	seen := make(map[string]bool)
	for _, u := range n.URLs {
		checkURL(ps, "notify.urls", u, "http", "https")
		if u == nil {
			continue
		}
		if u.Fragment != "" {
			ps.add("notify.urls", "", "want URLs without a fragment, got %q", u.Redacted())
		} else if seen[u.String()] {
			ps.add("notify.urls", "", "want each URL once, got %q twice", u.Redacted())
		}
		seen[u.String()] = true
	}
	if len(n.URLs) > notifyMost {
		ps.add("notify.urls", "", "want at most %d URLs, got %d", notifyMost, len(n.URLs))
	}
	n.validateSecret(ps)
	if len(n.Command) > 0 && n.Command[0] == "" {
		ps.add("notify.command", "", "want a program, and then its arguments")
	}
	if len(n.Events) == 0 {
		ps.add("notify.events", "", "want at least one of %s, %s and %s; for none, leave out notify.urls and notify.command",
			EventPublished, EventRetired, EventFailed)
	}
	between(ps, "notify.timeout", n.Timeout, time.Second, 10*time.Minute)
}

func (n Notify) validateSecret(ps *Problems) {
	secret := n.Secret.Reveal()
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) < leastSecret {
			ps.add("notify.secret", "", "want whsec_ and then base64 of at least %d bytes, such as openssl rand -base64 32 prints", leastSecret)
		}
		return
	}
	switch {
	case secret == "" && len(n.URLs) > 0:
		ps.add("notify.secret", "", "missing: want a secret, with which receivers see that notifications are from here: whsec_ and what openssl rand -base64 32 prints")
	case secret != "" && len(secret) < leastSecret:
		ps.add("notify.secret", "", "want at least %d characters", leastSecret)
	}
}

func checkListen(ps *Problems, key, address string) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		ps.add(key, "", "want HOST:PORT or :PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080, got %q", address)
	}
}

func checkURL(ps *Problems, key string, u *url.URL, schemes ...string) {
	if u == nil {
		ps.add(key, "", "want a URL, got nothing")
	} else if !slices.Contains(schemes, u.Scheme) || u.Host == "" {
		ps.add(key, "", "want a URL with %s://, got %q", strings.Join(schemes, "://, "), u.Redacted())
	}
}

func checkText(ps *Problems, key, text string, most int) {
	if len(text) > most || !utf8.ValidString(text) {
		ps.add(key, "", "want at most %d bytes of UTF-8, got %d bytes", most, len(text))
	}
}

// goodName says whether name can stand in logs, paths of the API and URLs.
func goodName(name string) bool {
	return name != "" && len(name) <= 100 && name != "." && name != ".." && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || r < ' ' || r == 0x7f })
}

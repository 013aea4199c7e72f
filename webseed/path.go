package webseed

import (
	"net/url"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"dropseed/publisher/catalog"
)

// maxPath bounds what is looked at of a request, in bytes: enough for a path of
// 4096 bytes with every byte encoded.
const maxPath = 16 << 10

// rawPath returns the path as the client sent it, undecoded and uncleaned.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath // EscapedPath would re-encode what is not in canonical form
	}
	return u.EscapedPath()
}

// resolve returns the index of the file that a client means by a raw path, the
// part of u that follows the release's place. The exact path comes first; then
// what clients are known to make of it: the name left out or doubled and the
// path left out, where there is one file only (libtorrent asks for "dir" when
// it means the only file in it); another Unicode normal form; a "?" or "#" of a
// name that was not encoded.
func resolve(c *catalog.Content, raw string, u *url.URL) (int, bool) {
	paths := spellings(raw, u)
	if len(c.Files) == 1 && slices.Contains([]string{"", c.Name, c.Name + "/" + c.Name}, paths[0]) {
		return 0, true
	}
	for _, p := range paths {
		for _, form := range forms(p) {
			if i, ok := c.Lookup(form); ok {
				return i, true
			}
		}
	}
	for _, p := range slices.Backward(paths) {
		// The client took the rest of the name for a fragment and cut it.
		if p == "" {
			continue
		}
		if cut := c.WithPrefix(p + "#"); len(cut) == 1 {
			return int(cut[0]), true
		}
	}
	return 0, false
}

// spellings returns the paths that a raw one may stand for, decoded once: as it
// is, and with the query, which a client that does not encode "?" cut off. An
// impossible path comes back as one that no file has. There is always a first.
func spellings(raw string, u *url.URL) []string {
	s := []string{decode(raw)}
	if u.RawQuery != "" || u.ForceQuery {
		s = append(s, decode(raw+"?"+u.RawQuery))
	}
	return s
}

// impossible is a path that no file has.
const impossible = "\x00"

// decode percent-decodes a raw path, in which %2F is no separator and + no space.
func decode(raw string) string {
	if len(raw) > maxPath {
		return impossible
	}
	parts := strings.Split(raw, "/")
	for i, part := range parts {
		p, err := url.PathUnescape(part)
		if err != nil || p == "." || p == ".." || strings.ContainsAny(p, "/\x00") {
			return impossible
		}
		parts[i] = p
	}
	return strings.Join(parts, "/")
}

// forms returns a path in the normal forms of Unicode that it may be published
// in: as it is, composed (most systems) and decomposed (macOS).
func forms(p string) []string {
	f := []string{p}
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if n := form.String(p); !slices.Contains(f, n) {
			f = append(f, n)
		}
	}
	return f
}

// WebseedURL returns what stands in the url-list of a release's torrent (BEP
// 19): the file's URL for a single file; else the URL of the folder that holds
// the release, ending in "/", to which clients append its name and a path. base
// has no slash at its end.
func WebseedURL(base string, r catalog.Release) string {
	u := base + webseedPrefix + r.InfoHash.HexString() + "/"
	if r.IsFile {
		u += Escape(r.Name)
	}
	return u
}

// FileURL returns the URL of a file in the newest release of its name, for a
// path as in [watcher.File]. base has no slash at its end.
func FileURL(base, path string) string { return base + filesPrefix + Escape(path) }

// Escape percent-encodes everything in a path but its slashes and what RFC 3986
// calls unreserved: some clients fail on more that would be allowed.
func Escape(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

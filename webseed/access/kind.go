package access

import (
	"net/url"
	"strings"
)

// Kind is what a path is about. A greater one is more of a secret.
type Kind int

// The kinds.
const (
	Open     Kind = iota // what clients of BitTorrent and probes need, and holds no names
	Catalog              // what is published
	Operator             // what happens on this server
)

// KindOf returns the kind of a path that is not one of webseed, tracker or a
// hook. How much of a path is decoded is up to who serves it, so it is of the
// greater kind of what was sent and what that decodes to. Below /api/, what is
// not known to be the catalog's is the operator's.
func KindOf(u *url.URL) Kind { return max(kindOf(RawPath(u)), kindOf(u.Path)) }

// RawPath returns the path as the client sent it, undecoded and uncleaned.
func RawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

func kindOf(path string) Kind {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "healthz", "readyz", "assets":
		return Open
	case "status", "metrics":
		return Operator
	case "api":
		release, isRelease := strings.CutPrefix(rest, "v1/releases/")
		switch rest {
		case "", "v1", "v1/", "v1/openapi.json", "v1/openapi.yaml", "v1/releases":
			return Catalog // some say only what there is
		}
		if isRelease && !strings.Contains(release, "/") {
			return Catalog
		}
		return Operator
	}
	return Catalog
}

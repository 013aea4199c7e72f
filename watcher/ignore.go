package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// DefaultIgnore are the names that sources leave out unless they are told
// otherwise: hidden names, and what programs call files they have not finished.
var DefaultIgnore = []string{
	".*", "*.part", "*.tmp", "*.partial", "*.crdownload", "*.filepart", "*.aria2", "*.!qB", "*~",
}

// Ignore is a set of globs (see [path.Match]) that says which paths of a source
// are left out, with everything below them. Letter case does not matter. A glob
// without a slash is compared with every component of a path; one with a slash
// with the whole path, from the source's top ("/a" and "a/*.iso").
type Ignore struct {
	names []string // compared with one component
	paths []string // compared with a whole path
}

// NewIgnore returns the set of globs. Its error names every bad one.
func NewIgnore(globs []string) (*Ignore, error) {
	g := &Ignore{}
	var bad []error
	for _, glob := range globs {
		low := strings.ToLower(glob)
		if _, err := path.Match(low, ""); err != nil || strings.Trim(low, "/") == "" {
			bad = append(bad, fmt.Errorf("ignore: %q is not a glob", glob))
			continue
		}
		if strings.Contains(strings.TrimRight(low, "/"), "/") {
			g.paths = append(g.paths, strings.Trim(low, "/"))
		} else {
			g.names = append(g.names, strings.Trim(low, "/"))
		}
	}
	return g, errors.Join(bad...)
}

// Match reports whether p, or a directory that it is in, is left out.
func (g *Ignore) Match(p string) bool {
	for i := range len(p) {
		if p[i] == '/' && g.MatchLast(p[:i]) {
			return true
		}
	}
	return g.MatchLast(p)
}

// MatchLast is Match for a path whose directories are known not to be left out.
func (g *Ignore) MatchLast(p string) bool {
	p = strings.ToLower(p)
	name := p[strings.LastIndexByte(p, '/')+1:]
	for _, glob := range g.names {
		if ok, _ := path.Match(glob, name); ok {
			return true
		}
	}
	for _, glob := range g.paths {
		if ok, _ := path.Match(glob, p); ok {
			return true
		}
	}
	return false
}

// CheckPath returns why p cannot be the path of a file in a torrent, or nil.
func CheckPath(p string) error {
	switch {
	case !utf8.ValidString(p):
		return errors.New("the name is not valid UTF-8")
	case strings.IndexByte(p, 0) >= 0:
		return errors.New("the name contains a NUL byte")
	case p == "." || !fs.ValidPath(p):
		return errors.New(`the path has a component that is empty, "." or ".."`)
	}
	return nil
}

package site

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
)

// Bounds of what may be asked for.
const (
	defaultLimit = 50
	maxLimit     = 100 // releases in one answer
	maxQuery     = 200 // bytes of a search

	defaultPending = 100
	mostPending    = 1000 // in one answer
)

// order is how releases are sorted.
type order string

// The orders. The default comes first.
const (
	newest  order = "newest"
	oldest  order = "oldest"
	byName  order = "name"
	bySize  order = "size"  // the largest first
	byPeers order = "peers" // those with most peers first
)

var orders = []order{newest, oldest, byName, bySize, byPeers}

// window is the part of the releases that is asked for.
type window struct {
	query         string
	source        string // exactly; empty: all
	sort          order
	offset, limit int
}

// parseWindow reads limit, offset, q, source and sort. A limit above maxLimit
// is maxLimit; the error is for people. The window can be used in any case.
func parseWindow(v url.Values) (window, error) {
	win := window{query: strings.TrimSpace(v.Get("q")), source: v.Get("source"), sort: newest}
	var err error
	if len(win.query) > maxQuery {
		win.query = strings.ToValidUTF8(win.query[:maxQuery], "")
		err = &badParameter{"q", fmt.Sprintf("has more than %d bytes", maxQuery)}
	}
	if len(win.source) > maxQuery {
		win.source = ""
		err = &badParameter{"source", fmt.Sprintf("has more than %d bytes", maxQuery)}
	}
	if by := order(v.Get("sort")); slices.Contains(orders, by) {
		win.sort = by
	} else if v.Has("sort") {
		err = &badParameter{"sort", fmt.Sprintf("is none of %v", orders)}
	}
	p, perr := parsePart(v, defaultLimit, maxLimit)
	if perr != nil {
		err = perr
	}
	win.offset, win.limit = p.offset, p.limit
	return win, err
}

func (win window) part() part { return part{win.offset, win.limit} }

// values are the parameters that lead to the window from an offset on, without
// those that have their default.
func (win window) values(offset int) url.Values {
	v := make(url.Values)
	set := func(key, value, otherwise string) {
		if value != otherwise {
			v.Set(key, value)
		}
	}
	set("q", win.query, "")
	set("source", win.source, "")
	set("sort", string(win.sort), string(newest))
	set("limit", strconv.Itoa(win.limit), strconv.Itoa(defaultLimit))
	set("offset", strconv.Itoa(offset), "0")
	return v
}

// find returns the window's releases in its order, and how many there are in
// all. peers says how many are in the swarm of a release. It reorders live, which
// comes newest first.
func (win window) find(live []*catalog.Release, peers func(infohash.T) int) ([]*catalog.Release, int) {
	live = win.matching(live)
	if win.offset < len(live) {
		live = win.sorted(live, peers)
	}
	from, to := win.part().of(len(live))
	return live[from:to], len(live)
}

// matching returns the releases that the window is a part of. A release matches
// when its name holds every word of the query, or when the query is its info-hash.
func (win window) matching(live []*catalog.Release) []*catalog.Release {
	words := strings.Fields(strings.ToLower(win.query))
	if len(words) == 0 && win.source == "" {
		return live
	}
	found := live[:0]
	for _, r := range live {
		if (win.source == "" || r.Source == win.source) && matches(r, words) {
			found = append(found, r)
		}
	}
	return found
}

// sorted returns releases, which come newest first, in the window's order. Equal
// ones stay newest first.
func (win window) sorted(live []*catalog.Release, peers func(infohash.T) int) []*catalog.Release {
	switch win.sort {
	case oldest:
		slices.Reverse(live)
	case byName:
		return sortedBy(live, strings.Compare, func(r *catalog.Release) string { return strings.ToLower(r.Name) })
	case bySize:
		slices.SortStableFunc(live, func(a, b *catalog.Release) int { return cmp.Compare(b.Size, a.Size) })
	case byPeers:
		most := func(a, b int) int { return cmp.Compare(b, a) }
		return sortedBy(live, most, func(r *catalog.Release) int { return peers(r.InfoHash) })
	}
	return live
}

// sortedBy sorts releases by a key that is asked for once of each.
func sortedBy[K any](live []*catalog.Release, compare func(a, b K) int, key func(*catalog.Release) K) []*catalog.Release {
	type keyed struct {
		key K
		rel *catalog.Release
	}
	all := make([]keyed, len(live))
	for i, r := range live {
		all[i] = keyed{key(r), r}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return compare(a.key, b.key) })
	for i, k := range all {
		live[i] = k.rel
	}
	return live
}

func matches(r *catalog.Release, words []string) bool {
	name := strings.ToLower(r.Name)
	for _, w := range words {
		if !strings.Contains(name, w) && (len(w) != 40 || w != r.InfoHash.HexString()) {
			return false
		}
	}
	return true
}

// apiReleases answers {"releases": […], "total": N}. Releases go out one by one:
// each may have very many files.
func (s *Site) apiReleases(w http.ResponseWriter, r *http.Request) {
	v, ok := s.query(w, r)
	if !ok {
		return
	}
	win, err := parseWindow(v)
	if err != nil {
		s.invalid(w, r, err)
		return
	}
	found, total := win.find(s.o.Catalog.Live(), s.o.Listing.Peers)
	base := s.o.Base(r)
	win.part().link(w.Header(), total, func(offset int) string {
		v := win.values(offset)
		v.Set("limit", strconv.Itoa(win.limit))
		return base + "/api/v1/releases?" + v.Encode()
	})
	heads := make([]feed.Release, len(found))
	for i, rel := range found {
		heads[i] = s.o.Listing.Release(base, *rel)
	}
	if s.unchanged(w, r, stampOf(found, heads, total)) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	out := bufio.NewWriterSize(w, 32<<10)
	out.WriteString(`{"releases":[`)
	first := true
	for i, rel := range found {
		content, err := s.o.Catalog.Content(rel.InfoHash)
		if errors.Is(err, catalog.ErrUnknown) {
			continue
		}
		if err == nil {
			if !first {
				out.WriteByte(',')
			}
			first = false
			err = feed.WriteJSON(out, heads[i], content)
		}
		if err != nil {
			if r.Context().Err() == nil {
				s.o.Log.Error("a release cannot be listed", "release", rel.Name, "err", err)
			}
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
	}
	fmt.Fprintf(out, `],"total":%d}`+"\n", total)
	out.Flush()
}

// stampOf returns the version of what is said of releases, whose files never change.
func stampOf(rels []*catalog.Release, heads []feed.Release, total int) version {
	b, _ := json.Marshal(heads) // of numbers and strings: cannot fail
	return stamp(time.Time{}, rels, string(b), strconv.Itoa(total))
}

// apiRelease answers with one release, by its info-hash.
func (s *Site) apiRelease(w http.ResponseWriter, r *http.Request, hex string) {
	rel, status, _ := s.byHash(hex)
	if status != http.StatusOK {
		s.fail(w, r, status, reasons[status])
		return
	}
	content, err := s.o.Catalog.Content(rel.InfoHash)
	if err != nil {
		s.failContent(w, r, rel, err)
		return
	}
	head := s.o.Listing.Release(s.o.Base(r), rel)
	if s.unchanged(w, r, stampOf([]*catalog.Release{&rel}, []feed.Release{head}, 1)) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	// A client that went away is the only way to fail once the answer has begun.
	_ = feed.WriteJSON(w, head, content)
}

// failContent answers for a release whose files' list cannot be read.
func (s *Site) failContent(w http.ResponseWriter, r *http.Request, rel catalog.Release, err error) {
	if errors.Is(err, catalog.ErrUnknown) {
		s.fail(w, r, http.StatusNotFound, reasons[http.StatusNotFound])
		return
	}
	s.o.Log.Error("the files of a release cannot be read", "release", rel.Name, "err", err)
	s.fail(w, r, http.StatusInternalServerError, "The files of this release cannot be read right now.")
}

// apiPending answers {"pending": […], "total": N} with a part of what is pending.
func (s *Site) apiPending(w http.ResponseWriter, r *http.Request) {
	v, ok := s.query(w, r)
	if !ok {
		return
	}
	p, err := parsePart(v, defaultPending, mostPending)
	if err != nil {
		s.invalid(w, r, err)
		return
	}
	pending := s.freshPending()
	base := s.o.Base(r)
	p.link(w.Header(), len(pending), func(offset int) string {
		v := url.Values{"limit": {strconv.Itoa(p.limit)}}
		if offset > 0 {
			v.Set("offset", strconv.Itoa(offset))
		}
		return base + "/api/v1/pending?" + v.Encode()
	})
	from, to := p.of(len(pending))
	writeJSON(w, http.StatusOK, pendingPart{pending[from:to], len(pending)})
}

// pendingPart is a part of what is pending.
type pendingPart struct {
	Pending []Pending `json:"pending"`
	Total   int       `json:"total"` // in all
}

// writeJSON answers with a value that can be encoded.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that went away is the only way to fail.
	_ = json.NewEncoder(w).Encode(v)
}

// etag is a strong ETag of bytes.
func etag(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf(`"%x"`, sum[:16])
}

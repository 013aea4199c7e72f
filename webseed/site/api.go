package site

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"dropseed/publisher/catalog"
)

// Bounds of what may be asked for.
const (
	defaultLimit = 50
	maxLimit     = 100 // releases in one answer
	maxQuery     = 200 // bytes of a search

	defaultPending = 100
	mostPending    = 1000 // in one answer
)

// window is the part of the releases that is asked for.
type window struct {
	query         string
	offset, limit int
}

// parseWindow reads limit, offset and q. A limit above maxLimit is maxLimit; the
// error is for people. The window can be used in any case.
func parseWindow(v url.Values) (window, error) {
	win := window{query: strings.TrimSpace(v.Get("q")), limit: defaultLimit}
	var err error
	if len(win.query) > maxQuery {
		win.query = strings.ToValidUTF8(win.query[:maxQuery], "")
		err = &badParameter{"q", fmt.Sprintf("has more than %d bytes", maxQuery)}
	}
	number := func(key string, least uint64, to *int) {
		if !v.Has(key) {
			return
		}
		n, nerr := strconv.ParseUint(v.Get(key), 10, 31)
		if nerr != nil || n < least {
			err = &badParameter{key, fmt.Sprintf("is not a whole number from %d to %d", least, math.MaxInt32)}
			return
		}
		*to = int(n)
	}
	number("limit", 1, &win.limit)
	number("offset", 0, &win.offset)
	win.limit = min(win.limit, maxLimit)
	return win, err
}

// find returns the window's releases, newest first, and how many there are in
// all. A release matches when its name holds every word of the query, or when
// the query is its info-hash.
func (win window) find(live []*catalog.Release) ([]*catalog.Release, int) {
	if words := strings.Fields(strings.ToLower(win.query)); len(words) > 0 {
		matching := live[:0]
		for _, r := range live {
			if matches(r, words) {
				matching = append(matching, r)
			}
		}
		live = matching
	}
	from := min(win.offset, len(live))
	return live[from:min(from+win.limit, len(live))], len(live)
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
	found, total := win.find(s.o.Catalog.Live())
	base := s.o.Base(r)
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	out := bufio.NewWriterSize(w, 32<<10)
	out.WriteString(`{"releases":[`)
	first := true
	for _, rel := range found {
		content, err := s.o.Catalog.Content(rel.InfoHash)
		if errors.Is(err, catalog.ErrUnknown) {
			continue
		}
		if err == nil {
			if !first {
				out.WriteByte(',')
			}
			first = false
			err = s.o.Listing.WriteJSON(out, base, content)
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
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	// A client that went away is the only way to fail once the answer has begun.
	_ = s.o.Listing.WriteJSON(w, s.o.Base(r), content)
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
		return fmt.Sprintf("%s/api/v1/pending?limit=%d&offset=%d", base, p.limit, offset)
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

package site

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// part is the part of a list that is asked for.
type part struct{ offset, limit int }

// parsePart reads limit and offset. A limit above most is most. The part can be
// used even if there is an error, which is a *badParameter.
func parsePart(v url.Values, otherwise, most int) (part, error) {
	p := part{limit: otherwise}
	err := number(v, "limit", 1, &p.limit)
	if oerr := number(v, "offset", 0, &p.offset); oerr != nil {
		err = oerr
	}
	p.limit = min(p.limit, most)
	return p, err
}

// number reads a whole number, if there is one.
func number(v url.Values, key string, least uint64, to *int) error {
	if !v.Has(key) {
		return nil
	}
	n, err := strconv.ParseUint(v.Get(key), 10, 31)
	if err != nil || n < least {
		return &badParameter{key, fmt.Sprintf("is not a whole number from %d to %d", least, math.MaxInt32)}
	}
	*to = int(n)
	return nil
}

// of returns where in a list of n the part begins and ends.
func (p part) of(n int) (from, to int) {
	from = min(p.offset, n)
	return from, min(from+p.limit, n)
}

// link leads to the other parts of a list of n (RFC 8288). address returns the
// URL of the part at an offset.
func (p part) link(h http.Header, n int, address func(offset int) string) {
	last := max(n-1, 0) / p.limit * p.limit
	var links []string
	add := func(rel string, offset int) {
		links = append(links, fmt.Sprintf(`<%s>; rel="%s"`, address(offset), rel))
	}
	add("first", 0)
	if p.offset > 0 {
		add("prev", max(0, min(p.offset-p.limit, last)))
	}
	if p.offset < n-p.limit {
		add("next", p.offset+p.limit)
	}
	add("last", last)
	h.Set("Link", strings.Join(links, ", "))
}

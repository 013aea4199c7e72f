package site

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"dropseed/publisher/catalog"
)

// refreshAfter is when the front page loads itself anew while something moves,
// in browsers that run no scripts.
const refreshAfter = 5 // seconds

// maxPending is how much of what is pending a page shows.
const maxPending = 20

type indexPage struct {
	Rows           []row
	Total          int // releases that match
	All            int // releases
	Size           int64
	From, To       int // of Total; counted from 1
	Previous, Next string
	Limit          int // 0: the usual one
	Sorts          []choice
	Sources        []choice // to choose from; empty: there is only one
	Source         string   // the one chosen; empty: all
	Narrowed       bool     // not all is asked for
	Pending        pendingList
}

// pendingList is what is on its way, as far as it is shown.
type pendingList struct {
	List []Pending
	More int
}

// choice is one of several values of a parameter.
type choice struct {
	Value, Label string
	Chosen       bool
}

// sorts are the orders in which releases are listed.
var sorts = []choice{
	{Value: "newest", Label: "Newest first"},
	{Value: "oldest", Label: "Oldest first"},
	{Value: "name", Label: "By name"},
	{Value: "size", Label: "Largest first"},
	{Value: "peers", Label: "Most peers first"},
}

func (s *Site) index(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	win, _ := parseWindow(asked) // a page shows something whatever is asked
	live := s.o.Catalog.Live()
	page := indexPage{All: len(live), Source: asked.Get("source"), Sorts: slices.Clone(sorts)}
	for _, rel := range live {
		page.Size += rel.Size
	}
	page.Sources = sourcesOf(live, page.Source)

	// What links to other parts of the same list hold.
	keep := url.Values{}
	if win.limit != defaultLimit {
		keep.Set("limit", strconv.Itoa(win.limit))
		page.Limit = win.limit
	}
	if win.query != "" {
		keep.Set("q", win.query)
	}
	if page.Source != "" {
		keep.Set("source", page.Source)
	}
	for i, c := range page.Sorts {
		if page.Sorts[i].Chosen = c.Value == asked.Get("sort"); page.Sorts[i].Chosen && i > 0 {
			keep.Set("sort", c.Value)
		}
	}
	page.Narrowed = win.query != "" || page.Source != ""

	found, total := win.find(live, s.o.Listing.Peers)
	base := s.o.Base(r)
	for _, rel := range found {
		page.Rows = append(page.Rows, s.row(base, *rel))
	}
	page.Total, page.From, page.To = total, win.offset+1, win.offset+len(found)
	page.Previous, page.Next = pager(win.offset, win.limit, total, func(offset int) string {
		keep.Set("offset", strconv.Itoa(offset))
		return "?" + keep.Encode()
	})

	f := s.frame(r, "index", nil)
	if f.Operator && !page.Narrowed && win.offset == 0 {
		page.Pending = s.pendingList()
		if page.Pending.moves() {
			f.Refresh = refreshAfter
		}
	}
	keep.Del("offset")
	keep.Del("limit")
	if len(keep) > 0 {
		f.Feed = "?" + keep.Encode()
	}
	f.Query, f.Page = win.query, page
	s.render(w, r, http.StatusOK, f)
}

// sourcesOf returns the sources of releases to choose from, if there are several.
func sourcesOf(live []*catalog.Release, chosen string) []choice {
	var list []choice
	seen := make(map[string]bool)
	for _, rel := range live {
		if !seen[rel.Source] {
			seen[rel.Source] = true
			list = append(list, choice{Value: rel.Source, Label: rel.Source, Chosen: rel.Source == chosen})
		}
	}
	if len(list) < 2 && (chosen == "" || seen[chosen]) {
		return nil
	}
	slices.SortFunc(list, func(a, b choice) int {
		if a.Value < b.Value {
			return -1
		}
		return 1
	})
	if chosen != "" && !seen[chosen] {
		list = append(list, choice{Value: chosen, Label: chosen, Chosen: true})
	}
	return list
}

// pendingList returns what is on its way now.
func (s *Site) pendingList() pendingList {
	list := s.o.Pending()
	n := min(len(list), maxPending)
	return pendingList{List: list[:n], More: len(list) - n}
}

// moves reports whether it will look different without anybody's doing.
func (p pendingList) moves() bool {
	return slices.ContainsFunc(p.List, func(q Pending) bool { return q.State != Failed && q.State != Problem })
}

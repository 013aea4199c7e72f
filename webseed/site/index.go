package site

import (
	"net/http"
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

// pendingList is what is not published, as far as it is shown: what is on its way,
// and what cannot be published as it is.
type pendingList struct {
	List, Problems     []Pending
	More, MoreProblems int
	Status             string // the page that tells the problems, if this one does not
}

// Any reports whether there is anything to show.
func (p pendingList) Any() bool { return len(p.List)+len(p.Problems)+p.MoreProblems > 0 }

// choice is one of several values of a parameter.
type choice struct {
	Value, Label string
	Chosen       bool
}

// sorts are the orders in which releases are listed.
var sorts = []choice{
	{Value: string(newest), Label: "Newest first"},
	{Value: string(oldest), Label: "Oldest first"},
	{Value: string(byName), Label: "By name"},
	{Value: string(bySize), Label: "Largest first"},
	{Value: string(byPeers), Label: "Most peers first"},
}

func (s *Site) index(w http.ResponseWriter, r *http.Request) {
	win, _ := parseWindow(r.URL.Query()) // a page shows something whatever is asked
	live := s.o.Catalog.Live()
	page := indexPage{
		All: len(live), Size: s.totals.of(s.o.Catalog).Size,
		Source: win.source, Sources: sourcesOf(live, win.source),
		Sorts: slices.Clone(sorts), Narrowed: win.query != "" || win.source != "",
	}
	for i := range page.Sorts {
		page.Sorts[i].Chosen = page.Sorts[i].Value == string(win.sort)
	}
	if win.limit != defaultLimit {
		page.Limit = win.limit
	}
	found, total := win.find(live, s.o.Listing.Peers)
	base := s.o.Base(r)
	for _, rel := range found {
		page.Rows = append(page.Rows, s.row(base, *rel))
	}
	page.Total, page.From, page.To = total, win.offset+1, win.offset+len(found)
	page.Previous, page.Next = pager(win.offset, win.limit, total, func(offset int) string {
		v := win.values(offset)
		v.Set("offset", strconv.Itoa(offset)) // a link to nothing but "?" would be strange
		return "?" + v.Encode()
	})

	f := s.frame(r, "index", nil)
	if f.Operator && !page.Narrowed && win.offset == 0 {
		page.Pending = s.pendingList().brief(root(base) + "/status")
		if page.Pending.moves() {
			f.Refresh = refreshAfter
		}
	}
	feed := win
	feed.limit = defaultLimit
	if v := feed.values(0); len(v) > 0 {
		f.Feed = "?" + v.Encode()
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

// pendingList returns what is on its way now, and what cannot be published.
func (s *Site) pendingList() (p pendingList) {
	for _, q := range s.o.Pending() {
		list, more := &p.List, &p.More
		if q.State == Problem {
			list, more = &p.Problems, &p.MoreProblems
		}
		if len(*list) < maxPending {
			*list = append(*list, q)
		} else {
			*more++
		}
	}
	return p
}

// brief leaves only the number of problems, and where they are told.
func (p pendingList) brief(status string) pendingList {
	p.MoreProblems += len(p.Problems)
	p.Problems, p.Status = nil, status
	return p
}

// moves reports whether it will look different without anybody's doing.
func (p pendingList) moves() bool {
	return slices.ContainsFunc(p.List, func(q Pending) bool { return q.State != Failed })
}

package site

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"dropseed/publisher/catalog"
)

// Bounds of what a release's page shows.
const (
	maxFiles = 100 // at a time
	maxPast  = 20
)

type releasePage struct {
	row
	Pieces         int
	Private        bool
	FileRows       []fileRow
	Sums           bool // the files' SHA-256 are known
	From, To       int  // of Files; counted from 1
	Previous, Next string
	Commands       []command
	Readme         readme
	Past           []pastRow
	MorePast       int
	QR             string // path of the picture
	PageURL        string // as it is for others
}

type fileRow struct {
	Dir, Name, Href string // the path is Dir and Name
	Size            int64
	SHA256          string // hex; empty: not known
}

// pastRow is an earlier version of a release.
type pastRow struct {
	catalog.Release
	InfoHash string
}

// release answers /releases/{name}, and /releases/{name}/qr.svg.
func (s *Site) release(w http.ResponseWriter, r *http.Request, raw string) {
	raw, isQR := strings.CutSuffix(raw, "/qr.svg")
	name, err := url.PathUnescape(raw)
	rel, ok := s.o.Catalog.Latest(name)
	if err != nil || !ok {
		s.fail(w, r, http.StatusNotFound, "No release has this name. It may have been retired.")
		return
	}
	if isQR {
		s.qr(w, r, rel)
		return
	}
	content, err := s.o.Catalog.Content(rel.InfoHash)
	if err != nil {
		s.failContent(w, r, rel, err)
		return
	}
	base := s.o.Base(r)
	win, _ := parseWindow(url.Values{"offset": r.URL.Query()["offset"]})
	from := min(win.offset, len(content.Files)-1)
	to := min(from+maxFiles, len(content.Files))
	page := releasePage{
		row: s.row(base, rel), Pieces: rel.Pieces(), Private: rel.Private,
		From: from + 1, To: to, Commands: s.commands(base, content), PageURL: pageURL(base, rel.Name),
	}
	page.QR = page.Href + "/qr.svg"
	for i := from; i < to; i++ {
		row := s.fileRow(base, content, i)
		page.Sums = page.Sums || row.SHA256 != ""
		page.FileRows = append(page.FileRows, row)
	}
	page.Previous, page.Next = pager(from, maxFiles, len(content.Files), func(offset int) string {
		return fmt.Sprintf("?offset=%d#files", offset)
	})
	if from == 0 {
		page.Readme = s.readmes.of(r.Context(), content)
	}
	past := s.o.Catalog.Past(rel.Name)
	page.MorePast = max(0, len(past)-maxPast)
	for _, p := range past[:len(past)-page.MorePast] {
		page.Past = append(page.Past, pastRow{p, p.InfoHash.HexString()})
	}
	f := s.frame(r, "release", page)
	f.InfoHash = page.InfoHash
	s.render(w, r, http.StatusOK, f)
}

// fileRow makes what the page shows of a release's i-th file.
func (s *Site) fileRow(base string, c *catalog.Content, i int) fileRow {
	f := c.Files[i]
	dir, name := path.Split(f.Path)
	row := fileRow{
		Dir: strings.TrimPrefix(dir, c.Name+"/"), Name: name, Href: s.o.FileURL(root(base), f.Path), Size: f.Size,
	}
	if sum, ok := c.SHA256(i); ok {
		row.SHA256 = hex.EncodeToString(sum[:])
	}
	return row
}

// pageURL is where a release's page is found by others.
func pageURL(base, name string) string { return base + "/releases/" + url.PathEscape(name) }

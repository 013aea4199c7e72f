package feed

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

var channel = Channel{
	Title: "Example <mirror> & \"co\"", Self: "http://host:1/feed.rss?q=a&sort=name", Page: "http://host:1/?q=a&sort=name",
	Next: "http://host:1/feed.rss?offset=50&q=a", Modified: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
}

// hardNames are what a release may be called and what XML, HTML and JSON do not
// take as it is.
var hardNames = []string{
	"plain.iso", `a <b> & "c" 'd'.iso`, "]]> <!-- x -->", "&amp; &#0; %00", "tab\tnew\nline\rreturn", "bell\x07 escape\x1b del\x7f",
	"not in XML \ufffe \uffff", "Grüße 日本語 \U0001f600", "\u202egnp.exe", " spaces  ", strings.Repeat("x", 255),
}

// named is a release of a name, which need not be in a catalog.
func named(name string) *catalog.Release {
	return &catalog.Release{
		Name: name, InfoHash: [20]byte{0xab}, Size: 5_000_000_000, PieceLength: 1 << 20, Files: 3, Source: "src",
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC), TorrentSize: 1000,
	}
}

// inXML is what a parser of XML 1.0 makes of a name that was written to it.
func inXML(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return '\ufffd'
		}
		return r
	}, s)
}

// article is what qBittorrent takes from an item or entry.
type article struct{ id, title, torrent, link, date string }

// readLikeQBittorrent reads a feed by the rules of qBittorrent (4.6 and 5), which
// knows elements by their local names: the torrent of an RSS item is the enclosure
// of the type of .torrent files, else a link that is a magnet link, else the
// link; that of an Atom entry is a magnet link, else the last link. An id that
// comes twice is dropped.
func readLikeQBittorrent(t *testing.T, doc []byte) (title string, articles []article) {
	t.Helper()
	var (
		cur    *article
		depth  int
		inside string // the element that is read
		chars  strings.Builder
		seen   = map[string]bool{}
	)
	for d := xml.NewDecoder(bytes.NewReader(doc)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return title, articles
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		switch e := token.(type) {
		case xml.StartElement:
			attr := func(name string) string {
				for _, a := range e.Attr {
					if a.Name.Local == name {
						return a.Value
					}
				}
				return ""
			}
			switch {
			case e.Name.Local == "item" || e.Name.Local == "entry":
				cur, depth = &article{}, 0
				continue
			case cur == nil:
			case depth == 0 && e.Name.Local == "enclosure" && attr("type") == "application/x-bittorrent":
				cur.torrent = attr("url")
			case depth == 0 && e.Name.Local == "link" && len(e.Attr) > 0:
				cur.link = attr("href")
			}
			depth++
			inside = e.Name.Local
			chars.Reset()
		case xml.CharData:
			chars.Write(e)
		case xml.EndElement:
			if e.Name.Local == "item" || e.Name.Local == "entry" {
				if cur.torrent == "" {
					cur.torrent = cur.link
				}
				if cur.id == "" {
					cur.id = cur.torrent
				}
				if !seen[cur.id] {
					articles = append(articles, *cur)
				}
				seen[cur.id], cur = true, nil
				continue
			}
			text := strings.TrimSpace(chars.String())
			depth--
			if e.Name.Local != inside {
				continue
			}
			switch {
			case cur == nil && inside == "title":
				title = chars.String()
			case cur == nil || depth > 0:
			case inside == "title":
				cur.title = text
			case inside == "guid" || inside == "id":
				cur.id = text
			case inside == "pubDate" || inside == "updated":
				cur.date = text
			case inside == "link" && text != "":
				if strings.HasPrefix(text, "magnet:") {
					cur.torrent = text
				} else {
					cur.link = text
				}
			}
		}
	}
}

func TestFeedsHoldHardNames(t *testing.T) {
	rels := make([]*catalog.Release, len(hardNames))
	for i, name := range hardNames {
		rels[i] = named(name)
		rels[i].InfoHash[1] = byte(i)
	}
	l := listing()
	for kind, write := range map[string]func(io.Writer, string, Channel, []*catalog.Release) error{"rss": l.WriteRSS, "atom": l.WriteAtom} {
		var b bytes.Buffer
		if err := write(&b, "http://host:1", channel, rels); err != nil {
			t.Fatal(err)
		}
		title, articles := readLikeQBittorrent(t, b.Bytes())
		if title != channel.Title || len(articles) != len(rels) {
			t.Fatalf("%s: %d articles of %q", kind, len(articles), title)
		}
		for i, a := range articles {
			hash := rels[i].InfoHash.HexString()
			want := article{hash, strings.TrimSpace(inXML(hardNames[i])), "http://host:1/torrents/" + hash + ".torrent", a.link, a.date}
			if kind == "atom" {
				want.id = "urn:btih:" + hash
			}
			if a != want {
				t.Errorf("%s: got %+q\nwant %+q", kind, a, want)
			}
		}
		parseElsewhere(t, b.Bytes())
	}
	var b bytes.Buffer
	if err := l.WriteJSONFeed(&b, "http://host:1", channel, rels); err != nil {
		t.Fatal(err)
	}
	var got struct{ Items []struct{ Title string } }
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got.Items) != len(rels) {
		t.Fatalf("%v, %d items", err, len(got.Items))
	}
	for i, it := range got.Items {
		if it.Title != hardNames[i] {
			t.Errorf("title %q, want %q", it.Title, hardNames[i])
		}
	}
}

// parseElsewhere has another parser look at a document, if there is one.
func parseElsewhere(t *testing.T, doc []byte) {
	t.Helper()
	cmd := exec.Command("python3", "-c", "import sys, xml.dom.minidom as m; m.parse(sys.stdin.buffer)")
	cmd.Stdin = bytes.NewReader(doc)
	if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState != nil {
		t.Errorf("%v: %s\n%s", err, out, doc)
	}
}

// TestRSS holds the feed to the rules of PROTOCOL.md.
func TestRSS(t *testing.T) {
	var b bytes.Buffer
	if err := listing().WriteRSS(&b, "http://host:1", channel, []*catalog.Release{named("a & b")}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version string `xml:"version,attr"`
		Channel struct {
			TTL   string     `xml:"ttl"`
			Links []struct { // RSS's own, and Atom's
				XMLName xml.Name
				Rel     string `xml:"rel,attr"`
				Href    string `xml:"href,attr"`
				Text    string `xml:",chardata"`
			} `xml:"link"`
			LastBuildDate *string `xml:"lastBuildDate"`
			Items         []struct {
				Link    string `xml:"link"`
				PubDate string `xml:"pubDate"`
				GUID    struct {
					IsPermaLink string `xml:"isPermaLink,attr"`
					ID          string `xml:",chardata"`
				} `xml:"guid"`
				Enclosure struct {
					URL    string `xml:"url,attr"`
					Type   string `xml:"type,attr"`
					Length string `xml:"length,attr"`
				} `xml:"enclosure"`
				Torrent struct {
					InfoHash      string `xml:"http://xmlns.ezrss.it/0.1/ infoHash"`
					ContentLength string `xml:"http://xmlns.ezrss.it/0.1/ contentLength"`
					MagnetURI     string `xml:"http://xmlns.ezrss.it/0.1/ magnetURI"`
				} `xml:"http://xmlns.ezrss.it/0.1/ torrent"`
				Attrs []struct {
					Name  string `xml:"name,attr"`
					Value string `xml:"value,attr"`
				} `xml:"http://torznab.com/schemas/2015/feed attr"`
			} `xml:"item"`
		} `xml:"channel"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	hash := "ab" + strings.Repeat("00", 19)
	ch := got.Channel
	if got.Version != "2.0" || ch.TTL != "60" || ch.LastBuildDate != nil || len(ch.Items) != 1 ||
		len(ch.Links) != 3 || ch.Links[0].Text != channel.Page || ch.Links[0].XMLName.Space != "" ||
		ch.Links[1].XMLName.Space != "http://www.w3.org/2005/Atom" || ch.Links[1].Rel != "self" || ch.Links[1].Href != channel.Self || ch.Links[2].Rel != "next" {
		t.Fatalf("got %+v", got)
	}
	it := ch.Items[0]
	if it.Link != "http://host:1/releases/a%20&%20b" || it.PubDate != "Fri, 02 Jan 2026 03:04:05 +0000" ||
		it.GUID.IsPermaLink != "false" || it.GUID.ID != hash {
		t.Errorf("got %+v", it)
	}
	if e := it.Enclosure; e.URL != "http://host:1/torrents/"+hash+".torrent" || e.Type != "application/x-bittorrent" || e.Length != "1100" {
		t.Errorf("got %+v", e)
	}
	magnet := "magnet:?xt=urn:btih:" + hash
	if e := it.Torrent; e.InfoHash != hash || e.ContentLength != "5000000000" || e.MagnetURI != magnet {
		t.Errorf("got %+v", e)
	}
	attrs := map[string]string{}
	for _, a := range it.Attrs {
		attrs[a.Name] = a.Value
	}
	want := map[string]string{"infohash": hash, "magneturl": magnet, "seeders": "1", "peers": "3", "size": "5000000000", "grabs": "3"}
	if fmt.Sprint(attrs) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", attrs, want)
	}
}

func TestAtomHasWhatRFC4287Demands(t *testing.T) {
	var b bytes.Buffer
	if err := listing().WriteAtom(&b, "http://host:1", channel, []*catalog.Release{named("a")}); err != nil {
		t.Fatal(err)
	}
	type link struct {
		Rel    string `xml:"rel,attr"`
		Type   string `xml:"type,attr"`
		Href   string `xml:"href,attr"`
		Length string `xml:"length,attr"`
	}
	var got struct {
		XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string   `xml:"id"`
		Title   string   `xml:"title"`
		Updated string   `xml:"updated"`
		Author  string   `xml:"author>name"`
		Entries []struct {
			ID      string `xml:"id"`
			Updated string `xml:"updated"`
			Links   []link `xml:"link"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != channel.Self || got.Title != channel.Title || got.Author == "" || got.Updated != "2026-01-02T03:04:05.000000678Z" || len(got.Entries) != 1 {
		t.Fatalf("got %+v", got)
	}
	e := got.Entries[0]
	hash := "ab" + strings.Repeat("00", 19)
	last := e.Links[len(e.Links)-1]
	if e.ID != "urn:btih:"+hash || e.Updated != "2026-01-02T03:04:05Z" || e.Links[0].Rel != "alternate" ||
		last != (link{"enclosure", "application/x-bittorrent", "http://host:1/torrents/" + hash + ".torrent", "1100"}) {
		t.Errorf("got %+v", e)
	}
}

func TestJSONFeedIsOfVersion1_1(t *testing.T) {
	var b bytes.Buffer
	if err := listing().WriteJSONFeed(&b, "http://host:1", channel, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"items": []`) {
		t.Errorf("a feed of nothing has no items in %s", b.String())
	}
	b.Reset()
	if err := listing().WriteJSONFeed(&b, "http://host:1", channel, []*catalog.Release{named("a")}); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	item := got["items"].([]any)[0].(map[string]any)
	hash := "ab" + strings.Repeat("00", 19)
	for what, ok := range map[string]bool{
		"version":        got["version"] == "https://jsonfeed.org/version/1.1",
		"feed_url":       got["feed_url"] == channel.Self,
		"home_page_url":  got["home_page_url"] == channel.Page,
		"next_url":       got["next_url"] == channel.Next,
		"id":             item["id"] == "urn:btih:"+hash,
		"url":            item["url"] == "http://host:1/releases/a",
		"content_text":   item["content_text"] == "5.0 GB in 3 files",
		"date_published": item["date_published"] == "2026-01-02T03:04:05.000000678Z",
		"attachments": fmt.Sprint(item["attachments"].([]any)[0]) ==
			"map[mime_type:application/x-bittorrent size_in_bytes:1100 url:http://host:1/torrents/"+hash+".torrent]",
	} {
		if !ok {
			t.Errorf("%s is wrong in %s", what, b.String())
		}
	}
}

// metalink is a document as RFC 5854 has it.
type metalink struct {
	XMLName xml.Name `xml:"urn:ietf:params:xml:ns:metalink metalink"`
	Files   []struct {
		Name string `xml:"name,attr"`
		Size int64  `xml:"size"`
		Hash struct {
			Type  string `xml:"type,attr"`
			Value string `xml:",chardata"`
		} `xml:"hash"`
		Pieces *struct {
			Type   string   `xml:"type,attr"`
			Length int64    `xml:"length,attr"`
			Hashes []string `xml:"hash"`
		} `xml:"pieces"`
		URLs []struct {
			Priority int    `xml:"priority,attr"`
			URL      string `xml:",chardata"`
		} `xml:"url"`
		MetaURLs []struct {
			MediaType string `xml:"mediatype,attr"`
			Name      string `xml:"name,attr"`
			URL       string `xml:",chardata"`
		} `xml:"metaurl"`
	} `xml:"file"`
}

func metalinkOf(t *testing.T, c *catalog.Content, i int) metalink {
	t.Helper()
	var b bytes.Buffer
	if err := listing().WriteMetalink(&b, "http://host:1", c, i); err != nil {
		t.Fatal(err)
	}
	var got metalink
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v in\n%s", err, b.Bytes())
	}
	parseElsewhere(t, b.Bytes())
	for _, f := range got.Files {
		for _, u := range f.URLs {
			if p, err := url.Parse(u.URL); err != nil || !p.IsAbs() {
				t.Errorf("%q is no absolute URL", u.URL)
			}
		}
	}
	return got
}

func TestMetalinkOfAFileHasThePieces(t *testing.T) {
	const name = "a <&> \"b\".iso"
	c := contentWithSums(t, [][32]byte{{0xcd}}, watcher.File{Path: name, Size: 40_000})
	for _, i := range []int{0, Whole} {
		got := metalinkOf(t, c, i)
		if len(got.Files) != 1 {
			t.Fatalf("%d files", len(got.Files))
		}
		f := got.Files[0]
		if f.Name != name || f.Size != 40_000 || f.Hash.Type != "sha-256" || f.Hash.Value != "cd"+strings.Repeat("00", 31) {
			t.Errorf("got %+v", f)
		}
		if p := f.Pieces; p == nil || p.Type != "sha-1" || p.Length != 16<<10 || len(p.Hashes) != 3 || p.Hashes[2] != strings.Repeat("ab", 20) {
			t.Errorf("got %+v", p)
		}
		if len(f.URLs) != 2 || f.URLs[0].Priority != 1 || f.URLs[1].Priority != 2 || !strings.HasPrefix(f.URLs[0].URL, "http://host:1/webseed/ab") {
			t.Errorf("got %+v", f.URLs)
		}
		if m := f.MetaURLs; len(m) != 1 || m[0].MediaType != "torrent" || m[0].Name != "" || m[0].URL != "http://host:1/torrents/"+c.InfoHash.HexString()+".torrent" {
			t.Errorf("got %+v", m)
		}
	}
}

func TestMetalinkOfADirectoryNamesTheFilesInTheTorrent(t *testing.T) {
	c := content(t, watcher.File{Path: "d/a\nb", Size: 1}, watcher.File{Path: "d/x/c.iso", Size: 2})
	got := metalinkOf(t, c, Whole)
	if len(got.Files) != 2 || got.Files[1].Name != "d/x/c.iso" || got.Files[1].MetaURLs[0].Name != "d/x/c.iso" ||
		got.Files[1].Pieces != nil || got.Files[1].Hash.Value != "" {
		t.Errorf("got %+v", got)
	}
	if f := got.Files[0]; f.Name != "d/a_b" || len(f.MetaURLs) != 0 || len(f.URLs) == 0 {
		t.Errorf("got %+v", f)
	}
	and := metalinkOf(t, content(t, watcher.File{Path: "d/a&b", Size: 1}, watcher.File{Path: "d/c", Size: 1}), Whole)
	if f := and.Files[0]; f.Name != "d/a&b" || len(f.MetaURLs) != 0 || len(and.Files[1].MetaURLs) != 1 {
		t.Errorf("got %+v", and)
	}
	if got := metalinkOf(t, c, 1); len(got.Files) != 1 || got.Files[0].Name != "c.iso" || got.Files[0].MetaURLs[0].Name != "d/x/c.iso" {
		t.Errorf("got %+v", got)
	}
	one := content(t, watcher.File{Path: "d/only", Size: 1})
	if got := metalinkOf(t, one, Whole); got.Files[0].Name != "d/only" {
		t.Errorf("got %+v", got)
	}
}

func TestSumsAreWhatSha256sumChecks(t *testing.T) {
	dir := t.TempDir()
	files := []watcher.File{{Path: "d/a b"}, {Path: `d/back\slash`}, {Path: "d/new\nline"}, {Path: "d/re\rturn"}, {Path: "d/ö"}, {Path: "d/z"}}
	for _, f := range files {
		p := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	empty := [32]byte{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
		0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}
	sums := make([][32]byte, len(files))
	for i := range sums {
		sums[i] = empty
	}
	var b bytes.Buffer
	if err := WriteSums(&b, contentWithSums(t, sums, files...)); err != nil {
		t.Fatal(err)
	}
	if err := WriteSums(&b, content(t, watcher.File{Path: "old\nrelease"})); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != len(files)+1 {
		t.Errorf("%d lines in\n%s", n, b.String())
	}
	program, err := exec.LookPath("sha256sum")
	if err != nil {
		if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(program, "--check", "--strict")
	cmd.Dir, cmd.Stdin = dir, &b
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), ": OK\n") != len(files) {
		t.Errorf("%v: %s", err, out)
	}
}

func FuzzFeedsAreValid(f *testing.F) {
	for _, name := range hardNames {
		f.Add(name)
	}
	l := listing()
	f.Fuzz(func(t *testing.T, name string) {
		r := named(strings.ToValidUTF8(name, "")) // the catalog holds no other
		for _, write := range []func(io.Writer, string, Channel, []*catalog.Release) error{l.WriteRSS, l.WriteAtom} {
			var b bytes.Buffer
			if err := write(&b, "http://host:1", channel, []*catalog.Release{r}); err != nil {
				t.Fatal(err)
			}
			if _, articles := readLikeQBittorrent(t, b.Bytes()); len(articles) != 1 || articles[0].title != strings.TrimSpace(inXML(r.Name)) {
				t.Errorf("%q came out as %q", r.Name, articles)
			}
		}
	})
}

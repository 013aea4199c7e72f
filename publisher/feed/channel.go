package feed

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"dropseed/publisher/catalog"
)

// torrentType is the media type of .torrent files.
const torrentType = "application/x-bittorrent"

// Channel is what a feed says of itself.
type Channel struct {
	Title    string // of the site, and what its releases were chosen by
	Self     string // URL of the feed
	Page     string // URL of the page that lists the same releases
	Next     string // URL of the feed with the releases that follow; may be empty
	Modified time.Time
}

// item is a release in a feed.
type item struct {
	Release
	torrentSize int64
	about       string // for people; holds no names
}

func (l *Listing) items(base string, rels []*catalog.Release) []item {
	items := make([]item, len(rels))
	for i, r := range rels {
		about := humanize.Bytes(uint64(r.Size))
		if r.Files > 1 {
			about += fmt.Sprintf(" in %s files", humanize.Comma(int64(r.Files)))
		}
		items[i] = item{l.Release(base, *r), l.o.TorrentSize(base, *r), about}
	}
	return items
}

// The elements of RSS 2.0 and of the two extensions that torrent programs read:
// ezRSS's torrent block, and the attributes of Torznab.
type (
	rss struct {
		XMLName xml.Name   `xml:"rss"`
		Version string     `xml:"version,attr"`
		Atom    string     `xml:"xmlns:atom,attr"`
		Torznab string     `xml:"xmlns:torznab,attr"`
		Channel rssChannel `xml:"channel"`
	}
	rssChannel struct {
		Title       string     `xml:"title"`
		Link        string     `xml:"link"`
		Description string     `xml:"description"`
		Links       []atomLink `xml:"atom:link"`
		Generator   string     `xml:"generator"`
		TTL         int        `xml:"ttl"`
		Items       []rssItem  `xml:"item"`
	}
	rssItem struct {
		Title       string        `xml:"title"`
		Link        string        `xml:"link"`
		Description string        `xml:"description"`
		Category    string        `xml:"category"`
		GUID        rssGUID       `xml:"guid"`
		PubDate     string        `xml:"pubDate"`
		Enclosure   rssEnclosure  `xml:"enclosure"`
		Torrent     ezTorrent     `xml:"torrent"`
		Attrs       []torznabAttr `xml:"torznab:attr"`
	}
	rssGUID struct {
		IsPermaLink bool   `xml:"isPermaLink,attr"`
		ID          string `xml:",chardata"`
	}
	rssEnclosure struct {
		URL    string `xml:"url,attr"`
		Type   string `xml:"type,attr"`
		Length int64  `xml:"length,attr"`
	}
	ezTorrent struct {
		XMLNS         string `xml:"xmlns,attr"`
		FileName      string `xml:"fileName"`
		InfoHash      string `xml:"infoHash"`
		ContentLength int64  `xml:"contentLength"`
		MagnetURI     string `xml:"magnetURI"`
		Seeds         int    `xml:"seeds"`
		Peers         int    `xml:"peers"`
	}
	torznabAttr struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
)

// refreshAfter is when a feed is worth another look, in minutes as RSS 2.0 has
// it. BEP 36 takes ttl for seconds: those who ask so often get a 304.
const refreshAfter = 60

// WriteRSS writes releases as RSS 2.0, in UTF-8. An item's enclosure is the
// .torrent (BEP 36) and its guid the info-hash. There is no lastBuildDate:
// it counts whole seconds, and qBittorrent takes a feed for unchanged, and looks
// no further, if it has seen the date before.
func (l *Listing) WriteRSS(w io.Writer, base string, ch Channel, rels []*catalog.Release) error {
	doc := rss{
		Version: "2.0", Atom: atomSpace, Torznab: "http://torznab.com/schemas/2015/feed",
		Channel: rssChannel{
			Title: ch.Title, Link: ch.Page, Description: "Releases, with their torrents", Generator: generator, TTL: refreshAfter,
			Links: []atomLink{{Rel: "self", Type: "application/rss+xml", Href: ch.Self}},
		},
	}
	if ch.Next != "" {
		doc.Channel.Links = append(doc.Channel.Links, atomLink{Rel: "next", Type: "application/rss+xml", Href: ch.Next})
	}
	for _, it := range l.items(base, rels) {
		peers := it.Swarm.Seeders + it.Swarm.Leechers
		doc.Channel.Items = append(doc.Channel.Items, rssItem{
			Title: it.Name, Link: it.PageURL, Description: it.about, Category: it.Source,
			GUID:      rssGUID{ID: it.InfoHash},
			PubDate:   it.CreatedAt.UTC().Format(time.RFC1123Z),
			Enclosure: rssEnclosure{URL: it.TorrentURL, Type: torrentType, Length: it.torrentSize},
			Torrent: ezTorrent{
				XMLNS: "http://xmlns.ezrss.it/0.1/", FileName: it.Name + ".torrent", InfoHash: it.InfoHash,
				ContentLength: it.Size, MagnetURI: it.Magnet, Seeds: it.Swarm.Seeders, Peers: peers,
			},
			Attrs: []torznabAttr{
				{"infohash", it.InfoHash}, {"magneturl", it.Magnet}, {"size", fmt.Sprint(it.Size)},
				{"seeders", fmt.Sprint(it.Swarm.Seeders)}, {"peers", fmt.Sprint(peers)}, {"grabs", fmt.Sprint(it.Swarm.Completed)},
			},
		})
	}
	return writeXML(w, doc)
}

const (
	atomSpace = "http://www.w3.org/2005/Atom"
	generator = "dropseed"
)

// The elements of Atom (RFC 4287).
type (
	atomFeed struct {
		XMLName   xml.Name    `xml:"feed"`
		XMLNS     string      `xml:"xmlns,attr"`
		ID        string      `xml:"id"`
		Title     string      `xml:"title"`
		Updated   string      `xml:"updated"`
		Author    string      `xml:"author>name"`
		Generator string      `xml:"generator"`
		Links     []atomLink  `xml:"link"`
		Entries   []atomEntry `xml:"entry"`
	}
	atomLink struct {
		Rel    string `xml:"rel,attr"`
		Type   string `xml:"type,attr"`
		Title  string `xml:"title,attr,omitempty"`
		Length int64  `xml:"length,attr,omitempty"`
		Href   string `xml:"href,attr"`
	}
	atomEntry struct {
		ID        string       `xml:"id"`
		Title     string       `xml:"title"`
		Published string       `xml:"published"`
		Updated   string       `xml:"updated"`
		Category  atomCategory `xml:"category"`
		Summary   string       `xml:"summary"`
		Links     []atomLink   `xml:"link"`
	}
	atomCategory struct {
		Term string `xml:"term,attr"`
	}
)

// WriteAtom writes releases as an Atom feed (RFC 4287). The last link of an
// entry is that to its .torrent, because qBittorrent takes the last.
func (l *Listing) WriteAtom(w io.Writer, base string, ch Channel, rels []*catalog.Release) error {
	doc := atomFeed{
		XMLNS: atomSpace, ID: ch.Self, Title: ch.Title, Author: ch.Title, Generator: generator,
		Updated: ch.Modified.UTC().Format(time.RFC3339Nano),
		Links: []atomLink{
			{Rel: "self", Type: "application/atom+xml", Href: ch.Self},
			{Rel: "alternate", Type: "text/html", Href: ch.Page},
		},
	}
	if ch.Next != "" {
		doc.Links = append(doc.Links, atomLink{Rel: "next", Type: "application/atom+xml", Href: ch.Next})
	}
	for _, it := range l.items(base, rels) {
		at := it.CreatedAt.UTC().Format(time.RFC3339)
		doc.Entries = append(doc.Entries, atomEntry{
			ID: "urn:btih:" + it.InfoHash, Title: it.Name, Published: at, Updated: at,
			Category: atomCategory{it.Source}, Summary: it.about,
			Links: []atomLink{
				{Rel: "alternate", Type: "text/html", Href: it.PageURL},
				{Rel: "related", Type: MetalinkType, Title: "Metalink", Href: it.MetalinkURL},
				{Rel: "enclosure", Type: torrentType, Title: "Torrent", Length: it.torrentSize, Href: it.TorrentURL},
			},
		})
	}
	return writeXML(w, doc)
}

// writeXML writes a document. What XML 1.0 cannot hold, such as most control
// characters, becomes U+FFFD.
func writeXML(w io.Writer, doc any) error {
	var b bytes.Buffer // so that the document is whole or not at all
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", " ")
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("encode a feed: %w", err)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// The objects of JSON Feed 1.1. What begins with "_" is an extension.
type (
	jsonFeed struct {
		Version     string     `json:"version"`
		Title       string     `json:"title"`
		HomePageURL string     `json:"home_page_url"`
		FeedURL     string     `json:"feed_url"`
		NextURL     string     `json:"next_url,omitempty"`
		Items       []jsonItem `json:"items"`
	}
	jsonItem struct {
		ID            string           `json:"id"`
		URL           string           `json:"url"`
		Title         string           `json:"title"`
		ContentText   string           `json:"content_text"`
		DatePublished time.Time        `json:"date_published"`
		Tags          []string         `json:"tags"`
		Attachments   []jsonAttachment `json:"attachments"`
		Torrent       jsonTorrent      `json:"_torrent"`
	}
	jsonAttachment struct {
		URL         string `json:"url"`
		MIMEType    string `json:"mime_type"`
		SizeInBytes int64  `json:"size_in_bytes,omitempty"`
	}
	jsonTorrent struct {
		InfoHash string `json:"info_hash"`
		Magnet   string `json:"magnet"`
		Size     int64  `json:"size"` // bytes of content
		Seeders  int    `json:"seeders"`
		Leechers int    `json:"leechers"`
	}
)

// WriteJSONFeed writes releases as a JSON Feed (jsonfeed.org, version 1.1).
func (l *Listing) WriteJSONFeed(w io.Writer, base string, ch Channel, rels []*catalog.Release) error {
	doc := jsonFeed{
		Version: "https://jsonfeed.org/version/1.1", Title: ch.Title, HomePageURL: ch.Page, FeedURL: ch.Self, NextURL: ch.Next,
		Items: []jsonItem{},
	}
	for _, it := range l.items(base, rels) {
		doc.Items = append(doc.Items, jsonItem{
			ID: "urn:btih:" + it.InfoHash, URL: it.PageURL, Title: it.Name, ContentText: it.about,
			DatePublished: it.CreatedAt.UTC(), Tags: []string{it.Source},
			Attachments: []jsonAttachment{
				{it.TorrentURL, torrentType, it.torrentSize},
				{URL: it.MetalinkURL, MIMEType: MetalinkType},
			},
			Torrent: jsonTorrent{it.InfoHash, it.Magnet, it.Size, it.Swarm.Seeders, it.Swarm.Leechers},
		})
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("encode a feed: %w", err)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

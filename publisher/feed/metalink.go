package feed

import (
	"bufio"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"dropseed/publisher/catalog"
)

// What a Metalink document is called.
const (
	MetalinkType = "application/metalink4+xml"
	MetalinkExt  = ".meta4"
)

// Whole stands for all files of a release where an index of one may stand.
const Whole = -1

// The elements of a Metalink document (RFC 5854).
type (
	metaFile struct {
		Name     string       `xml:"name,attr"`
		Size     int64        `xml:"size"`
		Hash     *metaHash    `xml:"hash"`
		Pieces   *metaPieces  `xml:"pieces"`
		URLs     []metaURL    `xml:"url"`
		MetaURLs []metaTarget `xml:"metaurl"`
	}
	metaHash struct {
		Type  string `xml:"type,attr"`
		Value string `xml:",chardata"`
	}
	metaPieces struct {
		Length int64    `xml:"length,attr"`
		Type   string   `xml:"type,attr"`
		Hashes []string `xml:"hash"`
	}
	metaURL struct {
		Priority int    `xml:"priority,attr"`
		URL      string `xml:",chardata"`
	}
	metaTarget struct {
		Priority  int    `xml:"priority,attr"`
		MediaType string `xml:"mediatype,attr"`
		Name      string `xml:"name,attr,omitempty"` // of the file in the torrent, if it holds several
		URL       string `xml:",chardata"`
	}
)

// WriteMetalink writes a Metalink 4 document (RFC 5854) of a release's i-th file,
// or of all of them ([Whole]). Those who read it get each file from peers, by
// the torrent that it names, and over HTTP, and check it by its SHA-256; where
// the file is all of the torrent, also by the torrent's pieces. It needs little
// memory however many files there are.
//
// The file's name in the document is its path in the release, or, for one
// of several, the last part of that. Control characters, which make aria2
// refuse the document and of which XML holds few, become "_". The "&" of a name
// becomes "&#38;" in an aria2 that uses libxml2, however it is written here.
func (l *Listing) WriteMetalink(w io.Writer, base string, c *catalog.Content, i int) error {
	from, to, one := i, i+1, true
	if i == Whole {
		from, to, one = 0, len(c.Files), false
	}
	out := bufio.NewWriterSize(w, 32<<10)
	out.WriteString(xml.Header)
	e := xml.NewEncoder(out)
	e.Indent("", " ")
	root := xml.StartElement{
		Name: xml.Name{Local: "metalink"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: "urn:ietf:params:xml:ns:metalink"}},
	}
	element := func(name, value string) error {
		return e.EncodeElement(value, xml.StartElement{Name: xml.Name{Local: name}})
	}
	err := e.EncodeToken(root)
	if err == nil {
		err = element("generator", generator)
	}
	if err == nil {
		err = element("published", c.CreatedAt.UTC().Format(time.RFC3339))
	}
	for i := from; i < to && err == nil; i++ {
		var f metaFile
		if f, err = l.metaFile(base, c, i); err == nil {
			if one {
				f.Name = path.Base(f.Name)
			}
			err = e.EncodeElement(f, xml.StartElement{Name: xml.Name{Local: "file"}})
		}
	}
	if err == nil {
		err = e.EncodeToken(root.End())
	}
	if err == nil {
		err = e.Close()
	}
	if err == nil {
		out.WriteByte('\n')
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the Metalink of %q: %w", c.Name, err)
	}
	return nil
}

// metaFile is a release's i-th file in a Metalink document.
func (l *Listing) metaFile(base string, c *catalog.Content, i int) (metaFile, error) {
	f := c.Files[i]
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffe || r == 0xffff {
			return '_'
		}
		return r
	}, f.Path)
	out := metaFile{Name: plain, Size: f.Size}
	if sum := sum(c, i); sum != "" {
		out.Hash = &metaHash{"sha-256", sum}
	}
	torrent := metaTarget{Priority: 1, MediaType: "torrent", URL: base + "/torrents/" + c.InfoHash.HexString() + ".torrent"}
	if !c.IsFile {
		torrent.Name = f.Path
	}
	urls := l.o.URLs(base, c.Release, f.Path)
	if c.IsFile || plain == f.Path && !strings.Contains(plain, "&") {
		out.MetaURLs = []metaTarget{torrent}
	} else {
		// A file that aria2 does not find in the torrent by its name it would
		// download without checking it. And the webseed, which comes first, turns
		// away whoever is a peer of the release, as aria2 is for the other files.
		urls = append([]string{l.o.FileURL(base, f.Path)}, urls[1:]...)
	}
	for n, u := range urls {
		out.URLs = append(out.URLs, metaURL{n + 1, u})
	}
	if !c.IsFile {
		return out, nil
	}
	pieces, err := l.o.Pieces(c.Release)
	if err != nil {
		return out, err
	}
	const size = 20 // bytes of a SHA-1
	out.Pieces = &metaPieces{Length: c.PieceLength, Type: "sha-1"}
	for ; len(pieces) >= size; pieces = pieces[size:] {
		out.Pieces.Hashes = append(out.Pieces.Hashes, hex.EncodeToString(pieces[:size]))
	}
	return out, nil
}

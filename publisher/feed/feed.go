// Package feed is the public listing of releases as data, so that pages, API
// and feeds say the same of a release.
//
// A [Listing] makes a [Release] of what the catalog knows and of what it asks
// its functions: how the URLs look, who is in the swarm, what was sent. Of many
// it makes a [Channel]: RSS, Atom or JSON Feed. Of a release's files it makes
// what downloads are checked by: Metalink, and lines for sha256sum.
//
// It has no routes and keeps nothing.
package feed

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/url"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
)

// Options is what a Listing asks. A base is the public URL of this server
// without a slash at its end.
type Options struct {
	WebseedURL func(base string, r catalog.Release) string // as in a url-list (BEP 19)
	Magnet     func(base string, r catalog.Release) string // a magnet link (BEP 9)
	// FileURL is where a file of the newest release of its name is served.
	FileURL func(base, path string) string
	// URLs are where this very file of a release is had, the best first.
	URLs func(base string, r catalog.Release, path string) []string
	// TorrentSize is how long the .torrent at [Release].TorrentURL is, in bytes.
	TorrentSize func(base string, r catalog.Release) int64
	// Pieces are the SHA-1s of a release's pieces, one after the other.
	Pieces func(r catalog.Release) ([]byte, error)
	Swarm  func(ih infohash.T) Swarm
	Sent   func(ih infohash.T) Sent
}

// Swarm is who is in a release's swarm, as its tracker knows it.
type Swarm struct {
	Seeders   int `json:"seeders"`
	Leechers  int `json:"leechers"`
	Completed int `json:"completed"` // downloads that ended, ever

	Connected int     `json:"connected"` // peers of our seeder
	Progress  float64 `json:"progress"`  // what these have on average, 0 to 1, to three decimals
}

// Sent is the bytes of content that this server has sent of a release.
type Sent struct {
	Peers   int64 `json:"peers"`   // over BitTorrent
	Webseed int64 `json:"webseed"` // over HTTP, to BitTorrent clients
	Direct  int64 `json:"direct"`  // over HTTP, to everybody else

	// Gained is the bytes that peers got, from us or each other.
	Gained int64 `json:"-"`
}

// PeersShare returns the share of all bytes delivered that peers carried: what
// they gained and did not get from here. It is 0 to 1.
func (s Sent) PeersShare() float64 {
	carried := max(0, s.Gained-s.Peers-s.Webseed)
	if carried == 0 {
		return 0
	}
	return float64(carried) / float64(carried+s.Total())
}

// Total returns all bytes together.
func (s Sent) Total() int64 { return s.Peers + s.Webseed + s.Direct }

// Release is a live release as the API shows it. Its files are not a part of
// it, since there may be a million: see [WriteJSON].
type Release struct {
	Name        string    `json:"name"`
	InfoHash    string    `json:"info_hash"`    // 40 lower-case hex digits
	Size        int64     `json:"size"`         // bytes
	PieceLength int64     `json:"piece_length"` // bytes
	Source      string    `json:"source"`
	CreatedAt   time.Time `json:"created_at"`
	Format      string    `json:"format"` // of the torrent: always v1 (BEP 3)
	PageURL     string    `json:"page_url"`
	TorrentURL  string    `json:"torrent_url"`
	MetalinkURL string    `json:"metalink_url"` // RFC 5854
	Magnet      string    `json:"magnet"`
	WebseedURL  string    `json:"webseed_url"`
	Swarm       Swarm     `json:"swarm"`
	Sent        Sent      `json:"sent"`
	Copies      float64   `json:"copies"`      // bytes sent ÷ Size, to three decimals
	PeersShare  float64   `json:"peers_share"` // of the bytes delivered that peers carried, 0 to 1, to three decimals
}

// file is a file in a release's JSON.
type file struct {
	Path   string `json:"path"`             // with the release's name in front
	Size   int64  `json:"size"`             // bytes
	SHA256 string `json:"sha256,omitempty"` // 64 lower-case hex digits, if it is known
}

// Listing is safe for concurrent use if its functions are.
type Listing struct{ o Options }

// New returns a Listing.
func New(o Options) *Listing { return &Listing{o} }

// Release returns a release as it is now, with URLs below base.
func (l *Listing) Release(base string, r catalog.Release) Release {
	out := Release{
		Name:        r.Name,
		InfoHash:    r.InfoHash.HexString(),
		Size:        r.Size,
		PieceLength: r.PieceLength,
		Source:      r.Source,
		CreatedAt:   r.CreatedAt.UTC(),
		Format:      "v1",
		PageURL:     base + "/releases/" + url.PathEscape(r.Name),
		TorrentURL:  base + "/torrents/" + r.InfoHash.HexString() + ".torrent",
		MetalinkURL: l.o.FileURL(base, r.Name) + MetalinkExt,
		Magnet:      l.o.Magnet(base, r),
		WebseedURL:  l.o.WebseedURL(base, r),
		Swarm:       l.o.Swarm(r.InfoHash),
		Sent:        l.o.Sent(r.InfoHash),
	}
	if r.Size > 0 {
		out.Copies = decimals(float64(out.Sent.Total()) / float64(r.Size))
	}
	out.PeersShare = decimals(out.Sent.PeersShare())
	out.Swarm.Progress = decimals(out.Swarm.Progress)
	return out
}

// decimals rounds to three of them.
func decimals(f float64) float64 { return math.Round(1000*f) / 1000 }

// WriteJSON writes a release, and the files of what it was made of, as one JSON
// object. It needs little memory however many files there are.
func WriteJSON(w io.Writer, r Release, c *catalog.Content) error {
	head, err := encode(r)
	if err != nil {
		return fmt.Errorf("encode the release %q: %w", c.Name, err)
	}
	out := bufio.NewWriterSize(w, 32<<10)
	out.Write(bytes.TrimSuffix(head, []byte("}")))
	out.WriteString(`,"files":[`)
	for i, f := range c.Files {
		if i > 0 {
			out.WriteByte(',')
		}
		b, err := encode(file{f.Path, f.Size, sum(c, i)})
		if err != nil {
			return fmt.Errorf("encode the file %q: %w", f.Path, err)
		}
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("write the release %q: %w", c.Name, err)
		}
	}
	out.WriteString("]}")
	return out.Flush()
}

// Peers returns how many peers are in a release's swarm.
func (l *Listing) Peers(ih infohash.T) int {
	s := l.o.Swarm(ih)
	return s.Seeders + s.Leechers
}

// sum returns the SHA-256 of a release's i-th file in hex, or "".
func sum(c *catalog.Content, i int) string {
	sum, ok := c.SHA256(i)
	if !ok {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// encode returns JSON in which the "&" of a magnet link can be read.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

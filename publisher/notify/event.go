package notify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
)

// Type is what an event tells.
type Type string

// The Types.
const (
	Published Type = "published"
	Retired   Type = "retired" // also by being replaced
	Failed    Type = "failed"  // a tree is not published, for a new reason
)

// event is something to tell, as the journal holds it.
type event struct {
	ID   string    `json:"id"`
	Type Type      `json:"type"`
	At   time.Time `json:"at"` // when it happened
	facts
	Previous   string   `json:"previous,omitempty"`    // info-hash of the release that it replaced
	ReplacedBy string   `json:"replaced_by,omitempty"` // info-hash
	Path       string   `json:"path,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	To         []string `json:"to,omitempty"` // keys of the targets that are still to be told

	order uint64
}

// facts is what is written down of a release. Of a failed tree, it is Name and
// Source.
type facts struct {
	Name      string    `json:"name"`
	Source    string    `json:"source"`
	InfoHash  string    `json:"info_hash,omitempty"` // 40 lower-case hex digits
	Size      int64     `json:"size,omitempty"`      // bytes
	Files     int       `json:"files,omitempty"`
	Serial    uint64    `json:"serial,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero"`
}

func factsOf(r *catalog.Release) facts {
	return facts{
		Name: r.Name, Source: r.Source, InfoHash: r.InfoHash.HexString(), Size: r.Size, Files: r.Files,
		Serial: r.Serial(), CreatedAt: r.CreatedAt,
	}
}

// newEvent returns an event about a release, whose id is the same whenever it
// is made again.
func newEvent(t Type, at time.Time, f facts) *event {
	return &event{ID: eventID(string(t), f.InfoHash, strconv.FormatInt(f.CreatedAt.UnixNano(), 10)), Type: t, At: at.UTC(), facts: f}
}

func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "msg_" + hex.EncodeToString(sum[:12])
}

// payload is what is told, as JSON.
type payload struct {
	Type      Type      `json:"type"`
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"` // releaseData or failureData
}

type releaseData struct {
	Name       string    `json:"name"`
	Source     string    `json:"source"`
	InfoHash   string    `json:"info_hash"`
	Size       int64     `json:"size"` // bytes
	Files      int       `json:"files"`
	CreatedAt  time.Time `json:"created_at"`
	PageURL    string    `json:"page_url,omitempty"`
	TorrentURL string    `json:"torrent_url,omitempty"`
	Magnet     string    `json:"magnet,omitempty"`
	Previous   string    `json:"previous_info_hash,omitempty"`
	ReplacedBy string    `json:"replaced_by,omitempty"`
}

type failureData struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Path   string `json:"path,omitempty"`
	Reason string `json:"reason"`
}

// payload returns what is told of e. Links are made when it is told.
func (n *Notifier) payload(e *event) payload {
	p := payload{Type: e.Type, ID: e.ID, Timestamp: e.At}
	if e.Type == Failed {
		p.Data = failureData{Name: e.Name, Source: e.Source, Path: e.Path, Reason: e.Reason}
		return p
	}
	d := releaseData{
		Name: e.Name, Source: e.Source, InfoHash: e.InfoHash, Size: e.Size, Files: e.Files,
		CreatedAt: e.CreatedAt, Previous: e.Previous, ReplacedBy: e.ReplacedBy,
	}
	var ih infohash.T
	if err := ih.FromHexString(e.InfoHash); err == nil && n.o.Links != nil {
		if r, ok := n.o.Catalog.Get(ih); ok {
			l := n.o.Links(r)
			d.PageURL, d.TorrentURL, d.Magnet = l.Page, l.Torrent, l.Magnet
		}
	}
	p.Data = d
	return p
}

// body returns p as JSON in which the "&" of a magnet link can be read.
func (p payload) body() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, fmt.Errorf("encode the event %s: %w", p.ID, err)
	}
	return b.Bytes(), nil
}

// environ returns p as variables for the command. All are set at every event,
// so that none comes from elsewhere.
func (p payload) environ() []string {
	r, _ := p.Data.(releaseData)
	f, failed := p.Data.(failureData)
	if failed {
		r.Name, r.Source = f.Name, f.Source
	}
	vars := map[string]string{
		"EVENT": string(p.Type), "ID": p.ID, "TIMESTAMP": p.Timestamp.Format(time.RFC3339Nano),
		"NAME": r.Name, "SOURCE": r.Source, "INFO_HASH": r.InfoHash,
		"SIZE": "", "FILES": "", "CREATED_AT": "",
		"PAGE_URL": r.PageURL, "TORRENT_URL": r.TorrentURL, "MAGNET": r.Magnet,
		"PREVIOUS_INFO_HASH": r.Previous, "REPLACED_BY": r.ReplacedBy,
		"PATH": f.Path, "REASON": f.Reason,
	}
	if !failed {
		vars["SIZE"], vars["FILES"] = strconv.FormatInt(r.Size, 10), strconv.Itoa(r.Files)
		vars["CREATED_AT"] = r.CreatedAt.Format(time.RFC3339Nano)
	}
	env := make([]string, 0, len(vars))
	for name, value := range vars {
		env = append(env, envPrefix+name+"="+strings.ReplaceAll(value, "\x00", "\ufffd"))
	}
	return env
}

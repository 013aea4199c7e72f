package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/watcher"
)

const (
	recordFormat  = 1
	maxRecordSize = 1 << 30 // a release of a million files has about 200 MB
)

// record is the JSON file of a release.
type record struct {
	Format        int          `json:"format"`
	Serial        uint64       `json:"serial"`
	Name          string       `json:"name"`
	InfoHash      string       `json:"info_hash"`
	Size          int64        `json:"size"`
	PieceLength   int64        `json:"piece_length"`
	Private       bool         `json:"private,omitempty"`
	Source        string       `json:"source"`
	CreatedAt     time.Time    `json:"created_at"`
	RetiredAt     *time.Time   `json:"retired_at,omitempty"`
	Digest        string       `json:"digest"`
	TorrentSize   int64        `json:"torrent_size"`
	TorrentSHA256 string       `json:"torrent_sha256"`
	Files         []recordFile `json:"files"`
}

type recordFile struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
	Version string    `json:"version"`
	SHA256  string    `json:"sha256,omitempty"`
}

// files returns what is in the torrent, and the SHA-256 of each file if all are known.
func (rec *record) files() ([]watcher.File, [][sha256.Size]byte) {
	files, sums := make([]watcher.File, len(rec.Files)), make([][sha256.Size]byte, len(rec.Files))
	for i, f := range rec.Files {
		files[i] = watcher.File{Path: f.Path, Size: f.Size, ModTime: f.ModTime, Version: f.Version}
		if len(f.SHA256) != 2*sha256.Size || sums == nil {
			sums = nil
		} else if _, err := hex.Decode(sums[i][:], []byte(f.SHA256)); err != nil {
			sums = nil
		}
	}
	return files, sums
}

func newRecord(n New) *record {
	digest, sum := n.Tree.Digest(), sha256.Sum256(n.Torrent)
	rec := &record{
		Format:        recordFormat,
		Name:          n.Tree.Name,
		InfoHash:      n.InfoHash.HexString(),
		Size:          n.Tree.Size(),
		PieceLength:   n.PieceLength,
		Private:       n.Private,
		Source:        n.Tree.Source,
		CreatedAt:     time.Now().UTC(),
		Digest:        hex.EncodeToString(digest[:]),
		TorrentSize:   int64(len(n.Torrent)),
		TorrentSHA256: hex.EncodeToString(sum[:]),
		Files:         make([]recordFile, len(n.Tree.Files)),
	}
	for i, f := range n.Tree.Files {
		rec.Files[i] = recordFile{Path: f.Path, Size: f.Size, ModTime: f.ModTime, Version: f.Version}
		if n.SHA256 != nil {
			rec.Files[i].SHA256 = hex.EncodeToString(n.SHA256[i][:])
		}
	}
	return rec
}

// takeSums takes over the SHA-256 of all files from a record of the same torrent.
func (rec *record) takeSums(from *record) {
	if len(from.Files) != len(rec.Files) {
		return // not a record of ours
	}
	for i := range rec.Files {
		rec.Files[i].SHA256 = from.Files[i].SHA256
	}
}

// release returns the words of a record that stay in memory. It is called on
// records that check accepted or newRecord made.
func (rec *record) release(ih infohash.T) *Release {
	r := &Release{
		Name:        strings.Clone(rec.Name),
		InfoHash:    ih,
		Size:        rec.Size,
		PieceLength: rec.PieceLength,
		Files:       len(rec.Files),
		IsFile:      len(rec.Files) == 1 && rec.Files[0].Path == rec.Name,
		Private:     rec.Private,
		Source:      rec.Source,
		CreatedAt:   rec.CreatedAt,
		TorrentSize: rec.TorrentSize,
		serial:      rec.Serial,
	}
	hex.Decode(r.Digest[:], []byte(rec.Digest))
	if rec.RetiredAt != nil {
		r.RetiredAt = *rec.RetiredAt
	}
	return r
}

// check reports what makes a record unusable, if anything.
func (rec *record) check(ih infohash.T) error {
	switch {
	case rec.Format != recordFormat:
		return fmt.Errorf("its format is %d; this version knows %d", rec.Format, recordFormat)
	case rec.InfoHash != ih.HexString():
		return fmt.Errorf("it describes %q", rec.InfoHash)
	case rec.Name == "" || len(rec.Files) == 0 || rec.PieceLength <= 0:
		return fmt.Errorf("it lacks a name, files or a piece length")
	case len(rec.Digest) != 2*len(watcher.Digest{}):
		return fmt.Errorf("its digest is malformed")
	}
	if _, err := hex.DecodeString(rec.Digest); err != nil {
		return fmt.Errorf("its digest is malformed: %w", err)
	}
	var size int64
	for _, f := range rec.Files {
		if f.Size < 0 || size+f.Size < size {
			return fmt.Errorf("the size of %q is %d", f.Path, f.Size)
		}
		if f.Path != rec.Name && !strings.HasPrefix(f.Path, rec.Name+"/") {
			return fmt.Errorf("the file %q is outside %q", f.Path, rec.Name)
		}
		size += f.Size
	}
	if size != rec.Size {
		return fmt.Errorf("its files have %d bytes and it says %d", size, rec.Size)
	}
	return nil
}

func readRecord(path string) (*record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the release: %w", err)
	}
	defer f.Close()
	var rec record
	if err := json.NewDecoder(io.LimitReader(f, maxRecordSize)).Decode(&rec); err != nil {
		return nil, fmt.Errorf("read the release %q: %w", path, err)
	}
	return &rec, nil
}

func (c *Catalog) writeRecord(ih infohash.T, rec *record) error {
	b, err := json.MarshalIndent(rec, "", "\t")
	if err != nil {
		return fmt.Errorf("encode the release %q: %w", rec.Name, err)
	}
	return c.write(ih, ".json", append(b, '\n'))
}

func (c *Catalog) path(ih infohash.T, ext string) string {
	return filepath.Join(c.dir, "releases", ih.HexString()+ext)
}

// write replaces one of a release's files: durable, and whole or not at all.
func (c *Catalog) write(ih infohash.T, ext string, b []byte) (err error) {
	path := c.path(ih, ext)
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(b); err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

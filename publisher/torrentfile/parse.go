package torrentfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/watcher"
)

// Metainfo is what a .torrent file says of its content.
type Metainfo struct {
	Name        string
	InfoHash    infohash.T
	PieceLength int64
	Size        int64          // bytes of all files together
	Files       []watcher.File // Path and Size only, in the torrent's order
	Pieces      []byte         // the SHA-1 of each piece, one after the other
	Private     bool
	Source      string

	Comment      string
	CreatedBy    string
	CreationDate time.Time

	// Info is the info dictionary, byte for byte: what the info-hash is of, and
	// what peers ask for when they come from a magnet link (BEP 9). It shares
	// its memory with what was parsed, as Pieces does.
	Info []byte
}

// Parse reads a .torrent file of format v1 (BEP 3). It accepts canonical
// bencode only, names that CheckName accepts, and lengths that agree with each
// other; keys that it does not know are ignored. What it returns needs no
// further checking: the paths are safe to be joined, no two files are at odds,
// and there is a hash for every piece.
func Parse(b []byte) (*Metainfo, error) {
	m := &Metainfo{}
	err := whole(b, func(c *cursor, key string) (err error) {
		switch key {
		case "comment":
			m.Comment, err = c.string()
		case "created by":
			m.CreatedBy, err = c.string()
		case "creation date":
			var n int64
			if n, err = c.integer(); err == nil {
				m.CreationDate = time.Unix(n, 0).UTC()
			}
		case "info":
			from := c.pos
			err = m.parseV1(c)
			m.Info = b[from:c.pos:c.pos]
		default:
			_, err = c.raw()
		}
		return err
	})
	if err == nil && m.Info == nil {
		err = errors.New("it has no info dictionary")
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("parse a torrent: %w", err)
	}
	m.InfoHash = infohash.HashBytes(m.Info)
	return m, nil
}

func (m *Metainfo) parseV1(c *cursor) error {
	length := int64(-1)
	var pieces, files bool
	err := c.dict(func(key string) (err error) {
		switch key {
		case "file tree", "meta version":
			return c.errorf("its format is v2 or hybrid, which is not supported")
		case "files":
			files = true
			err = c.list(func() error { return m.parseV1File(c) })
		case "length":
			if length, err = c.integer(); err == nil && length < 0 {
				err = c.errorf("a length of %d bytes", length)
			}
		case "name":
			m.Name, err = c.string()
		case "piece length":
			m.PieceLength, err = c.integer()
		case "pieces":
			pieces = true
			m.Pieces, err = c.bytes()
		case "private":
			var n int64
			n, err = c.integer()
			m.Private = n == 1
		case "source":
			m.Source, err = c.string()
		default:
			_, err = c.raw()
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !pieces:
		return errors.New("it has no pieces")
	case files == (length >= 0):
		return errors.New("it must have either files or a length")
	case !files:
		m.Files = []watcher.File{{Path: m.Name, Size: length}}
		return nil
	}
	// The name follows the files in the dictionary's order.
	for i := range m.Files {
		m.Files[i].Path = m.Name + m.Files[i].Path
	}
	return nil
}

// parseV1File adds a file whose path lacks the torrent's name.
func (m *Metainfo) parseV1File(c *cursor) error {
	f := watcher.File{Size: -1}
	var path strings.Builder
	err := c.dict(func(key string) (err error) {
		switch key {
		case "attr":
			var attr string
			if attr, err = c.string(); err == nil && strings.ContainsAny(attr, "pl") {
				err = c.errorf("it has padding files or symbolic links, which are not supported")
			}
		case "length":
			f.Size, err = c.integer()
		case "path":
			err = c.list(func() error {
				name, err := c.string()
				if err != nil {
					return err
				}
				path.WriteByte('/')
				path.WriteString(name)
				if err := CheckName(name); err != nil {
					return &NameError{path.String(), err}
				}
				return nil
			})
		default:
			_, err = c.raw()
		}
		return err
	})
	if err != nil {
		return err
	}
	if f.Path = path.String(); f.Path == "" || f.Size < 0 {
		return c.errorf("a file needs a path and a length")
	}
	m.Files = append(m.Files, f)
	return nil
}

// check does what can only be done once all is read.
func (m *Metainfo) check() error {
	if n := m.PieceLength; n < MinPieceLength || n > maxParsedPieceLength || n&(n-1) != 0 {
		return fmt.Errorf("a piece length of %d bytes is not supported", n)
	}
	// Other creators may have ordered the files otherwise.
	t := m.Tree("")
	t.Files = slices.Clone(t.Files)
	slices.SortFunc(t.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	if err := checkTree(t); err != nil {
		return err
	}
	m.Size = t.Size()
	if want := pieceCount(m.Size, m.PieceLength) * v1HashSize; int64(len(m.Pieces)) != want {
		return fmt.Errorf("it has %d bytes of hashes where %d bytes of content need %d", len(m.Pieces), m.Size, want)
	}
	return nil
}

// Tree returns the content as a tree of the given source. Its files are in the
// torrent's order, which is a tree's if Build made it.
func (m *Metainfo) Tree(source string) watcher.Tree {
	return watcher.Tree{Source: source, Name: m.Name, Files: m.Files}
}

// NumPieces returns the number of pieces.
func (m *Metainfo) NumPieces() int { return len(m.Pieces) / v1HashSize }

// Piece returns the SHA-1 of piece i.
func (m *Metainfo) Piece(i int) [v1HashSize]byte {
	return [v1HashSize]byte(m.Pieces[i*v1HashSize:])
}

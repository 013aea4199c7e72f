// Package torrentfile makes .torrent files of settled trees, and reads them back.
//
// [Build] hashes a [watcher.Tree] and returns its stored form: the info
// dictionary and what describes it, but nothing of the network. [WithNetwork]
// adds trackers, webseeds and DHT nodes to a stored form when it is handed
// out, without touching the info dictionary, so that they can change and the
// info-hash cannot. [Parse] is the strict reader of both. What belongs to one
// format stands in that format's file (v1.go for BEP 3); the reading of content
// (content.go), the sums of whole files (sums.go), names (names.go) and the outer dictionary are shared by all.
//
// The package watches nothing, stores nothing and logs nothing.
package torrentfile

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/types/infohash"
	"golang.org/x/sync/semaphore"

	"dropseed/watcher"
)

// Bounds of everything that this package makes or reads.
const (
	// MinPieceLength is one block, the unit of a request (BEP 3).
	MinPieceLength = 16 << 10
	// MaxPieceLength is the longest piece that is made. A peer can pass nothing
	// on before it has a whole piece.
	MaxPieceLength = 16 << 20
	// MaxBytes bounds a .torrent, made or read. It leaves room for 50 TiB in
	// pieces of 16 MiB, or for some 500,000 files.
	MaxBytes = 64 << 20
	// MaxSize bounds the content of a torrent, so that offsets never overflow.
	MaxSize = 1 << 50

	// maxParsedPieceLength is what other creators are known to write.
	maxParsedPieceLength = 128 << 20
	// wantPieces is the number of pieces that AutoPieceLength stays within
	// while it can: 40 KB of hashes. fewPieces are enough for peers to trade, and
	// cost them less: each is told to everybody, and Transmission goes through all
	// of them for a request. But no piece is longer for that than longPiece, which
	// takes a slow line a while before it can be passed on.
	wantPieces = 2048
	fewPieces  = 512
	longPiece  = 1 << 20
)

// ErrEmpty says that a tree holds no bytes, so that there is nothing to
// download. A torrent with zero pieces is well-formed bencode, but libtorrent
// 2.0.8 ("invalid length of torrent") and Transmission 3.00 ("Invalid metadata
// entry") refuse to load one; of the stock clients only aria2 takes it. Empty
// files beside others are fine.
var ErrEmpty = errors.New("nothing to download: all files are empty")

// Options say how a torrent is made. The zero value is usable.
type Options struct {
	// PieceLength in bytes: a power of two from MinPieceLength to
	// MaxPieceLength, or 0 for AutoPieceLength's choice.
	PieceLength int64
	// Private and Source are part of the info dictionary, and so of the
	// info-hash: Private keeps clients to the torrent's own trackers (BEP 27),
	// Source tells otherwise identical torrents apart.
	Private bool
	Source  string

	// Comment, CreatedBy and CreationDate (to the second) describe the torrent
	// outside its info dictionary. Zero values are left out.
	Comment      string
	CreatedBy    string
	CreationDate time.Time

	// SHA256 has each file hashed as a whole too, from the same reading.
	SHA256 bool

	// Workers is how many goroutines hash at once; 0 means GOMAXPROCS. Each
	// needs 256 KiB, or with SHA256 as much as a piece, while it has a turn. It does
	// not change the result.
	Workers int
	// Turns, if given, is shared by several Builds: each worker holds one of it
	// while it reads and hashes a few MiB, so that together they keep no more
	// cores busy than it allows, and none waits for another to end.
	Turns *semaphore.Weighted
	// Progress, if given, grows by the bytes hashed, while they are hashed.
	Progress *atomic.Int64
}

// Torrent is a finished .torrent file and what its reader would find in it.
type Torrent struct {
	Name        string
	InfoHash    infohash.T // v1: SHA-1 of the info dictionary
	PieceLength int64
	Size        int64          // bytes of all files together
	Files       []watcher.File // in the torrent's order, which is watcher.ComparePaths'
	Bytes       []byte         // the stored form: no trackers, no webseeds, no nodes
	SHA256      [][32]byte     // of each of Files, if Options.SHA256
}

// Build hashes the files of tree and returns their torrent. A tree that is a
// single file becomes a single-file torrent, a directory a multi-file torrent,
// however few files it holds. Equal trees and Options give equal bytes.
//
// It returns ErrEmpty for a tree without content; a *NameError for a name that
// no torrent can hold; watcher.ErrChanged when content is not, or no longer,
// what tree lists; and ctx's error soon after ctx ends. All come wrapped.
func Build(ctx context.Context, tree watcher.Tree, open watcher.Opener, o Options) (*Torrent, error) {
	t, err := build(ctx, tree, open, o)
	if err != nil {
		return nil, fmt.Errorf("make the torrent of %q: %w", tree.Name, err)
	}
	return t, nil
}

func build(ctx context.Context, tree watcher.Tree, open watcher.Opener, o Options) (*Torrent, error) {
	t := &Torrent{Name: tree.Name, PieceLength: o.PieceLength}
	t.Files = slices.Clone(tree.Files)
	slices.SortFunc(t.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	tree.Files = t.Files
	if err := Check(tree, o); err != nil {
		return nil, err
	}
	t.Size = tree.Size()
	if t.PieceLength == 0 {
		t.PieceLength = AutoPieceLength(t.Size)
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	pieces, err := v1Pieces(ctx, t, open, o)
	if err != nil {
		return nil, err
	}
	info, err := v1Info(t, tree.IsFile(), pieces, o)
	if err != nil {
		return nil, err
	}
	t.InfoHash = infohash.HashBytes(info)
	t.Bytes, err = bencode.Marshal(outer{
		Comment: o.Comment, CreatedBy: o.CreatedBy, CreationDate: unixOrZero(o.CreationDate), Info: info,
	})
	return t, err
}

// outer is the root dictionary as it is stored.
type outer struct {
	Comment      string        `bencode:"comment,omitempty"`
	CreatedBy    string        `bencode:"created by,omitempty"`
	CreationDate int64         `bencode:"creation date,omitempty"`
	Info         bencode.Bytes `bencode:"info"`
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// AutoPieceLength returns the piece length for size bytes of content: the
// shortest power of two that makes at most 512 pieces, or, once these are of
// 1 MiB, at most 2048, but no shorter than MinPieceLength and no longer than
// MaxPieceLength. So 128 MiB get pieces of 256 KiB, 1 GiB gets 1 MiB, 4 GiB get
// 2 MiB, and from 32 GiB on all get 16 MiB, which keeps the hashes below 1 MB up
// to 800 GiB. Many files make a .torrent larger, but no piece length would make
// that part of it smaller.
func AutoPieceLength(size int64) int64 {
	length := max(min(shortest(size, fewPieces), longPiece), shortest(size, wantPieces))
	return min(max(length, MinPieceLength), MaxPieceLength)
}

// shortest returns the least power of two that divides size bytes into at most
// so many parts.
func shortest(size, parts int64) int64 {
	return 1 << bits.Len64(uint64((size+parts-1)/parts-1))
}

// Check returns the error that Build would return without reading content: what
// is wrong with the tree's names or sizes, or with o. Time does not heal it.
func Check(tree watcher.Tree, o Options) error {
	if err := checkTree(tree); err != nil {
		return err
	}
	size, pieceLength := tree.Size(), o.PieceLength
	if pieceLength == 0 {
		pieceLength = AutoPieceLength(size)
	}
	if err := CheckPieceLength(pieceLength); err != nil {
		return err
	}
	// An upper bound of what Build makes, so that Parse reads all of that.
	n := 4096 + pieceCount(size, pieceLength)*v1HashSize + int64(len(o.Comment)+len(o.CreatedBy)+len(o.Source))
	for _, f := range tree.Files {
		n += 64 + 7*int64(strings.Count(f.Path, "/")) + int64(len(f.Path))
	}
	if n > MaxBytes {
		return fmt.Errorf("%d files and %d pieces are too much for a .torrent of at most %d bytes",
			len(tree.Files), pieceCount(size, pieceLength), MaxBytes)
	}
	return nil
}

// CheckPieceLength returns an error unless n bytes are a piece length that
// Build makes. 0, which stands for an automatic one, is not.
func CheckPieceLength(n int64) error {
	if n < MinPieceLength || n > MaxPieceLength || n&(n-1) != 0 {
		return fmt.Errorf("a piece length of %d bytes: it must be a power of two from 16 KiB to 16 MiB", n)
	}
	return nil
}

func pieceCount(size, pieceLength int64) int64 { return (size + pieceLength - 1) / pieceLength }

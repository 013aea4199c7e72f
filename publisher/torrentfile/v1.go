package torrentfile

import (
	"context"
	"crypto/sha1"
	"hash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/anacrolix/torrent/bencode"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"dropseed/watcher"
)

// v1HashSize is the length of a piece's SHA-1 (BEP 3).
const v1HashSize = sha1.Size

// v1InfoDict is the info dictionary of BEP 3 (private: BEP 27). Exactly one of
// Files and Length is there.
type v1InfoDict struct {
	Files       []v1FileDict `bencode:"files,omitempty"`
	Length      *int64       `bencode:"length,omitempty"`
	Name        string       `bencode:"name"`
	PieceLength int64        `bencode:"piece length"`
	Pieces      []byte       `bencode:"pieces"`
	Private     int64        `bencode:"private,omitempty"`
	Source      string       `bencode:"source,omitempty"`
}

type v1FileDict struct {
	Length int64    `bencode:"length"`
	Path   []string `bencode:"path"`
}

// v1Info encodes the info dictionary of t.
func v1Info(t *Torrent, isFile bool, pieces []byte, o Options) ([]byte, error) {
	d := v1InfoDict{Name: t.Name, PieceLength: t.PieceLength, Pieces: pieces, Source: o.Source}
	if o.Private {
		d.Private = 1
	}
	if isFile {
		d.Length = &t.Size
		return bencode.Marshal(d)
	}
	d.Files = make([]v1FileDict, len(t.Files))
	for i, f := range t.Files {
		below := f.Path[len(t.Name)+1:]
		d.Files[i] = v1FileDict{Length: f.Size, Path: strings.Split(below, "/")}
	}
	return bencode.Marshal(d)
}

// v1Pieces returns the SHA-1 of every piece of t's content, which is all files
// one after the other without gaps, and fills t.SHA256 if o wants that. The
// workers take stretches of it in order, so that what is read at any time lies
// close together.
func v1Pieces(ctx context.Context, t *Torrent, open watcher.Opener, o Options) ([]byte, error) {
	stretch := max(t.PieceLength, readSize)
	c := newContent(t.Files, open, stretch)
	defer c.close()
	if o.SHA256 {
		t.SHA256 = emptySums(len(t.Files))
	}
	keep := int64(readSize) // bytes at once
	if o.SHA256 {
		keep = stretch
	}
	hashes := make([]byte, pieceCount(t.Size, t.PieceLength)*v1HashSize)
	order := stretches{size: t.Size, each: stretch}
	g, ctx := errgroup.WithContext(ctx)
	for range min(int64(o.Workers), pieceCount(t.Size, stretch)) {
		g.Go(func() error {
			p := v1Hasher{sha: sha1.New(), pieceLength: t.PieceLength, hashes: hashes, progress: o.Progress}
			for more := true; more; {
				if err := turn(ctx, o.Turns, func() error {
					var s reading
					if s, more = order.next(); !more {
						return nil
					}
					buf := takeBuffer(int(keep))
					defer buffers.Put(&buf)
					defer p.endPiece()
					p.piece = s.start / t.PieceLength
					if err := c.read(ctx, s.start, s.end, buf, p.write); err != nil {
						return err
					}
					return c.sumFiles(ctx, s, buf, t.SHA256)
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return hashes, nil
}

// buffers are shared by all that is hashed, so that there are no more than turns.
var buffers sync.Pool

// takeBuffer returns a buffer of n bytes.
func takeBuffer(n int) []byte {
	if b, ok := buffers.Get().(*[]byte); ok && cap(*b) >= n {
		return (*b)[:n]
	}
	return make([]byte, n)
}

// turn does one of the things that turns bounds, if given.
func turn(ctx context.Context, turns *semaphore.Weighted, do func() error) error {
	if turns == nil {
		return do()
	}
	if err := turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer turns.Release(1)
	return do()
}

// v1Hasher puts the hashes of successive pieces where they belong.
type v1Hasher struct {
	sha         hash.Hash
	pieceLength int64
	piece       int64 // index of the piece that is being hashed
	filled      int64 // bytes of it that sha has seen
	hashes      []byte
	progress    *atomic.Int64 // or nil
}

func (p *v1Hasher) write(b []byte) {
	if p.progress != nil {
		p.progress.Add(int64(len(b)))
	}
	for len(b) > 0 {
		n := min(int64(len(b)), p.pieceLength-p.filled)
		p.sha.Write(b[:n])
		b = b[n:]
		if p.filled += n; p.filled == p.pieceLength {
			p.endPiece()
		}
	}
}

// endPiece ends the piece that is being hashed, if there is one.
func (p *v1Hasher) endPiece() {
	if p.filled == 0 {
		return
	}
	p.sha.Sum(p.hashes[:p.piece*v1HashSize])
	p.sha.Reset()
	p.piece++
	p.filled = 0
}

// Package watcher says what content is and when it may be published.
//
// A [Source] lists [File]s and opens them; a [Watcher] groups its listings into
// [Tree]s, waits until each has settled, and reports it as an [Event]. Events
// are derived from listings alone: what a Source notifies is only ever a hint
// to look again, so that a lost notification costs delay and nothing else.
//
// The package does not read content and does not know what becomes of a tree.
// The sources themselves live in the packages below it.
package watcher

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// ErrChanged says that content is no longer what was listed. Whoever gets it
// has read nothing that may be published; looking again is the only remedy.
var ErrChanged = errors.New("content changed since it was listed")

// File is one regular file (or object) of a source, as it was when listed.
type File struct {
	Path    string    // slash-separated, relative to the source; the first component is the tree's name
	Size    int64     // bytes
	ModTime time.Time // when the source says it last changed
	Version string    // identifies the content: an ETag, or size+mtime+inode; opaque to everyone but its source
}

// Tree is one publishable unit of a source: a top-level file (Files holds one
// File whose Path is Name), or a top-level directory with everything below.
// A Tree is a value: nobody modifies Files after it was made.
type Tree struct {
	Source string // the source's name
	Name   string // the first component of every path in Files
	Files  []File // sorted by the raw bytes of their path components, depth first (see ComparePaths)
}

// IsFile reports whether the tree is a single top-level file rather than a directory.
func (t Tree) IsFile() bool { return len(t.Files) == 1 && t.Files[0].Path == t.Name }

// Size returns the bytes of all files together.
func (t Tree) Size() int64 {
	var n int64
	for _, f := range t.Files {
		n += f.Size
	}
	return n
}

// Digest identifies a tree's listing: every path, size and Version. Equal
// digests mean that nothing was seen to change. The modification time and the
// source's name are not part of it.
func (t Tree) Digest() Digest {
	h := sha256.New()
	var b []byte
	put := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, f := range t.Files {
		b = b[:0]
		put(f.Path)
		b = binary.AppendUvarint(b, uint64(f.Size))
		put(f.Version)
		h.Write(b)
	}
	return Digest(h.Sum(nil))
}

// Digest is a SHA-256 over a tree's listing. The zero Digest stands for "none".
type Digest [sha256.Size]byte

// ComparePaths orders slash-separated paths by the raw bytes of their
// components, depth first: "a/b" before "a.txt", since "a" sorts before
// "a.txt". This is the order of files in a torrent (BEP 52's file tree).
func ComparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		// A separator ends a component, so it sorts before any byte.
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// Event says what a settled tree looks like now, or that it is Gone (then
// Tree holds only Source and Name).
type Event struct {
	Tree Tree
	Gone bool
}

// Object is open content. It is safe for concurrent use.
type Object interface {
	io.ReaderAt
	io.Closer
	// Check returns ErrChanged once the content is known to differ from what
	// was opened. It costs no more than a system call.
	Check() error
}

// Local is an Object whose bytes are a file of this machine, so that the
// kernel can send them without a copy (sendfile, writev from a mapping). The
// caller must not close the file or move its offset.
type Local interface {
	Object
	OSFile() *os.File
}

// Prefetcher is an Object from afar: what its reader says ahead of a read is on
// its way by then.
type Prefetcher interface {
	Object
	// Prefetch says that n bytes from off on will be read soon. It does not block,
	// and may do nothing.
	Prefetch(off, n int64)
}

// Opener opens listed content. It returns ErrChanged (wrapped) unless the
// content still is f.Version, and fs.ErrNotExist (wrapped) when it is gone.
type Opener interface {
	Open(ctx context.Context, f File) (Object, error)
}

// Source is a watched folder or bucket. All methods are safe for concurrent use.
type Source interface {
	Opener

	// List yields the files of the tree called name, or of all trees for "",
	// in no promised order (a Watcher is cheapest to run if it gets each tree
	// in one piece). A *Problem in place of a file says that its tree cannot be
	// published; the listing goes on. Any other error ends the listing, and
	// then nothing may be concluded from what was not listed. A tree that does
	// not exist is an empty listing, not an error. "/" lists the problems with what
	// is in no tree, since there is nothing before the first slash of its path.
	List(ctx context.Context, name string) iter.Seq2[File, error]

	// Wait blocks until something may have changed and returns the name of
	// the tree to look at again, or "" for all. It is only a hint: changes may
	// go unnoticed, and there may be none. It returns an error only when ctx
	// ends or when the source will never have hints again.
	Wait(ctx context.Context) (name string, err error)
}

// Problem is why the tree that a path belongs to cannot be published.
type Problem struct {
	Path string // relative to the source, as in File.Path; may be invalid UTF-8
	Err  error
}

func (p *Problem) Error() string { return fmt.Sprintf("%q: %v", p.Path, p.Err) }
func (p *Problem) Unwrap() error { return p.Err }

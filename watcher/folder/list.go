package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"syscall"

	"dropseed/watcher"
)

const (
	maxPath  = 4096 // bytes of a path, which bounds the depth too
	dirBatch = 1024 // entries read at a time
)

// List implements watcher.Source.
func (f *Folder) List(ctx context.Context, name string) iter.Seq2[watcher.File, error] {
	return func(yield func(watcher.File, error) bool) {
		if err := f.list(ctx, name, yield); err != nil {
			yield(watcher.File{}, err)
			return
		}
		if name != "" {
			return
		}
		select {
		case f.listed <- struct{}{}:
		default:
		}
	}
}

// list returns what ended the listing early, unless that was yield.
func (f *Folder) list(ctx context.Context, name string, yield func(watcher.File, error) bool) error {
	root, err := f.open()
	if err != nil {
		return err
	}
	defer root.Close()
	w := &walk{f: f, ctx: ctx, root: root, yield: yield}
	if name == "" {
		w.dir(place{real: ".", listed: "."})
	} else if !strings.ContainsAny(name, separators) && name != "." && name != ".." {
		w.tree(name)
	}
	if w.err != nil {
		return fmt.Errorf("list folder %q: %w", f.path, w.err)
	}
	return nil
}

// gone reports whether err says that what was to be read is not there (any more).
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// place is where a walk is.
type place struct {
	real   string // path in the folder, without any link; "." is the folder
	listed string // path as it is listed
	linked bool   // a directory above is a link
}

func (p place) in(name string) place {
	return place{real: path.Join(p.real, name), listed: path.Join(p.listed, name), linked: p.linked}
}

// walk is one listing. Its methods return false when the listing is over.
type walk struct {
	f      *Folder
	ctx    context.Context
	root   *os.Root
	yield  func(watcher.File, error) bool
	via    []fs.FileInfo // the directories that the walk is in, outermost first
	linked int           // entries seen below directory links in this tree
	err    error         // what ended the listing, if it was not yield
}

func (w *walk) fail(err error) bool {
	w.err = err
	return false
}

func (w *walk) problem(at place, err error) bool {
	return w.yield(watcher.File{}, &watcher.Problem{Path: at.listed, Err: err})
}

// tree lists one entry of the folder.
func (w *walk) tree(name string) bool {
	if err := w.ctx.Err(); err != nil {
		return w.fail(err)
	}
	dir, err := w.root.Open(".")
	if err != nil {
		return w.fail(reason(err))
	}
	defer dir.Close()
	top, err := dir.Stat()
	if err != nil {
		return w.fail(reason(err))
	}
	w.via = append(w.via, top)
	at := place{real: name, listed: name}
	fi, err := w.root.Lstat(name)
	if gone(err) {
		return true
	}
	if err != nil {
		return w.problem(at, fmt.Errorf("it cannot be read: %w", reason(err)))
	}
	later, ok := w.entry(dir, fi, at)
	if !ok || later == nil {
		return ok
	}
	return later()
}

// dir lists a directory and all that is below it. It goes deeper only after
// its descriptor is closed, so that depth costs none.
func (w *walk) dir(at place) bool {
	if err := w.ctx.Err(); err != nil {
		return w.fail(err)
	}
	dir, err := w.root.OpenFile(at.real, os.O_RDONLY|openDir, 0)
	if err != nil {
		return w.unreadable(at, err)
	}
	fi, err := dir.Stat()
	if err != nil {
		dir.Close()
		return w.unreadable(at, err)
	}
	for _, above := range w.via {
		if os.SameFile(fi, above) {
			dir.Close()
			return w.problem(at, errors.New("it is a symbolic link to a directory that it is in"))
		}
	}
	w.via = append(w.via, fi)
	defer func() { w.via = w.via[:len(w.via)-1] }()

	deeper, ok := w.entries(dir, at)
	dir.Close()
	for _, next := range deeper {
		if !ok {
			break
		}
		if at.listed == "." {
			w.linked = 0
		}
		ok = next()
	}
	return ok
}

// unreadable says that a directory cannot be read. Without the folder itself
// there is no listing.
func (w *walk) unreadable(at place, err error) bool {
	switch {
	case at.listed == ".":
		return w.fail(reason(err))
	case gone(err):
		return true
	}
	return w.problem(at, fmt.Errorf("the directory cannot be read: %w", reason(err)))
}

// entries lists the files in dir, and returns what lists the rest.
func (w *walk) entries(dir *os.File, at place) (deeper []func() bool, ok bool) {
	for {
		batch, err := dir.Readdir(dirBatch) // skips what vanishes meanwhile
		for _, fi := range batch {
			next, ok := w.entry(dir, fi, at.in(fi.Name()))
			if !ok {
				return nil, false
			}
			if next != nil {
				deeper = append(deeper, next)
			}
		}
		switch {
		case w.ctx.Err() != nil:
			return nil, w.fail(w.ctx.Err())
		case err == io.EOF:
			return deeper, true
		case err != nil:
			return deeper, w.unreadable(at, err)
		}
	}
}

// entry lists an entry of dir, or returns what will.
func (w *walk) entry(dir *os.File, fi fs.FileInfo, at place) (later func() bool, ok bool) {
	if w.f.ignore.MatchLast(at.listed) || at.linked && w.f.ignore.MatchLast(at.real) {
		return nil, true
	}
	if at.linked {
		if w.linked++; w.linked > w.f.maxLinked {
			if w.linked > w.f.maxLinked+1 {
				return nil, true
			}
			return nil, w.problem(at, fmt.Errorf("more than %d files are reached through links to directories", w.f.maxLinked))
		}
	}
	if err := watcher.CheckPath(fi.Name()); err != nil {
		return nil, w.problem(at, err)
	}
	if len(at.listed) > maxPath {
		return nil, w.problem(at, fmt.Errorf("the path is longer than %d bytes", maxPath))
	}
	switch fi.Mode().Type() {
	case 0:
		if err := readable(dir, fi.Name()); gone(err) {
			return nil, true
		} else if err != nil {
			return nil, w.problem(at, fmt.Errorf("the file cannot be read: %w", err))
		}
		return nil, w.yield(file(at.listed, fi), nil)
	case fs.ModeDir:
		return func() bool { return w.dir(at) }, true
	case fs.ModeSymlink:
		return func() bool { return w.link(at) }, true
	}
	return nil, w.problem(at, kindError(fi.Mode()))
}

// kindError says why a file of that kind cannot be published.
func kindError(m fs.FileMode) error {
	kind := "a special file"
	switch {
	case m&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("it is %s, not a file", kind)
}

func file(path string, fi fs.FileInfo) watcher.File {
	return watcher.File{Path: path, Size: fi.Size(), ModTime: fi.ModTime(), Version: stampOf(fi).String()}
}

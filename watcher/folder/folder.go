// Package folder is a local folder as a watcher.Source: listings for the truth,
// the system's file events for speed.
//
// Everything is reached through an os.Root, so no path and no symbolic link
// leads out of the folder. Links are followed as long as they stay inside, lead
// to something that is not left out, and form no cycle; whatever else cannot be
// published (a device, a pipe, a socket, an unreadable file, a name that is not
// UTF-8) is a watcher.Problem of its tree. A File's Version is its size, its
// modification time in nanoseconds and its inode number (none on Windows).
//
// The folder is only believed while it is the directory that New found, by
// device and inode: after an unmount or a replacement every listing fails, so
// that an empty mount point does not pass for "all removed". A directory that
// differs in its device alone and is not empty is taken for the same file
// system mounted again; any other is refused until the program is restarted. No
// descriptor is held between calls, so that the folder can be unmounted.
//
// Events are watched per directory. What changes unseen (behind a link, on
// another machine's side of a network file system, in a directory beyond the
// kernel's limit of watches) is left to the listings. The package does not
// protect a tree that is itself a mount point: unmounted, it is empty and gone.
package folder

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"dropseed/watcher"
)

// DefaultIgnore is what Options.Ignore stands for when it is nil.
var DefaultIgnore = watcher.DefaultIgnore

// Options are a Folder's settings. The zero value of each is usable.
type Options struct {
	Ignore []string     // globs of what is left out, see watcher.Ignore; nil = DefaultIgnore
	Log    *slog.Logger // nil = none
}

// Folder is a local folder as a watcher.Source. Its methods are safe for
// concurrent use.
type Folder struct {
	path   string   // absolute
	within []string // what absolute links into the folder begin with
	ignore *watcher.Ignore
	log    *slog.Logger

	maxLinked int // entries listed below directory links, per tree: links can multiply without end

	mu sync.Mutex  // guards the field below
	id fs.FileInfo // of the directory that is believed

	turn      chan struct{} // held by the Wait that uses the fields below
	events    *fsnotify.Watcher
	watched   map[string]struct{} // directories with a watch, relative; "." is the folder
	restartAt time.Time           // do not set all watches again before
	crowded   bool                // the limit of watches was logged
	addWatch  func(w *fsnotify.Watcher, path string) error

	listed    chan struct{} // holds a token after everything was listed: the folder is there
	closed    chan struct{}
	closeOnce sync.Once
}

// New returns the folder at path, which must be a readable directory. Nothing
// is watched before Wait.
func New(path string, o Options) (*Folder, error) {
	if o.Ignore == nil {
		o.Ignore = DefaultIgnore
	}
	ignore, err := watcher.NewIgnore(o.Ignore)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watch folder %q: %w", path, err)
	}
	id, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("watch folder %q: %w", path, reason(err))
	}
	if !id.IsDir() {
		return nil, fmt.Errorf("watch folder %q: it is not a directory", path)
	}
	f := &Folder{
		path: abs, within: []string{abs}, ignore: ignore, id: id,
		log:       cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		maxLinked: 100_000,
		turn:      make(chan struct{}, 1),
		addWatch:  (*fsnotify.Watcher).Add,
		listed:    make(chan struct{}, 1),
		closed:    make(chan struct{}),
	}
	root, err := f.open()
	if err != nil {
		return nil, fmt.Errorf("watch folder %q: %w", path, reason(err))
	}
	defer root.Close()
	if _, err := hasContent(root, ignore); err != nil {
		return nil, fmt.Errorf("watch folder %q: %w", path, reason(err))
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
		f.within = append(f.within, real)
	}
	return f, nil
}

// Close ends the watching of events, and every Wait. Objects stay open.
func (f *Folder) Close() error {
	f.closeOnce.Do(func() { close(f.closed) })
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	return f.unwatch()
}

// open opens the folder, unless it is another directory than it was.
func (f *Folder) open() (*os.Root, error) {
	// What is wrong with the folder says nothing about any content, so these
	// errors must not pass for fs.ErrNotExist.
	fi, err := os.Stat(f.path)
	if err == nil && !fi.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil {
		return nil, fmt.Errorf("the folder %q is not there; mount it or make it again: %v", f.path, reason(err))
	}
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return nil, fmt.Errorf("the folder %q cannot be opened; check its permissions: %v", f.path, reason(err))
	}
	if err := f.identify(root); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// identify returns an error unless root is the directory that is believed, or
// can be taken for it from now on.
func (f *Folder) identify(root *os.Root) error {
	fi, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("the folder %q cannot be read: %v", f.path, reason(err))
	}
	f.mu.Lock()
	id := f.id
	f.mu.Unlock()
	if os.SameFile(fi, id) {
		return nil
	}
	if sameInode(fi, id) {
		if full, err := hasContent(root, f.ignore); err == nil && full {
			f.log.Info("the folder was mounted again", "path", f.path)
			f.mu.Lock()
			f.id = fi
			f.mu.Unlock()
			return nil
		}
	}
	return fmt.Errorf("the folder %q is no longer the directory that it was (unmounted or replaced?); "+
		"mount it again, or restart to take it as it is now", f.path)
}

// hasContent reports whether anything that is not left out is in root.
func hasContent(root *os.Root, ignore *watcher.Ignore) (bool, error) {
	dir, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(100)
		for _, name := range names {
			if !ignore.MatchLast(name) {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// reason is err without the operation and path that a caller states better.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// restartFactor is how many times as long as it took to set all watches they
// are then left alone, however often the kernel's queue overflows.
const restartFactor = 10

// Wait implements watcher.Source. Watches are set by the first call, which then
// hints at everything. An error other than ctx's means that the system gives no
// events at all, or that the Folder was closed.
func (f *Folder) Wait(ctx context.Context) (string, error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if f.events == nil {
			if err := f.watch(ctx); err != nil {
				return "", err
			}
			return "", nil
		}
		select {
		case <-ctx.Done():
		case <-f.closed:
			return "", fmt.Errorf("watch folder %q: %w", f.path, fs.ErrClosed)
		case <-f.listed:
			// Nothing tells that an unmount took the watches away.
			if slices.Contains(f.events.WatchList(), f.path) {
				continue
			}
			f.unwatch()
			if err := f.watch(ctx); err != nil {
				return "", err
			}
			if _, ok := f.watched["."]; ok {
				return "", nil
			}
		case e := <-f.events.Events:
			if name, ok := f.hint(ctx, e); ok {
				return name, nil
			}
		case err := <-f.events.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return "", nil
			}
			// Directories may have come and moved unseen: all watches are set anew.
			f.unwatch()
		}
	}
}

// watch sets all watches. f.turn is held.
func (f *Folder) watch(ctx context.Context) error {
	select {
	case <-f.closed:
		return fmt.Errorf("watch folder %q: %w", f.path, fs.ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(f.restartAt)):
	}
	start := time.Now()
	w, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		err = fmt.Errorf("%w; raise fs.inotify.max_user_instances, or the limit of open files", err)
	}
	if err != nil {
		return fmt.Errorf("watch folder %q: %w", f.path, err)
	}
	f.events, f.watched = w, make(map[string]struct{})
	if f.restartAt.IsZero() {
		if kind := remoteKind(f.path); kind != "" {
			f.log.Warn("changes made on other machines give no events on this file system; rescans find them",
				"path", f.path, "filesystem", kind)
		}
	}
	f.watchTree(ctx, ".")
	f.restartAt = time.Now().Add(restartFactor * time.Since(start))
	if ctx.Err() != nil {
		f.unwatch()
	}
	return ctx.Err()
}

// unwatch removes all watches. f.turn is held.
func (f *Folder) unwatch() error {
	if f.events == nil {
		return nil
	}
	err := f.events.Close()
	f.events, f.watched = nil, nil
	return err
}

// watchTree watches the directory rel and those below it, the upper ones first.
func (f *Folder) watchTree(ctx context.Context, rel string) {
	root, err := f.open()
	if err != nil {
		return // listings say so
	}
	defer root.Close()
	for next := []string{rel}; len(next) > 0 && ctx.Err() == nil; next = next[1:] {
		dir := next[0]
		fi, err := root.Lstat(dir)
		if err != nil || !fi.IsDir() || len(dir) > maxPath {
			continue
		}
		if !f.watchDir(dir) {
			return
		}
		next = append(next, f.subdirs(root, dir)...)
	}
}

// watchDir returns false when the limit of watches is reached.
func (f *Folder) watchDir(dir string) bool {
	err := f.addWatch(f.events, filepath.Join(f.path, filepath.FromSlash(dir)))
	if err == nil {
		f.watched[dir] = struct{}{}
	}
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EMFILE) {
		return true // listings say what else is wrong with it
	}
	if !f.crowded {
		f.crowded = true
		f.log.Warn("there are too many directories to watch them all: raise fs.inotify.max_user_watches "+
			"(or the limit of open files); changes in the others are found by rescans",
			"path", f.path, "watched", len(f.watched), "err", err)
	}
	return false
}

// subdirs returns the directories in dir that are not left out.
func (f *Folder) subdirs(root *os.Root, dir string) []string {
	var list []string
	d, err := root.OpenFile(dir, os.O_RDONLY|openDir, 0)
	if err != nil {
		return nil
	}
	defer d.Close()
	for {
		batch, err := d.ReadDir(dirBatch)
		for _, e := range batch {
			if p := path.Join(dir, e.Name()); e.IsDir() && !f.ignore.MatchLast(p) {
				list = append(list, p)
			}
		}
		if err != nil {
			return list
		}
	}
}

// hint returns the tree that an event is about, after it has set what watches
// the event calls for: what was made before the watch stood is found by
// whoever looks then.
func (f *Folder) hint(ctx context.Context, e fsnotify.Event) (string, bool) {
	rel, err := filepath.Rel(f.path, e.Name)
	if err != nil || rel == "." {
		return "", true // the folder itself
	}
	rel = filepath.ToSlash(rel)
	if f.ignore.Match(rel) {
		return "", false
	}
	if e.Has(fsnotify.Rename) {
		f.forget(rel)
	}
	if e.Has(fsnotify.Remove) {
		delete(f.watched, rel)
	}
	// A change of permissions may have made a directory readable.
	if e.Has(fsnotify.Create) || e.Has(fsnotify.Chmod) {
		if fi, err := os.Lstat(e.Name); err == nil && fi.IsDir() {
			f.watchTree(ctx, rel)
		}
	}
	name, _, _ := strings.Cut(rel, "/")
	return name, true
}

// forget removes the watches of a directory that was renamed, and of those
// below it: their events would go on to name the old path, even if the new
// one is watched too.
func (f *Folder) forget(rel string) {
	if _, ok := f.watched[rel]; !ok {
		return
	}
	for dir := range f.watched {
		if dir == rel || strings.HasPrefix(dir, rel+"/") {
			f.events.Remove(filepath.Join(f.path, filepath.FromSlash(dir)))
			delete(f.watched, dir)
		}
	}
}

package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxHops is how many links one path may lead through, as in Linux.
const maxHops = 40

var (
	errOutside  = errors.New("it is a symbolic link that leads out of the folder")
	errDangling = errors.New("it is a symbolic link to something that does not exist")
	errHops     = errors.New("it is a symbolic link that leads through too many others")
	errLeftOut  = errors.New("it is a symbolic link to something that is left out")
)

// link lists what a symbolic link leads to, in the link's place.
func (w *walk) link(at place) bool {
	real, fi, err := w.f.resolve(w.root, at.real)
	if gone(err) {
		return true // the link itself has vanished
	}
	if err != nil {
		return w.problem(at, err)
	}
	switch {
	case fi.IsDir():
		return w.dir(place{real: real, listed: at.listed, linked: true})
	case !fi.Mode().IsRegular():
		return w.problem(at, fmt.Errorf("what it links to cannot be published: %w", kindError(fi.Mode())))
	}
	f, err := w.root.OpenFile(real, os.O_RDONLY|openFile, 0)
	if err != nil {
		return w.problem(at, fmt.Errorf("the file that it links to cannot be read: %w", reason(err)))
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil {
		return w.problem(at, fmt.Errorf("the file that it links to cannot be read: %w", reason(err)))
	}
	return w.yield(file(at.listed, fi), nil)
}

// resolve follows every link in p, a path in the folder, and returns the path
// without links of what it leads to. It returns fs.ErrNotExist only if p itself
// does not exist.
func (f *Folder) resolve(root *os.Root, p string) (string, fs.FileInfo, error) {
	done, rest := ".", p
	var fi fs.FileInfo
	followed := 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if done == "." {
				return "", nil, errOutside
			}
			done, fi = path.Dir(done), nil
			continue
		}
		next := path.Join(done, name)
		var err error
		if fi, err = root.Lstat(next); err != nil {
			if gone(err) && followed > 0 {
				err = errDangling
			}
			return "", nil, reason(err)
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if followed++; followed > maxHops {
			return "", nil, errHops
		}
		target, err := root.Readlink(next)
		if err != nil {
			return "", nil, reason(err)
		}
		if filepath.IsAbs(target) {
			inside, ok := f.inside(target)
			if !ok {
				return "", nil, errOutside
			}
			done, target = ".", inside
		}
		rest = filepath.ToSlash(target) + "/" + rest
		fi = nil
	}
	if done != p && done != "." && f.ignore.Match(done) {
		return "", nil, errLeftOut
	}
	if fi == nil {
		var err error
		if fi, err = root.Lstat(done); err != nil {
			return "", nil, reason(err)
		}
	}
	return done, fi, nil
}

// inside returns what an absolute path is within the folder.
func (f *Folder) inside(abs string) (string, bool) {
	for _, p := range []string{abs, filepath.Clean(abs)} {
		for _, top := range f.within {
			if p == top {
				return ".", true
			}
			if rel, ok := strings.CutPrefix(p, strings.TrimSuffix(top, string(filepath.Separator))+string(filepath.Separator)); ok {
				return rel, true
			}
		}
	}
	return "", false
}

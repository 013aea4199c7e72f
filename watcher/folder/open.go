package folder

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"dropseed/watcher"
)

// stamp identifies the content of a file as well as its metadata can.
type stamp struct {
	size  int64
	mtime int64 // nanoseconds since 1970
	inode uint64
}

// String returns the stamp as a watcher.File's Version.
func (s stamp) String() string {
	b := strconv.AppendInt(make([]byte, 0, 40), s.size, 36)
	b = strconv.AppendInt(append(b, '.'), s.mtime, 36)
	return string(strconv.AppendUint(append(b, '.'), s.inode, 36))
}

// Open implements watcher.Opener. The object is a watcher.Local.
func (f *Folder) Open(ctx context.Context, file watcher.File) (watcher.Object, error) {
	o, err := f.openFile(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", file.Path, err)
	}
	return o, nil
}

func (f *Folder) openFile(ctx context.Context, file watcher.File) (*object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if watcher.CheckPath(file.Path) != nil || f.ignore.Match(file.Path) {
		return nil, fs.ErrNotExist // never listed
	}
	root, err := f.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// os.Root follows links inside the folder unless they are absolute; what
	// they must not lead to has another Version than anything listed.
	of, err := root.OpenFile(file.Path, os.O_RDONLY|openFile, 0)
	if err != nil && !gone(err) {
		real, fi, rerr := f.resolve(root, file.Path)
		switch {
		case gone(rerr), rerr == errDangling:
			return nil, fs.ErrNotExist
		case rerr == errOutside, rerr == errLeftOut, rerr == errHops:
			return nil, fmt.Errorf("%w: %w", watcher.ErrChanged, rerr)
		case rerr != nil:
			return nil, rerr
		case !fi.Mode().IsRegular():
			return nil, watcher.ErrChanged // a socket, which cannot be opened
		case real != file.Path:
			of, err = root.OpenFile(real, os.O_RDONLY|openFile, 0)
		}
	}
	if gone(err) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, reason(err)
	}
	o, err := newObject(of)
	if err == nil && o.stamp.String() != file.Version {
		err = watcher.ErrChanged
	}
	if err != nil {
		of.Close()
		return nil, err
	}
	return o, nil
}

// object is an open file. It implements watcher.Local.
type object struct {
	file  *os.File
	conn  syscall.RawConn // of file
	stamp stamp
}

// newObject returns watcher.ErrChanged unless f is a regular file.
func newObject(f *os.File) (*object, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, reason(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, watcher.ErrChanged
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, reason(err)
	}
	return &object{file: f, conn: conn, stamp: stampOf(fi)}, nil
}

func (o *object) ReadAt(p []byte, off int64) (int, error) { return o.file.ReadAt(p, off) }
func (o *object) Close() error                            { return o.file.Close() }
func (o *object) OSFile() *os.File                        { return o.file }

// Check returns watcher.ErrChanged once the file was written to. A file that
// was removed or replaced keeps its content for as long as it is open.
func (o *object) Check() error {
	now, err := o.now()
	if err == nil && now != o.stamp {
		err = watcher.ErrChanged
	}
	return err
}

var _ watcher.Local = (*object)(nil)

//go:build unix

package folder

import (
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	separators = "/"
	openFile   = syscall.O_NONBLOCK // a pipe put in a file's place must not block the open
	openDir    = syscall.O_NONBLOCK | syscall.O_DIRECTORY
)

func stampOf(fi fs.FileInfo) stamp {
	s := stamp{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.inode = uint64(st.Ino)
	}
	return s
}

// fstat is a system call with all that it needs, so that it can be used again.
type fstat struct {
	st  unix.Stat_t
	err error
	do  func(fd uintptr)
}

var fstats = sync.Pool{New: func() any {
	c := &fstat{}
	c.do = func(fd uintptr) { c.err = unix.Fstat(int(fd), &c.st) }
	return c
}}

// now does not allocate.
func (o *object) now() (stamp, error) {
	c := fstats.Get().(*fstat)
	defer fstats.Put(c)
	if err := o.conn.Control(c.do); err != nil {
		return stamp{}, err
	}
	return stamp{size: c.st.Size, mtime: c.st.Mtim.Nano(), inode: uint64(c.st.Ino)}, c.err
}

// readable returns why the file called name in dir cannot be opened to read.
func readable(dir *os.File, name string) error {
	return unix.Faccessat(int(dir.Fd()), name, unix.R_OK, unix.AT_EACCESS)
}

// sameInode reports whether a and b differ in nothing but their devices.
func sameInode(a, b fs.FileInfo) bool {
	s, ok := a.Sys().(*syscall.Stat_t)
	t, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && s.Ino == t.Ino
}

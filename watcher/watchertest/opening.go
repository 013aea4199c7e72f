package watchertest

import (
	"dropseed/watcher"
	"errors"
	"io"
	"io/fs"
	"time"
)

// open opens f and closes it when the test ends.
func (k *kit) open(f watcher.File) watcher.Object {
	k.Helper()
	o, err := k.src.Open(k.Context(), f)
	k.must(err)
	k.Cleanup(func() { o.Close() })
	return o
}

// read returns the first n bytes of o.
func (k *kit) read(o watcher.Object, n int) string {
	k.Helper()
	b := make([]byte, n)
	if got, err := o.ReadAt(b, 0); got != n || err != nil && err != io.EOF {
		k.Fatalf("ReadAt = %d, %v; want %d bytes", got, err, n)
	}
	return string(b)
}

func testOpen(k *kit) {
	k.write("d/f", "0123456789")
	k.write("empty", "")
	o := k.open(k.file("d/f"))
	for _, row := range []struct {
		off  int64
		size int
		want string
		err  error
	}{
		{0, 10, "0123456789", nil},
		{3, 4, "3456", nil},
		{8, 4, "89", io.EOF},
		{10, 1, "", io.EOF},
		{99, 1, "", io.EOF},
	} {
		b := make([]byte, row.size)
		n, err := o.ReadAt(b, row.off)
		if row.err == nil && err == io.EOF && row.off+int64(row.size) == 10 {
			err = nil // an io.ReaderAt may say either at the very end
		}
		if string(b[:n]) != row.want || err != row.err {
			k.Errorf("ReadAt(%d bytes, %d) = %q, %v; want %q, %v", row.size, row.off, b[:n], err, row.want, row.err)
		}
	}
	k.must(o.Check())
	if n, err := k.open(k.file("empty")).ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF {
		k.Errorf("ReadAt of an empty file = %d, %v; want EOF", n, err)
	}
	k.must(o.Close())
	if _, err := o.ReadAt(make([]byte, 1), 0); err == nil {
		k.Error("a closed object can be read")
	}
}

func testOpenChanged(k *kit) {
	for _, row := range []struct {
		name string
		do   func()
		want error // nil = ErrChanged or ErrNotExist
	}{
		{"overwritten with the same size", func() { k.write("d/f", "OTHER") }, watcher.ErrChanged},
		{"grown", func() { k.write("d/f", "first and more") }, watcher.ErrChanged},
		{"replaced", func() { k.write("d/g", "other"); k.must(k.content.Rename("d/g", "d/f")) }, watcher.ErrChanged},
		{"removed", func() { k.must(k.content.Remove("d/f")) }, fs.ErrNotExist},
		{"removed with its directory", func() { k.must(k.content.Remove("d")) }, fs.ErrNotExist},
		{"replaced by what is no file", func() { k.must(k.content.Remove("d")); k.must(k.content.Spoil("d/f")) }, nil},
		{"replaced by a directory", func() { k.must(k.content.Remove("d")); k.write("d/f/x", "first") }, nil},
	} {
		k.write("d/f", "first")
		f := k.file("d/f")
		time.Sleep(tick)
		row.do()
		o, err := k.src.Open(k.Context(), f)
		if err == nil {
			o.Close()
		}
		gone := errors.Is(err, fs.ErrNotExist)
		if err == nil || row.want != nil && !errors.Is(err, row.want) || row.want == nil && !gone && !errors.Is(err, watcher.ErrChanged) {
			k.Errorf("Open of a file that was %s: %v, want %v", row.name, err, row.want)
		}
		if files, problems := k.list("d"); len(files)+len(problems) > 0 {
			k.must(k.content.Remove("d"))
		}
	}
}

func testOpenOutside(k *kit) {
	k.write("d/f", "first")
	f := k.file("d/f")
	for _, path := range []string{
		"../f", "d/../../f", "d/../d/f", "/d/f", "/etc/hosts", "", ".", "..", "d", "d/", "d//f", "./d/f", "d/f/", "d/f/x",
		"d/f\x00", `..\f`, `d\f`,
	} {
		f.Path = path
		if o, err := k.src.Open(k.Context(), f); err == nil {
			o.Close()
			k.Errorf("Open of %q does not fail", path)
		}
	}
}

// oldOrChanged fails unless o still gives what it was opened as, or says that it changed.
func (k *kit) oldOrChanged(o watcher.Object, how string) {
	k.Helper()
	b := make([]byte, 5)
	_, err := o.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		if !errors.Is(err, watcher.ErrChanged) {
			k.Errorf("ReadAt of an open file that was %s: %v", how, err)
		}
		return
	}
	if err := o.Check(); err != nil {
		if !errors.Is(err, watcher.ErrChanged) {
			k.Errorf("Check of an open file that was %s: %v", how, err)
		}
		return
	}
	if string(b) != "first" {
		k.Errorf("an open file that was %s gives %q and says that it did not change", how, b)
	}
}

func testObjectChanged(k *kit) {
	for how, do := range map[string]func(){
		"overwritten with the same size": func() { k.write("f", "OTHER") },
		"grown":                          func() { k.write("f", "OTHER and more") },
		"truncated":                      func() { k.write("f", "O") },
	} {
		k.write("f", "first")
		o := k.open(k.file("f"))
		time.Sleep(tick)
		do()
		k.oldOrChanged(o, how)
	}
}

func testObjectRemoved(k *kit) {
	for how, do := range map[string]func(){
		"removed":  func() { k.must(k.content.Remove("f")) },
		"replaced": func() { k.write("g", "OTHER"); k.must(k.content.Rename("g", "f")) },
	} {
		k.write("f", "first")
		o := k.open(k.file("f"))
		time.Sleep(tick)
		do()
		k.oldOrChanged(o, how)
	}
}

package folder

import (
	"io/fs"
	"os"
)

const (
	separators = `/\:`
	openFile   = 0
	openDir    = 0
)

func stampOf(fi fs.FileInfo) stamp {
	return stamp{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
}

func (o *object) now() (stamp, error) {
	fi, err := o.file.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stampOf(fi), nil
}

// readable leaves it to Open: there is no cheap and true answer on Windows.
func readable(*os.File, string) error { return nil }

func sameInode(fs.FileInfo, fs.FileInfo) bool { return false }

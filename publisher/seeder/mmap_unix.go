//go:build unix

package seeder

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps n bytes of a file from off on, which is a multiple of the page
// size. The mapping may be handed to the kernel only: to touch it is fatal
// when the file was cut, while a write from it then merely fails.
func mapFile(f *os.File, off int64, n int) ([]byte, error) {
	var data []byte
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if cerr := conn.Control(func(fd uintptr) {
		data, err = unix.Mmap(int(fd), off, n, unix.PROT_READ, unix.MAP_SHARED)
	}); cerr != nil {
		return nil, cerr
	}
	return data, err
}

func unmap(b []byte) { unix.Munmap(b) }

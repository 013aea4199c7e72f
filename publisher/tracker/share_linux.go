package tracker

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sharePort lets several sockets of this process listen at one port.
var sharePort = func(_, _ string, raw syscall.RawConn) error {
	var err error
	if err2 := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err2 != nil {
		return err2
	}
	return err
}

package main

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentMost is how many bytes of a connection wait in the kernel to be sent.
// By default it takes megabytes, seconds of a slow line, and nothing that is
// decided in that time changes what these are.
const unsentMost = 128 << 10

// shortQueue is a net.ListenConfig's or net.Dialer's Control.
func shortQueue(_, _ string, c syscall.RawConn) (err error) {
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentMost)
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("bound what waits to be sent: %w", err)
	}
	return nil
}

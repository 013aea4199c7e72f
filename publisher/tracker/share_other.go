//go:build !linux

package tracker

import "syscall"

// sharePort is nil: elsewhere packets are not spread among sockets.
var sharePort func(_, _ string, raw syscall.RawConn) error

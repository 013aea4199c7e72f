//go:build !unix

package notify

import "os/exec"

// killWithGroup does nothing: only cmd itself is killed here.
func killWithGroup(*exec.Cmd) {}

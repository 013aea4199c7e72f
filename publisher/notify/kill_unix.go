//go:build unix

package notify

import (
	"os/exec"
	"syscall"
)

// killWithGroup has cmd be the head of a process group that is killed with it.
func killWithGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

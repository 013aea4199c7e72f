package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	envPrefix  = "DROPSEED_"
	outputMost = 4 << 10         // bytes of its output that the log gets
	outputWait = 2 * time.Second // for output, after the command has ended
)

// newCommand returns the target that is a command.
func (n *Notifier) newCommand() (*target, error) {
	program, err := exec.LookPath(n.o.Command[0])
	if err != nil {
		return nil, fmt.Errorf("find the command for notifications: %w", err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, fmt.Errorf("find the command for notifications: %w", err)
	}
	// Without its path, so that the queue stays when it moves or its arguments change.
	t := newTarget("command", "the command "+filepath.Base(program), "command")
	t.send = func(ctx context.Context, p payload) error { return n.run(ctx, program, p) }
	return t, nil
}

// run runs the command with the event in its environment and, as JSON, on its
// standard input. When ctx ends, it is killed with all that it started.
func (n *Notifier) run(ctx context.Context, program string, p payload) error {
	body, err := p.body()
	if err != nil {
		return err
	}
	var out head
	cmd := exec.CommandContext(ctx, program, n.o.Command[1:]...)
	cmd.Env = append(foreign(os.Environ()), p.environ()...)
	cmd.Stdin = bytes.NewReader(body)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = outputWait
	killWithGroup(cmd)
	err = cmd.Run()
	said := strings.TrimSpace(strings.ToValidUTF8(string(out.kept), "\ufffd"))
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended well, and left something running
	}
	if err != nil && said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	if err == nil && said != "" {
		n.log.Debug("the command for notifications said something", "release", p.name(), "output", said)
	}
	return err
}

func (p payload) name() string {
	switch d := p.Data.(type) {
	case releaseData:
		return d.Name
	case failureData:
		return d.Name
	}
	return ""
}

// foreign leaves out the variables that are ours: some hold secrets.
func foreign(env []string) []string {
	var rest []string
	for _, v := range env {
		if !strings.HasPrefix(v, envPrefix) {
			rest = append(rest, v)
		}
	}
	return rest
}

// head keeps the beginning of what is written to it.
type head struct{ kept []byte }

func (h *head) Write(b []byte) (int, error) {
	if room := outputMost - len(h.kept); room > 0 {
		h.kept = append(h.kept, b[:min(room, len(b))]...)
	}
	return len(b), nil
}

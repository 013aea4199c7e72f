package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"

	"dropseed/publisher"
)

// terminal writes the log and, where people watch, one line of progress below it.
type terminal struct {
	tty bool

	mu   sync.Mutex // guards the fields below; held while writing, so that lines stay whole
	w    io.Writer
	line string // the progress that is shown now
}

func newTerminal(w io.Writer) *terminal {
	f, ok := w.(*os.File)
	return &terminal{w: w, tty: ok && term.IsTerminal(int(f.Fd()))}
}

const clearLine = "\r\x1b[K"

// Write writes log lines above the progress.
func (t *terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line == "" {
		return t.w.Write(b)
	}
	if _, err := fmt.Fprintf(t.w, "%s%s%s", clearLine, b, t.line); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (t *terminal) show(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line != t.line {
		t.line = line
		fmt.Fprint(t.w, clearLine, line)
	}
}

// showProgress shows how far hashing is, until ctx ends. Where nobody watches
// it does nothing: the log has it.
func (t *terminal) showProgress(ctx context.Context, pending func() []publisher.Job) error {
	if !t.tty {
		return nil
	}
	defer t.show("")
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var bar *pb.ProgressBar
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		name, done, size := hashing(pending())
		if size == 0 {
			bar = nil
			t.show("")
			continue
		}
		if bar == nil {
			bar = pb.New64(size).Set(pb.Static, true).Set(pb.Bytes, true).SetWriter(io.Discard).
				SetTemplateString(`{{string . "name"}} {{counters . }} {{bar . }} {{percent . }} {{speed . }} {{rtime . "%s left"}}`).Start()
		}
		bar.SetTotal(size).SetCurrent(done).Set("name", name)
		if f, ok := t.w.(*os.File); ok {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil {
				bar.SetWidth(width - 1)
			}
		}
		t.show(bar.String())
	}
}

// hashing sums up what is being hashed, and names it.
func hashing(jobs []publisher.Job) (name string, done, size int64) {
	n := 0
	for _, j := range jobs {
		if j.Reason != publisher.Hashing {
			continue
		}
		n++
		name = j.Name
		done += j.Done
		size += j.Size
	}
	if n > 1 {
		name = fmt.Sprintf("%d trees", n)
	}
	return name, done, size
}

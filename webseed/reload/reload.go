// Package reload keeps what was made of files up to date with them.
//
// A [Value] is made anew once one of its files has another time, size or
// identity. That is looked for when it is used, and at most so often, so there
// is no background work and nothing to be told. Files that cannot be read, or
// hold nonsense, change nothing: the last good value stays, and they are read
// again each time, since what kept them from being read need not show from outside.
//
// The package does not know what the files hold.
package reload

import (
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Value is safe for concurrent use.
type Value[T any] struct {
	what  string
	load  func() (T, error)
	paths []string
	every time.Duration
	log   *slog.Logger

	current atomic.Pointer[T]
	next    atomic.Int64 // when the files are looked at again, in nanoseconds since start

	mu     sync.Mutex // guards the fields below
	stamps []stamp
	failed string // what was wrong with the files when they were read last; "": nothing
}

// stamp is what a file looked like from outside; nil: it could not be seen.
type stamp struct{ fs.FileInfo }

var start = time.Now() // for a clock that cannot be set

// New loads a value for the first time, which must succeed. load reads the files
// at paths; it is called by one Get at a time, at most once every so often. what
// says in the log what they hold.
func New[T any](what string, every time.Duration, log *slog.Logger, load func() (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{what: what, load: load, paths: paths, every: every, log: log}
	v.stamps = v.look() // before they are read: a change meanwhile must be seen
	value, err := load()
	if err != nil {
		return nil, err
	}
	v.current.Store(&value)
	v.next.Store(int64(time.Since(start) + every))
	return v, nil
}

// Get returns the value. Callers that come while it is loaded get the old one.
func (v *Value[T]) Get() T {
	if now := time.Since(start); int64(now) >= v.next.Load() && v.mu.TryLock() {
		v.refresh()
		v.next.Store(int64(time.Since(start) + v.every))
		v.mu.Unlock()
	}
	return *v.current.Load()
}

func (v *Value[T]) refresh() {
	stamps := v.look()
	unchanged := same(stamps, v.stamps)
	if unchanged && v.failed == "" {
		return
	}
	v.stamps = stamps
	value, err := v.load()
	if err != nil {
		if !unchanged || err.Error() != v.failed { // once is enough
			v.log.Warn("files that changed cannot be used, what they held before still holds", "what", v.what, "err", err)
		}
		v.failed = err.Error()
		return
	}
	v.failed = ""
	v.current.Store(&value)
	v.log.Info("files that changed were read again", "what", v.what)
}

func (v *Value[T]) look() []stamp {
	stamps := make([]stamp, len(v.paths))
	for i, path := range v.paths {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info}
		}
	}
	return stamps
}

func same(a, b []stamp) bool {
	for i := range a {
		x, y := a[i].FileInfo, b[i].FileInfo
		if (x == nil) != (y == nil) {
			return false
		}
		if x != nil && (!x.ModTime().Equal(y.ModTime()) || x.Size() != y.Size() || x.Mode() != y.Mode() || !os.SameFile(x, y)) {
			return false
		}
	}
	return true
}

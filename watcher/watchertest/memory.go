package watchertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dropseed/watcher"
)

// Memory is a strict watcher.Source in memory, and the Content of itself. It
// lists in a different order every time, a failing listing yields half of what
// there is first, open objects behave like open files (what is overwritten in
// place changes under them, what is replaced or removed does not), and every
// change gives a hint. Under testing/synctest it must be made inside the bubble.
type Memory struct {
	mu       sync.Mutex // guards the fields below
	rng      *rand.Rand
	files    map[string]*inode
	problems map[string]error
	version  int

	hints    []string
	hinted   chan struct{} // closed and replaced when hints has something new
	silent   bool
	listErr  error
	openErr  error
	readErr  error
	holding  chan struct{} // while not nil, calls wait until it is closed
	readsTo  int           // reads until atRead; 0 = none
	atRead   func()
	lists    map[string]int
	opens    int
	reads    int
	openNow  int
	mostOpen int
}

// inode is content that an open object keeps hold of, as of a file.
type inode struct {
	data    []byte
	version int
	modTime time.Time
}

// NewMemory returns an empty source.
func NewMemory() *Memory {
	return &Memory{
		rng:      rand.New(rand.NewPCG(1, 2)),
		files:    make(map[string]*inode),
		problems: make(map[string]error),
		hinted:   make(chan struct{}),
		lists:    make(map[string]int),
	}
}

// Write creates the file at path, or overwrites it in place. It copies data.
func (m *Memory) Write(path string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write(path, slices.Clone(data))
	return nil
}

// Append adds to the file at path, as a slow copy does.
func (m *Memory) Append(path string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var old []byte
	if n := m.files[path]; n != nil {
		old = n.data
	}
	m.write(path, slices.Concat(old, data))
	return nil
}

func (m *Memory) write(path string, data []byte) {
	n := m.files[path]
	if n == nil {
		n = &inode{}
		m.files[path] = n
	}
	m.version++
	n.data, n.version, n.modTime = data, m.version, time.Now()
	m.changed(path)
}

// Remove removes the file, problem or directory at path.
func (m *Memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	for _, p := range m.below(path) {
		delete(m.files, p)
		delete(m.problems, p)
		found = true
	}
	m.changed(path)
	if !found {
		return fmt.Errorf("remove %q: %w", path, fs.ErrNotExist)
	}
	return nil
}

// Rename moves a file or directory; a file at the new path is replaced.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	moved := m.below(from)
	if len(moved) == 0 {
		return fmt.Errorf("rename %q: %w", from, fs.ErrNotExist)
	}
	for _, p := range moved {
		q := to + strings.TrimPrefix(p, from)
		if n := m.files[p]; n != nil {
			m.files[q] = n
		} else {
			m.problems[q] = m.problems[p]
		}
		delete(m.files, p)
		delete(m.problems, p)
	}
	m.changed(from)
	m.changed(to)
	return nil
}

// Spoil puts something at path that cannot be published.
func (m *Memory) Spoil(path string) error { return m.SpoilAs(path, "is not a file") }

// SpoilAs is Spoil for the given reason.
func (m *Memory) SpoilAs(path, why string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems[path] = errors.New(why)
	m.changed(path)
	return nil
}

// below returns all paths that are path or in it. m.mu is held.
func (m *Memory) below(path string) []string {
	var list []string
	in := func(p string) bool { return p == path || strings.HasPrefix(p, path+"/") }
	for p := range m.files {
		if in(p) {
			list = append(list, p)
		}
	}
	for p := range m.problems {
		if in(p) {
			list = append(list, p)
		}
	}
	return list
}

// changed hints at the tree that path is in. m.mu is held.
func (m *Memory) changed(path string) {
	if !m.silent {
		m.hint(path)
	}
}

func (m *Memory) hint(path string) {
	name, _, _ := strings.Cut(path, "/")
	m.hints = append(m.hints, name)
	close(m.hinted)
	m.hinted = make(chan struct{})
}

// held waits while the source is on hold.
func (m *Memory) held(ctx context.Context) error {
	m.mu.Lock()
	ch := m.holding
	m.mu.Unlock()
	if ch != nil {
		select {
		case <-ch:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// List implements watcher.Source.
func (m *Memory) List(ctx context.Context, name string) iter.Seq2[watcher.File, error] {
	return func(yield func(watcher.File, error) bool) {
		m.mu.Lock()
		m.lists[name]++
		m.mu.Unlock()
		files, problems, fail := m.snapshot(name)
		if err := m.held(ctx); err != nil {
			yield(watcher.File{}, err)
			return
		}
		for i, f := range files {
			if fail != nil && i >= len(files)/2 {
				break
			}
			if i%2 == 0 && len(problems) > 0 {
				if !yield(watcher.File{}, problems[0]) {
					return
				}
				problems = problems[1:]
			}
			if err := ctx.Err(); err != nil {
				yield(watcher.File{}, err)
				return
			}
			if !yield(f, nil) {
				return
			}
		}
		if fail != nil {
			yield(watcher.File{}, fail)
			return
		}
		for _, p := range problems {
			if !yield(watcher.File{}, p) {
				return
			}
		}
	}
}

func (m *Memory) snapshot(name string) (files []watcher.File, problems []*watcher.Problem, fail error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in := func(p string) bool {
		tree, _, _ := strings.Cut(p, "/")
		return name == "" || name == tree
	}
	for p, n := range m.files {
		if in(p) {
			files = append(files, watcher.File{
				Path: p, Size: int64(len(n.data)), ModTime: n.modTime, Version: strconv.Itoa(n.version),
			})
		}
	}
	for p, err := range m.problems {
		if in(p) {
			problems = append(problems, &watcher.Problem{Path: p, Err: err})
		}
	}
	m.rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	return files, problems, m.listErr
}

// Wait implements watcher.Source.
func (m *Memory) Wait(ctx context.Context) (string, error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		m.mu.Lock()
		hinted := m.hinted
		if len(m.hints) > 0 {
			name := m.hints[0]
			m.hints = m.hints[1:]
			m.mu.Unlock()
			return name, nil
		}
		m.mu.Unlock()
		select {
		case <-hinted:
		case <-ctx.Done():
		}
	}
}

// Open implements watcher.Opener.
func (m *Memory) Open(ctx context.Context, f watcher.File) (watcher.Object, error) {
	if err := m.held(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opens++
	n := m.files[f.Path]
	switch {
	case m.openErr != nil:
		return nil, m.openErr
	case n == nil && m.problems[f.Path] != nil:
		return nil, fmt.Errorf("open %q: %w", f.Path, watcher.ErrChanged)
	case n == nil:
		return nil, fmt.Errorf("open %q: %w", f.Path, fs.ErrNotExist)
	case f.Version != strconv.Itoa(n.version) || f.Size != int64(len(n.data)):
		return nil, fmt.Errorf("open %q: %w", f.Path, watcher.ErrChanged)
	}
	m.openNow++
	m.mostOpen = max(m.mostOpen, m.openNow)
	return &object{m: m, n: n, version: n.version}, nil
}

// object is open content of a Memory.
type object struct {
	m       *Memory
	n       *inode
	version int
	closed  bool // guarded by m.mu
}

func (o *object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read: negative offset")
	}
	if err := o.m.held(context.Background()); err != nil {
		return 0, err
	}
	o.m.mu.Lock()
	var do func()
	if o.m.readsTo > 0 {
		if o.m.readsTo--; o.m.readsTo == 0 {
			do, o.m.atRead = o.m.atRead, nil
		}
	}
	o.m.mu.Unlock()
	if do != nil {
		do()
	}
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	o.m.reads++
	switch {
	case o.closed:
		return 0, fs.ErrClosed
	case o.m.readErr != nil:
		return 0, o.m.readErr
	case off >= int64(len(o.n.data)):
		return 0, io.EOF
	}
	n := copy(p, o.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *object) Check() error {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	switch {
	case o.closed:
		return fs.ErrClosed
	case o.n.version != o.version:
		return watcher.ErrChanged
	}
	return nil
}

func (o *object) Close() error {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	if o.closed {
		return fs.ErrClosed
	}
	o.closed = true
	o.m.openNow--
	return nil
}

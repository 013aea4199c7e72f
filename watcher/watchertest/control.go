package watchertest

import "sync"

// Hint gives a hint at the tree called name, or at all for "".
func (m *Memory) Hint(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hint(name)
}

// LoseHints has changes give no more hints.
func (m *Memory) LoseHints() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent, m.hints = true, nil
}

// FailLists has every listing end with err after half of its files; nil ends it.
func (m *Memory) FailLists(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listErr = err
}

// FailOpens has every Open fail with err; nil ends it.
func (m *Memory) FailOpens(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.openErr = err
}

// FailReads has every ReadAt fail with err; nil ends it.
func (m *Memory) FailReads(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readErr = err
}

// AtRead calls do just before the n-th ReadAt from now (1 = the next one) reads.
func (m *Memory) AtRead(n int, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readsTo, m.atRead = n, do
}

// Hold has listings, opens and reads wait until release is called, or until
// the context of the call ends. A listing then yields what there was before it
// waited.
func (m *Memory) Hold() (release func()) {
	ch := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = ch
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.holding == ch {
			m.holding = nil
		}
		close(ch)
	})
}

// Pass lets calls that begin from now on through, while those that Hold made
// wait go on waiting.
func (m *Memory) Pass() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holding = nil
}

// Lists returns how often the tree called name was listed; for "", how often
// everything was.
func (m *Memory) Lists(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lists[name]
}

// Usage is what was done with a Memory.
type Usage struct {
	Opens, Reads      int
	OpenNow, MostOpen int // objects that are, and at most were, open at once
}

// Usage returns what was done so far.
func (m *Memory) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Usage{m.opens, m.reads, m.openNow, m.mostOpen}
}

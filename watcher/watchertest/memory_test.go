package watchertest

import (
	"testing"

	"dropseed/watcher"
)

func TestMemoryIsASource(t *testing.T) {
	TestSource(t, func(t *testing.T) (watcher.Source, Content) {
		m := NewMemory()
		return m, m
	})
}

package notify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

const (
	journalFormat = 1
	lineMost      = 1 << 20 // bytes; a record has a few hundred
	tempPrefix    = ".new-"
)

// record is a line of the journal: a step that is taken as a whole. Format and
// Mark stand in the first.
type record struct {
	Format int      `json:"format,omitempty"`
	Mark   uint64   `json:"mark,omitempty"`   // publications up to this serial were seen
	Live   *facts   `json:"live,omitempty"`   // a release was published
	Gone   string   `json:"gone,omitempty"`   // ... or retired: its info-hash
	Told   *failure `json:"told,omitempty"`   // why a tree is not published
	Mended *failure `json:"mended,omitempty"` // that no longer holds
	Event  *event   `json:"event,omitempty"`  // is to be told
	Done   *done    `json:"done,omitempty"`
}

type failure struct {
	Source string    `json:"source"`
	Name   string    `json:"name"`
	Reason string    `json:"reason,omitempty"` // a digest of it
	At     time.Time `json:"at,omitzero"`
}

// done says that a target was told of events, or will never be.
type done struct {
	To  string   `json:"to"` // its key
	IDs []string `json:"ids"`
}

// loaded is what a journal says.
type loaded struct {
	fresh   bool // there was none
	mark    uint64
	live    map[infohash.T]facts
	told    map[treeKey]told
	skipped int // lines that could not be read

	queue []*event // in order; those without To are done
	byID  map[string]*event
}

func (l *loaded) events() []*event {
	return slices.DeleteFunc(l.queue, func(e *event) bool { return len(e.To) == 0 })
}

func (l *loaded) apply(r record) error {
	if r.Format != 0 && r.Format != journalFormat {
		return fmt.Errorf("its format is %d; this version knows %d", r.Format, journalFormat)
	}
	l.mark = max(l.mark, r.Mark)
	if r.Live != nil {
		var ih infohash.T
		if err := ih.FromHexString(r.Live.InfoHash); err == nil {
			l.live[ih] = *r.Live
			l.mark = max(l.mark, r.Live.Serial)
		}
	}
	if r.Gone != "" {
		var ih infohash.T
		if err := ih.FromHexString(r.Gone); err == nil {
			delete(l.live, ih)
		}
	}
	if t := r.Told; t != nil {
		l.told[treeKey{t.Source, t.Name}] = told{t.Reason, t.At}
	}
	if t := r.Mended; t != nil {
		delete(l.told, treeKey{t.Source, t.Name})
	}
	if e := r.Event; e != nil {
		l.queue = append(l.queue, e)
		l.byID[e.ID] = e
	}
	if r.Done != nil {
		for _, id := range r.Done.IDs {
			if e := l.byID[id]; e != nil {
				e.To = slices.DeleteFunc(e.To, func(key string) bool { return key == r.Done.To })
			}
		}
	}
	return nil
}

// journal is a file to which lines are appended, and which is replaced as a
// whole when it has grown. It is open only while it is used.
type journal struct {
	path  string
	size  int64 // bytes of whole lines; what follows is of no account
	lines int
}

// openJournal reads the journal at path. If there is none, rewrite begins it. A
// line that was not written as a whole is passed over: what it said is found out
// again, or done again.
func openJournal(path string) (*journal, *loaded, error) {
	if old, err := filepath.Glob(filepath.Join(filepath.Dir(path), tempPrefix+"*")); err == nil {
		for _, name := range old {
			os.Remove(name)
		}
	}
	j := &journal{path: path}
	l := &loaded{live: make(map[infohash.T]facts), told: make(map[treeKey]told), byID: make(map[string]*event)}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		l.fresh = true
		return j, l, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := j.read(f, l); err != nil {
		return nil, nil, fmt.Errorf("read %q: %w", path, err)
	}
	l.fresh = j.lines == l.skipped // nothing can be made of it
	if err := f.Truncate(j.size); err != nil {
		return nil, nil, err
	}
	return j, l, nil
}

func (j *journal) read(f io.Reader, l *loaded) error {
	in := bufio.NewReaderSize(f, lineMost)
	for {
		line, err := in.ReadSlice('\n')
		size := int64(len(line))
		for errors.Is(err, bufio.ErrBufferFull) { // it is too long to be ours
			line, err = in.ReadSlice('\n')
			size += int64(len(line))
			line = nil
		}
		if errors.Is(err, io.EOF) {
			return nil // what is left has no end
		}
		if err != nil {
			return err
		}
		j.size += size
		j.lines++
		var r record
		if json.Unmarshal(line, &r) != nil {
			l.skipped++
			continue
		}
		if err := l.apply(r); err != nil {
			return err
		}
	}
}

// flush says whether a write is to outlive the machine's end, or only the process's.
type flush int

const (
	unflushed flush = iota
	flushed
)

// append adds records: all, or, with an error, none that counts.
func (j *journal) append(records []record, how flush) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %q: %w", j.path, err)
		}
	}()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b.Bytes(), j.size)
	if err == nil && how == flushed {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Truncate(j.size) // else the next write covers it
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	j.size += int64(b.Len())
	j.lines += len(records)
	return nil
}

// rewrite replaces the journal by one of these records: durable, and whole or
// not at all.
func (j *journal) rewrite(records iter.Seq[record]) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %q anew: %w", j.path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(j.path), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 256<<10)
	enc := json.NewEncoder(w)
	lines := 0
	for r := range records {
		if err = enc.Encode(r); err != nil {
			break
		}
		lines++
	}
	if err == nil {
		err = w.Flush()
	}
	size, serr := f.Seek(0, io.SeekCurrent)
	if err = errors.Join(err, serr); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		return err
	}
	j.size, j.lines = size, lines
	return syncDir(filepath.Dir(j.path))
}

// syncDir makes a rename in a folder durable, where that is needed.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

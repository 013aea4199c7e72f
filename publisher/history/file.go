package history

import (
	"bufio"
	"compress/gzip"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

const (
	fileFormat = 1
	fileMost   = 1 << 30 // bytes, unpacked
)

// fileHead begins the file.
type fileHead struct {
	Format  int
	Whole   Counters
	Carried int64
	Rings   rings
}

// fileRelease follows, once for each release of which anything was counted or
// that has rings.
type fileRelease struct {
	InfoHash [20]byte
	Counters Counters
	Carried  int64
	Rings    *rings
}

// load reads the file. If there is none, that is no error.
func (h *History) load() error {
	f, err := os.Open(h.o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := intact(f); err != nil { // gob is made for input that is right
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return err
	}
	in := gob.NewDecoder(bufio.NewReader(z))
	var head fileHead
	if err := in.Decode(&head); err != nil {
		return err
	}
	if head.Format != fileFormat {
		return fmt.Errorf("its format is %d; this version knows %d", head.Format, fileFormat)
	}
	if !head.Whole.valid() || head.Carried < 0 || !head.Rings.valid() {
		return errors.New("it holds values that cannot be")
	}
	h.whole, h.rings = figures{head.Whole, head.Carried}, head.Rings
	for {
		var r fileRelease
		if err := in.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if !r.Counters.valid() || r.Carried < 0 || r.Rings != nil && !r.Rings.valid() {
			return errors.New("it holds values that cannot be")
		}
		h.restore(r)
	}
}

// intact reads a file to its checksum.
func intact(f io.Reader) error {
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(z, fileMost))
	if err == nil && n == fileMost {
		err = fmt.Errorf("it has more than %d bytes", fileMost)
	}
	return err
}

// restore takes over what was saved of a release, unless that is forgotten.
func (h *History) restore(r fileRelease) {
	size, known := h.o.Size(r.InfoHash)
	if !known {
		return
	}
	f := figures{r.Counters, max(r.Carried, r.Counters.carried())}
	if f.Counters != (Counters{}) {
		a := &account{before: f.Counters, carried: f.Carried}
		if f.Sent() > 0 {
			a.size = size
			h.copies.sent += f.Sent()
			h.copies.size += size
		}
		h.accounts[r.InfoHash] = a
	}
	if r.Rings != nil && len(h.subjects) < ringsMost {
		h.subjects[r.InfoHash] = &subject{rings: *r.Rings}
	}
}

func (c Counters) valid() bool {
	return c.Peers >= 0 && c.Webseed >= 0 && c.Direct >= 0 && c.Gained >= 0 && c.Completed >= 0
}

func (r *rings) valid() bool { return r.Fine.valid() && r.Coarse.valid() }

func (r *ring) valid() bool { return r.Head >= 0 && r.Head < ringLen && r.Count >= 0 && r.Last >= 0 }

// setAside moves the file to where the state folder keeps what is unusable.
func (h *History) setAside(why error) {
	to := filepath.Join(filepath.Dir(h.o.Path), "set-aside",
		time.Now().UTC().Format("20060102T150405.000000000Z")+"-"+filepath.Base(h.o.Path))
	err := os.MkdirAll(filepath.Dir(to), 0o755)
	if err == nil {
		err = os.Rename(h.o.Path, to)
	}
	if err != nil {
		h.o.Log.Warn("the history cannot be read: figures begin anew", "path", h.o.Path, "err", errors.Join(why, err))
		return
	}
	h.o.Log.Warn("the history cannot be read and was set aside: figures begin anew", "path", to, "err", why)
}

// save replaces the file, and says so if it cannot. The old one is then still there.
func (h *History) save() {
	h.forget()
	h.mu.Lock()
	saving := h.sampled.figures
	h.mu.Unlock()
	n, err := h.write()
	if err != nil {
		h.o.Log.Warn("the history cannot be saved", "path", h.o.Path, "err", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.written = n
	}
	h.saved = mark{time.Now(), saving}
}

// write writes the file under another name, which no other process uses, and
// renames it. That the rename is durable is not waited for: at worst the file
// before it is found again.
func (h *History) write() (n int64, err error) {
	f, err := os.Create(h.o.Path + ".new")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = h.encode(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		n, err = f.Seek(0, io.SeekCurrent)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), h.o.Path)
	}
	return n, err
}

// encode writes the content of the file, as it was at the last point: a release
// at a time, so that neither memory nor the lock is held for all, while others may
// look. No point may be added meanwhile.
func (h *History) encode(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 64<<10)
	z, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return err
	}
	out := gob.NewEncoder(z)
	h.mu.Lock()
	head := fileHead{Format: fileFormat, Whole: h.sampled.Counters, Carried: h.sampled.Carried, Rings: h.rings}
	releases := slices.Collect(maps.Keys(h.accounts))
	for ih := range h.subjects {
		if h.accounts[ih] == nil {
			releases = append(releases, ih)
		}
	}
	h.mu.Unlock()
	if err := out.Encode(head); err != nil {
		return err
	}
	for _, ih := range releases {
		r := fileRelease{InfoHash: ih}
		h.mu.Lock()
		if a := h.accounts[ih]; a != nil {
			f, changed := h.touched[ih]
			if !changed {
				f = a.figures()
			}
			r.Counters, r.Carried = f.Counters, f.Carried
		}
		if s := h.subjects[ih]; s != nil {
			copied := s.rings
			r.Rings = &copied
		}
		h.mu.Unlock()
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// forget drops the figures of releases that are forgotten.
func (h *History) forget() {
	h.mu.Lock()
	releases := slices.Collect(maps.Keys(h.accounts))
	releases = slices.AppendSeq(releases, maps.Keys(h.subjects))
	h.mu.Unlock()
	gone := slices.DeleteFunc(releases, func(ih infohash.T) bool {
		_, known := h.o.Size(ih)
		return known
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ih := range gone {
		if a := h.accounts[ih]; a != nil && a.size > 0 {
			h.copies.sent -= a.figures().Sent()
			h.copies.size -= a.size
		}
		delete(h.accounts, ih)
		delete(h.subjects, ih)
		delete(h.touched, ih)
	}
}

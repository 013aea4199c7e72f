package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".new-"

// load fills an empty catalog from disk.
func (c *Catalog) load() error {
	dir := filepath.Join(c.dir, "releases")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, r := range c.loadAll(c.sift(dir, entries)) {
		c.serial = max(c.serial, r.serial)
		if other := c.byName[r.Name]; other != nil && r.Live() {
			// The process ended between committing a new release and marking the old one.
			older := r
			if r.serial > other.serial {
				older = other
			}
			c.finishRetiring(older)
			c.enter(other)
		}
		c.enter(r)
	}
	c.forgetOld()
	return nil
}

// sift returns the info-hashes that have a record, removes what an interrupted
// write left, and sets aside what is not ours.
func (c *Catalog) sift(dir string, entries []fs.DirEntry) []infohash.T {
	var hashes []infohash.T
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, tempPrefix) {
			os.Remove(filepath.Join(dir, name))
			continue
		}
		ext := filepath.Ext(name)
		var ih infohash.T
		stem := strings.TrimSuffix(name, ext)
		err := ih.FromHexString(stem)
		switch {
		case err != nil || stem != strings.ToLower(stem) || !e.Type().IsRegular() || ext != ".json" && ext != ".torrent":
			c.setAside(name, errors.New("it is not a release's file"))
		case ext == ".json":
			hashes = append(hashes, ih)
		}
	}
	return hashes
}

// loadAll reads records on all cores; those it cannot use are set aside.
func (c *Catalog) loadAll(hashes []infohash.T) []*Release {
	releases := make([]*Release, len(hashes))
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(hashes); i += workers {
				r, err := c.loadOne(hashes[i])
				if err != nil {
					c.setAside(hashes[i].HexString()+".json", err)
					continue
				}
				releases[i] = r
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(releases, func(r *Release) bool { return r == nil })
}

// loadOne reads a record and checks it and its .torrent.
func (c *Catalog) loadOne(ih infohash.T) (*Release, error) {
	rec, err := readRecord(c.path(ih, ".json"))
	if err != nil {
		return nil, err
	}
	if err := rec.check(ih); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(c.path(ih, ".torrent"))
	if err != nil {
		return nil, fmt.Errorf("its torrent is missing: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != rec.TorrentSHA256 {
		c.setAside(ih.HexString()+".torrent", errors.New("it is not the file that was written"))
		return nil, errors.New("its torrent is corrupt")
	}
	return rec.release(ih), nil
}

func (c *Catalog) finishRetiring(r *Release) {
	r.RetiredAt = time.Now().UTC()
	if err := c.markRetired(r.InfoHash, r.RetiredAt); err != nil {
		c.log.Warn("the retired release is not marked on disk yet; the next start does it", "release", r.Name, "err", err)
	}
}

// forgetOld removes the files of releases that were retired long ago.
func (c *Catalog) forgetOld() {
	retired := slices.Concat(slices.Collect(maps.Values(c.past))...)
	slices.SortFunc(retired, func(a, b *Release) int { return cmp.Compare(b.serial, a.serial) })
	for i, r := range retired {
		if i < retiredMost && time.Since(r.RetiredAt) < retiredFor || r.serial == c.serial {
			continue // the last of all serials, gone, would be given again
		}
		delete(c.byHash, r.InfoHash)
		c.past[r.Name] = slices.DeleteFunc(c.past[r.Name], func(p *Release) bool { return p == r })
		os.Remove(c.path(r.InfoHash, ".json")) // first: without it the other is only a leftover
		os.Remove(c.path(r.InfoHash, ".torrent"))
	}
}

// setAside moves a file of releases/ to set-aside/, and says so.
func (c *Catalog) setAside(name string, why error) {
	from := filepath.Join(c.dir, "releases", name)
	to := filepath.Join(c.dir, "set-aside", time.Now().UTC().Format("20060102T150405.000000000Z")+"-"+name)
	err := os.MkdirAll(filepath.Dir(to), 0o755)
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		c.log.Warn("a file in the state folder is ignored", "path", from, "err", errors.Join(why, err))
		return
	}
	c.log.Warn("a file in the state folder was set aside", "path", to, "err", why)
}

// Package catalog is the durable list of releases, the single truth about what
// is published: the tracker, the seeder, the webseed and the pages all ask it,
// so a release is published everywhere at once or not at all.
//
// A [Catalog] keeps a few words per release in memory ([Release]) and reads the
// list of files ([Content]) from disk when somebody needs it. Whoever acts on
// changes waits for [Catalog.Changed] and then looks again.
//
// It does not make torrents, open content or decide what to publish.
//
// On disk, below the state folder:
//
//	lock                            held by the process that uses the folder
//	releases/{info-hash}.torrent    without trackers and webseeds; written first
//	releases/{info-hash}.json       the commit point: without it there is no release
//	set-aside/                      what was corrupt or not ours; never deleted
//
// Every file is written under a temporary name, fsynced and renamed, and the
// folder is fsynced. A retired release keeps its two files for a while, so that
// its absence can be explained and its return costs no hashing.
package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/watcher"
)

var (
	// ErrUnknown says that no release has that info-hash.
	ErrUnknown = errors.New("no such release")
	// ErrNameTaken says that another source publishes a release of that name.
	ErrNameTaken = errors.New("the name is already published from another source")
	// ErrInUse says that another process uses the state folder.
	ErrInUse = errors.New("another dropseed is using this state folder")
)

// Retired releases are remembered this long, and no more than this many.
const (
	retiredFor  = 30 * 24 * time.Hour
	retiredMost = 1000
)

// Release is what is known of a release without reading its files' list.
type Release struct {
	Name        string
	InfoHash    infohash.T
	Size        int64 // bytes of content
	PieceLength int64 // bytes
	Files       int   // number of files
	IsFile      bool  // a single-file torrent: its file is called Name
	Private     bool  // BEP 27: no DHT and no peer exchange
	Source      string
	CreatedAt   time.Time // when it was published
	RetiredAt   time.Time // zero while it is live
	Digest      watcher.Digest
	TorrentSize int64 // bytes of the stored .torrent

	serial uint64 // grows with every commit; orders releases even when clocks jump
}

// Live reports whether the release is published now.
func (r Release) Live() bool { return r.RetiredAt.IsZero() }

// Pieces returns the number of pieces.
func (r Release) Pieces() int {
	if r.PieceLength <= 0 {
		return 0
	}
	return int((r.Size + r.PieceLength - 1) / r.PieceLength)
}

// New is a release to be committed.
type New struct {
	InfoHash    infohash.T
	PieceLength int64 // bytes
	Private     bool
	Tree        watcher.Tree // Files in the torrent's order
	Torrent     []byte       // the .torrent without trackers and webseeds
	SHA256      [][32]byte   // of each of Tree.Files; nil: not known
}

// Catalog is safe for concurrent use.
type Catalog struct {
	dir  string // the state folder
	log  *slog.Logger
	lock *os.File

	mu       sync.RWMutex // guards the fields below; never held across disk
	byHash   map[infohash.T]*Release
	byName   map[string]*Release   // live ones
	past     map[string][]*Release // retired ones, by name
	newest   []*Release            // live ones, newest first; nil when it must be made again
	writing  map[string]bool       // names with a commit under way
	serial   uint64
	modified time.Time     // see Modified
	changed  chan struct{} // closed and replaced at every change
	contents contentCache

	recent    []*Release // what changed last, in order
	forgotten uint64     // changes before these
}

// Open loads the catalog from a state folder, which it creates if need be.
// What is corrupt or foreign there is moved to set-aside with a warning. It
// returns ErrInUse (wrapped) while another process has the folder open.
func Open(dir string, log *slog.Logger) (*Catalog, error) {
	for _, d := range []string{dir, filepath.Join(dir, "releases")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("create the state folder: %w", err)
		}
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock the state folder %q: %w", dir, err)
	}
	c := &Catalog{
		dir: dir, log: log, lock: lock,
		byHash:  make(map[infohash.T]*Release),
		byName:  make(map[string]*Release),
		past:    make(map[string][]*Release),
		writing: make(map[string]bool),
		changed: make(chan struct{}),
	}
	if err := c.load(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("load the catalog from %q: %w", dir, err)
	}
	return c, nil
}

// Close lets another process use the state folder.
func (c *Catalog) Close() error { return c.lock.Close() }

// Get returns the release with an info-hash, live or retired.
func (c *Catalog) Get(ih infohash.T) (Release, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if r := c.byHash[ih]; r != nil {
		return *r, true
	}
	return Release{}, false
}

// Latest returns the live release of a name.
func (c *Catalog) Latest(name string) (Release, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if r := c.byName[name]; r != nil {
		return *r, true
	}
	return Release{}, false
}

// Live returns the live releases, newest first. The caller owns the slice but
// must not modify what it points to.
func (c *Catalog) Live() []*Release {
	c.mu.RLock()
	list := c.newest
	c.mu.RUnlock()
	if list == nil {
		c.mu.Lock()
		if c.newest == nil {
			c.newest = make([]*Release, 0, len(c.byName))
			for _, r := range c.byName {
				c.newest = append(c.newest, r)
			}
			slices.SortFunc(c.newest, func(a, b *Release) int {
				if a.serial > b.serial {
					return -1
				}
				return 1
			})
		}
		list = c.newest
		c.mu.Unlock()
	}
	return slices.Clone(list)
}

// Past returns the retired releases of a name that are remembered, newest first.
func (c *Catalog) Past(name string) []Release {
	c.mu.RLock()
	defer c.mu.RUnlock()
	past := make([]Release, 0, len(c.past[name]))
	for _, r := range c.past[name] {
		past = append(past, *r)
	}
	slices.SortFunc(past, func(a, b Release) int { return cmp.Compare(b.serial, a.serial) })
	return past
}

// Published returns the digests of a source's live releases, by name.
func (c *Catalog) Published(source string) map[string]watcher.Digest {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m := make(map[string]watcher.Digest)
	for name, r := range c.byName {
		if r.Source == source {
			m[name] = r.Digest
		}
	}
	return m
}

// Modified returns when a release was last published or retired, as far as is
// remembered. It is zero if there never was one.
func (c *Catalog) Modified() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.modified
}

// Changed returns a channel that is closed at the next change. Take it before
// looking, so that nothing is missed between the look and the wait.
func (c *Catalog) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}

// Put publishes a release and retires the live one of the same name: one
// commit, durable when Put returns. Putting a live release again only records
// its files' new Versions, putting a retired one revives it, and both keep the
// .torrent that is there (the info-hash says that they mean the same). It returns
// ErrNameTaken (wrapped) when another source publishes the name.
func (c *Catalog) Put(n New) (_ Release, err error) {
	old, err := c.begin(n.Tree.Name, n.Tree.Source)
	if err != nil {
		return Release{}, err
	}
	defer func() {
		if err != nil {
			c.giveUp(n.Tree.Name)
		}
	}()
	rec := newRecord(n)
	c.mu.Lock()
	c.serial++
	rec.Serial = c.serial
	known := c.byHash[n.InfoHash]
	c.mu.Unlock()

	if known != nil {
		// Its .torrent stays: a record never stands beside one that it does not describe.
		before, err := readRecord(c.path(n.InfoHash, ".json"))
		if err != nil {
			return Release{}, err
		}
		rec.TorrentSize, rec.TorrentSHA256 = before.TorrentSize, before.TorrentSHA256
		if n.SHA256 == nil {
			rec.takeSums(before)
		}
		if known.Live() {
			rec.CreatedAt, rec.Serial = before.CreatedAt, before.Serial
		}
	} else if err := c.write(n.InfoHash, ".torrent", n.Torrent); err != nil {
		return Release{}, err
	}
	if err := c.writeRecord(n.InfoHash, rec); err != nil { // the commit point
		return Release{}, err
	}
	if old != nil && old.InfoHash != n.InfoHash {
		// Without this write the newer serial makes the new one win all the same.
		if err := c.markRetired(old.InfoHash, rec.CreatedAt); err != nil {
			c.log.Warn("the retired release is not marked on disk yet; the next start does it", "release", old.Name, "err", err)
		}
	}
	r := rec.release(n.InfoHash)
	c.install(r)
	return *r, nil
}

// Retire takes a live release out of publication. It is durable when Retire
// returns. Retiring one that is not live does nothing.
func (c *Catalog) Retire(ih infohash.T) error {
	r, ok := c.Get(ih)
	if !ok || !r.Live() {
		return nil
	}
	if _, err := c.begin(r.Name, r.Source); err != nil {
		return err
	}
	now := time.Now().UTC()
	if err := c.markRetired(ih, now); err != nil {
		c.giveUp(r.Name)
		return err
	}
	r.RetiredAt = now
	c.install(&r)
	return nil
}

// Revive publishes a retired release again whose tree has come back unchanged,
// without its torrent being made again. It returns ErrUnknown (wrapped) when
// nothing is remembered of such a tree.
func (c *Catalog) Revive(tree watcher.Tree) (Release, error) {
	want := tree.Digest()
	c.mu.RLock()
	var found *Release
	for _, r := range c.past[tree.Name] {
		if r.Digest == want && r.Source == tree.Source {
			found = r
		}
	}
	c.mu.RUnlock()
	if found == nil {
		return Release{}, fmt.Errorf("revive %q: %w", tree.Name, ErrUnknown)
	}
	content, err := c.Content(found.InfoHash)
	if err != nil {
		return Release{}, err
	}
	tree.Files = content.Files
	return c.Put(New{InfoHash: found.InfoHash, PieceLength: found.PieceLength, Private: found.Private, Tree: tree})
}

// Torrent reads a release's .torrent as it is stored: without trackers,
// webseeds and nodes. It returns ErrUnknown (wrapped) for an unknown release.
func (c *Catalog) Torrent(ih infohash.T) ([]byte, error) {
	if _, ok := c.Get(ih); !ok {
		return nil, fmt.Errorf("read the torrent of %v: %w", ih, ErrUnknown)
	}
	b, err := os.ReadFile(c.path(ih, ".torrent"))
	if err != nil {
		return nil, fmt.Errorf("read the torrent of %v: %w", ih, err)
	}
	return b, nil
}

// begin reserves a name for one commit and returns its live release, if any.
// install or giveUp ends the reservation.
func (c *Catalog) begin(name, source string) (*Release, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.byName[name]
	if old != nil && old.Source != source {
		return nil, fmt.Errorf("publish %q from source %q: %w (%q)", name, source, ErrNameTaken, old.Source)
	}
	if c.writing[name] {
		return nil, fmt.Errorf("publish %q: another commit of this name is under way", name)
	}
	c.writing[name] = true
	return old, nil
}

func (c *Catalog) giveUp(name string) {
	c.mu.Lock()
	delete(c.writing, name)
	c.mu.Unlock()
}

// install makes a committed release visible, retires the live one it replaces,
// and frees the name.
func (c *Catalog) install(r *Release) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.writing, r.Name)
	if old := c.byName[r.Name]; old != nil && old.InfoHash != r.InfoHash && r.Live() {
		retired := *old
		retired.RetiredAt = r.CreatedAt
		c.enter(&retired)
		c.note(&retired)
	}
	c.enter(r)
	c.note(r)
	c.newest = nil
	close(c.changed)
	c.changed = make(chan struct{})
}

// enter puts a release into the maps, in place of what is known of it. c.mu is held.
func (c *Catalog) enter(r *Release) {
	past := slices.DeleteFunc(c.past[r.Name], func(p *Release) bool { return p.InfoHash == r.InfoHash })
	if old := c.byName[r.Name]; old != nil && old.InfoHash == r.InfoHash {
		delete(c.byName, r.Name)
	}
	if r.Live() {
		c.byName[r.Name] = r
	} else {
		past = append(past, r)
	}
	if len(past) > 0 {
		c.past[r.Name] = past
	} else {
		delete(c.past, r.Name)
	}
	c.byHash[r.InfoHash] = r
	for _, at := range []time.Time{r.CreatedAt, r.RetiredAt} {
		if at.After(c.modified) {
			c.modified = at
		}
	}
	c.contents.drop(r.InfoHash)
}

// markRetired writes the time of retirement into a release's record.
func (c *Catalog) markRetired(ih infohash.T, at time.Time) error {
	rec, err := readRecord(c.path(ih, ".json"))
	if err != nil {
		return err
	}
	rec.RetiredAt = &at
	return c.writeRecord(ih, rec)
}

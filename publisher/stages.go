package publisher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"time"

	"dropseed/publisher/catalog"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
)

// done is the verdict that nothing more is to be done.
const done Reason = ""

// verdict is what a stage concludes: done, Queued (for hashing), Failed, Refused or Taken.
type verdict struct {
	reason Reason
	err    error                // why it is Failed or Refused
	made   *torrentfile.Torrent // by hashing, whatever failed later
}

// decide is the quick stage: everything for which the source need not be asked.
func (p *Publisher) decide(_ context.Context, w work) verdict {
	if w.gone {
		return p.retire(w)
	}
	src, ok := p.o.Sources[w.source]
	if !ok {
		return verdict{reason: Refused, err: fmt.Errorf("the source %q is not configured", w.source)}
	}
	if r, ok := p.o.Catalog.Latest(w.name); ok {
		switch {
		case r.Source != w.source:
			return verdict{reason: Taken}
		case r.Digest == w.digest:
			return verdict{reason: done}
		}
	}
	if err := torrentfile.Check(w.tree, src.Torrent); err != nil {
		return verdict{reason: Refused, err: err}
	}
	if w.made == nil {
		r, err := p.o.Catalog.Revive(w.tree)
		switch {
		case err == nil:
			p.log.Info("published again", "release", w.name, "source", w.source, "info_hash", r.InfoHash)
			return verdict{reason: done}
		case errors.Is(err, catalog.ErrNameTaken):
			return verdict{reason: Taken}
		case !errors.Is(err, catalog.ErrUnknown):
			return verdict{reason: Failed, err: err}
		}
	}
	return verdict{reason: Queued}
}

// retire takes the release of a tree that is gone out of publication.
func (p *Publisher) retire(w work) verdict {
	r, ok := p.o.Catalog.Latest(w.name)
	if !ok || r.Source != w.source {
		return verdict{reason: done}
	}
	if err := p.o.Catalog.Retire(r.InfoHash); err != nil {
		return verdict{reason: Failed, err: fmt.Errorf("retire %q: %w", w.name, err)}
	}
	p.log.Info("retired", "release", w.name, "source", w.source, "info_hash", r.InfoHash)
	return verdict{reason: done}
}

// retireStrangers retires the releases of sources that are not configured.
func (p *Publisher) retireStrangers() error {
	for _, r := range p.o.Catalog.Live() {
		if _, ok := p.o.Sources[r.Source]; ok {
			continue
		}
		if err := p.o.Catalog.Retire(r.InfoHash); err != nil {
			return fmt.Errorf("retire %q, whose source %q is not configured: %w", r.Name, r.Source, err)
		}
		p.log.Warn("retired, because its source is not configured any more",
			"release", r.Name, "source", r.Source, "info_hash", r.InfoHash)
	}
	return nil
}

// publish is the stage that hashes a tree and commits its release.
func (p *Publisher) publish(ctx context.Context, w work) verdict {
	src := p.o.Sources[w.source]
	made, took := w.made, time.Duration(0)
	if made == nil {
		if w.again {
			if err := unchanged(ctx, src.Lister, w); err != nil {
				return failed(src, w, err) // and has cost no reading
			}
		}
		o := src.Torrent
		o.CreationDate = time.Now()
		o.Workers, o.Turns, o.Progress = runtime.GOMAXPROCS(0), p.lanes[w.source].turns, w.done
		var err error
		made, err = torrentfile.Build(ctx, w.tree, src.Opener, o)
		p.lanes[w.source].counts.hashing(o.CreationDate, err)
		if err != nil {
			return failed(src, w, err)
		}
		took = time.Since(o.CreationDate)
	}
	if err := unchanged(ctx, src.Lister, w); err != nil {
		v := failed(src, w, err)
		v.made = made
		return v
	}
	if err := ctx.Err(); err != nil {
		return verdict{reason: Failed, err: err, made: made}
	}
	tree := w.tree
	tree.Files = made.Files
	_, err := p.o.Catalog.Put(catalog.New{ // the commit point
		InfoHash: made.InfoHash, PieceLength: made.PieceLength, Private: src.Torrent.Private, Tree: tree, Torrent: made.Bytes,
		SHA256: made.SHA256,
	})
	switch {
	case errors.Is(err, catalog.ErrNameTaken):
		return verdict{reason: Taken, made: made}
	case err != nil:
		return verdict{reason: Failed, err: err, made: made}
	}
	p.log.Info("published", "release", w.name, "source", w.source, "info_hash", made.InfoHash,
		"size", made.Size, "files", len(made.Files), "took", took.Round(time.Millisecond), "rate", rate(made.Size, took))
	for _, what := range torrentfile.Warnings(tree) {
		p.log.Warn("not everybody may be able to use this release", "release", w.name, "source", w.source, "why", what)
	}
	return verdict{reason: done}
}

// unchanged lists a tree anew and returns ErrChanged (wrapped) if it is not
// what was reported, or the error of a listing that says nothing.
func unchanged(ctx context.Context, l Lister, w work) error {
	now := watcher.Tree{Name: w.name}
	for f, err := range l.List(ctx, w.name) {
		if _, ok := errors.AsType[*watcher.Problem](err); ok {
			return fmt.Errorf("list %q again: %w: %w", w.name, watcher.ErrChanged, err)
		}
		if err != nil {
			return fmt.Errorf("list %q again: %w", w.name, err)
		}
		now.Files = append(now.Files, f)
	}
	if err := ctx.Err(); err != nil { // a source may have ended early instead of saying so
		return err
	}
	slices.SortFunc(now.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	if now.Digest() != w.digest {
		return fmt.Errorf("list %q again: %w", w.name, watcher.ErrChanged)
	}
	return nil
}

// failed has the tree looked at again if that is what failed. The watcher says
// nothing when it finds what it reported before, as when a file was away for a
// moment; hence it is also tried again.
func failed(src Source, w work, err error) verdict {
	if errors.Is(err, watcher.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		src.Look(w.name)
	}
	return verdict{reason: Failed, err: err}
}

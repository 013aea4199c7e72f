package watcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// sighting is what one listing said about one tree.
type sighting struct {
	digest  Digest // of its files; none if there is a problem
	files   int
	size    int64
	problem *Problem // the first by path
	torn    bool     // other trees were listed in between, so this says no more than that the tree exists
}

func (s sighting) absent() bool { return s.files == 0 && s.problem == nil }

// same reports whether nothing that matters differs. Of a tree with a problem
// only the problem matters.
func (s sighting) same(o sighting) bool {
	if s.absent() && o.absent() {
		return true
	}
	if s.problem == nil || o.problem == nil {
		return s.problem == o.problem && s.digest == o.digest
	}
	return s.problem.Path == o.problem.Path && s.problem.Err.Error() == o.problem.Err.Error()
}

// nameless stands for what is in no tree, and so only ever has a problem.
const nameless = "/"

// gathering collects what a listing yields of one tree.
type gathering struct {
	files   []File
	problem *Problem
}

func (g *gathering) add(f File) {
	if err := CheckPath(f.Path); err != nil {
		g.fail(&Problem{Path: f.Path, Err: err})
		return
	}
	if f.Size < 0 {
		g.fail(&Problem{Path: f.Path, Err: fmt.Errorf("the size is %d", f.Size)})
		return
	}
	g.files = append(g.files, f)
}

// fail keeps the first problem by path, so that two listings of the same
// content agree whatever their order.
func (g *gathering) fail(p *Problem) {
	if g.problem == nil || ComparePaths(p.Path, g.problem.Path) < 0 {
		g.problem = p
	}
}

// finish sorts the files and sums them up.
func (g *gathering) finish() sighting {
	slices.SortFunc(g.files, func(a, b File) int { return ComparePaths(a.Path, b.Path) })
	for i := 1; i < len(g.files); i++ {
		p, q := g.files[i-1].Path, g.files[i].Path
		// In this order whatever is below a path follows it directly.
		if p == q || strings.HasPrefix(q, p+"/") {
			g.fail(&Problem{Path: p, Err: errors.New("two files are listed in one place")})
			break
		}
	}
	s := sighting{files: len(g.files), size: Tree{Files: g.files}.Size(), problem: g.problem}
	if s.problem == nil {
		s.digest = Tree{Files: g.files}.Digest()
	}
	return s
}

// listing calls do for every file and problem that src lists, with the name of
// the tree it belongs to (never empty), until the listing ends. A problem whose
// path begins with a slash belongs to nameless.
func listing(ctx context.Context, src Source, name string, do func(name string, f File, p *Problem)) error {
	for f, err := range src.List(ctx, name) {
		p, ok := errors.AsType[*Problem](err)
		if err != nil && !ok {
			return err
		}
		at := f.Path
		if ok {
			at = p.Path
		}
		tree, _, _ := strings.Cut(at, "/")
		if tree == "" && ok && at != "" {
			tree = nameless
		}
		if tree != "" && (name == "" || name == tree) {
			do(tree, f, p)
		}
	}
	return ctx.Err() // a source may have ended early instead of saying so
}

// listTree lists one tree. The files are sorted.
func listTree(ctx context.Context, src Source, name string) ([]File, sighting, error) {
	var g gathering
	err := listing(ctx, src, name, func(_ string, f File, p *Problem) {
		if p != nil {
			g.fail(p)
		} else {
			g.add(f)
		}
	})
	if err != nil {
		return nil, sighting{}, err
	}
	s := g.finish()
	return g.files, s, nil
}

// listAll lists every tree, and holds the files of one at a time.
func listAll(ctx context.Context, src Source) (map[string]sighting, error) {
	all := make(map[string]sighting)
	var g gathering
	var open string // the tree that g is about
	done := func() {
		if open == "" {
			return
		}
		s := g.finish()
		if _, again := all[open]; again {
			s.torn = true
		}
		all[open] = s
		g = gathering{files: g.files[:0]}
	}
	err := listing(ctx, src, "", func(name string, f File, p *Problem) {
		if name != open {
			done()
			open = name
		}
		if p != nil {
			g.fail(p)
		} else {
			g.add(f)
		}
	})
	if err != nil {
		return nil, err
	}
	done()
	return all, nil
}

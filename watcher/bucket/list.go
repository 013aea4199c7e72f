package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"

	"dropseed/watcher"
)

const (
	maxKey  = 1024 // bytes of a key, by the rules of S3
	maxName = 255  // bytes of a component, by those of most file systems
)

// List implements watcher.Source. It takes the server to list keys in the order
// of their bytes, as S3 does, only where that saves requests.
func (b *Bucket) List(ctx context.Context, name string) iter.Seq2[watcher.File, error] {
	return func(yield func(watcher.File, error) bool) {
		l := &listing{b: b, ctx: ctx, yield: yield}
		var err error
		switch {
		case name == "":
			l.tops, l.twins = make(map[string]string), make(map[string]string)
			if err = l.keys(b.prefix, l.object); err == nil && !l.left {
				b.twins.Store(&l.twins)
			}
		case name == "/":
			err = l.keys(b.prefix+"/", l.object)
		case strings.Contains(name, "/") || len(b.prefix)+len(name) > maxKey:
			err = ctx.Err() // no tree is called that
		default:
			err = l.tree(name)
		}
		if name != "" && impossible(err) {
			err = nil
		}
		if err != nil && !l.left {
			yield(watcher.File{}, fmt.Errorf("list bucket %q: %w", b.name, err))
		}
	}
}

// listing is one listing.
type listing struct {
	b     *Bucket
	ctx   context.Context
	yield func(watcher.File, error) bool
	left  bool // yield has returned false

	name string            // of the tree that was listed last
	twin string            // what other tree's name differs from that by letter case only; "": none
	seen map[string]string // its paths, by their lower case

	tops  map[string]string // in a listing of everything: names of trees, by their lower case
	twins map[string]string // names of trees that differ by letter case from one listed before, and that one
}

// keys calls do for every object whose key begins with prefix, until it returns
// false.
func (l *listing) keys(prefix string, do func(minio.ObjectInfo) bool) error {
	versions, err := l.b.keepsVersions(l.ctx)
	if err != nil {
		return cmp.Or(l.ctx.Err(), l.b.reason(err))
	}
	none := true
	err = l.pages(prefix, versions, func(o minio.ObjectInfo) bool {
		none = false
		return do(o)
	})
	if versions && none && l.b.versions.Load() == nil && denied(err) {
		versions = false
		err = l.pages(prefix, versions, do)
	}
	if err != nil {
		return cmp.Or(l.ctx.Err(), l.b.reason(err))
	}
	l.b.versions.CompareAndSwap(nil, &versions)
	return l.ctx.Err() // the client ends early instead of saying so
}

// pages goes through the pages of a listing. It returns the client's errors.
func (l *listing) pages(prefix string, versions bool, do func(minio.ObjectInfo) bool) error {
	owner, last := false, ""
	for o := range l.b.client.ListObjectsIter(l.ctx, l.b.name, minio.ListObjectsOptions{
		Prefix: prefix, Recursive: true, WithVersions: versions, MaxKeys: l.b.pageSize, FetchOwner: &owner,
	}) {
		switch {
		case o.Err != nil:
			return o.Err
		case versions && (!o.IsLatest || o.IsDeleteMarker || o.Key == last):
			continue // some servers begin a page with what the last one ended with
		case !do(o):
			return nil
		}
		last = o.Key
	}
	return nil
}

// keepsVersions reports whether listings are of versions: whether the server says
// that the bucket keeps any, or has kept some. It is asked until a listing
// succeeds, and then no more, since a Version must not change with the answer: a
// listing that is refused later is an error.
func (b *Bucket) keepsVersions(ctx context.Context) (bool, error) {
	if known := b.versions.Load(); known != nil {
		return *known, nil
	}
	c, err := b.client.GetBucketVersioning(ctx, b.name)
	if denied(err) {
		return false, nil
	}
	return c.Enabled() || c.Suspended(), err
}

// tree lists one tree: the object called name and everything below "name/".
// Where no other tree's name begins with this one's, that is one request a page.
func (l *listing) tree(name string) error {
	key := l.b.prefix + name
	below, aside := false, false
	err := l.keys(validPart(key), func(o minio.ObjectInfo) bool {
		rest, ok := strings.CutPrefix(o.Key, key)
		switch {
		case !ok: // name is not UTF-8, and only its beginning can be asked for
			return true
		case rest == "":
			return l.object(o)
		case rest[0] == '/':
			below = true
			return l.object(o)
		}
		// What continues name by a byte below the slash ("name.txt") stands
		// between the two, and there may be any number of it.
		aside = rest[0] < '/'
		return !utf8.ValidString(key)
	})
	if err == nil && aside && !below && !l.left && utf8.ValidString(key) {
		err = l.keys(key+"/", l.object)
	}
	return err
}

// validPart returns the beginning of s that is UTF-8, which alone can be asked for.
func validPart(s string) string {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return s[:i]
		}
	}
	return s
}

// object lists one object. It returns false when the listing is over.
func (l *listing) object(o minio.ObjectInfo) bool {
	path, ok := strings.CutPrefix(o.Key, l.b.prefix)
	if !ok || path == "" || l.b.leftOut(path) {
		return true
	}
	if strings.HasSuffix(path, "/") && o.Size == 0 {
		return true // what web consoles make for a "folder"
	}
	if err := l.check(path, o); err != nil {
		l.left = !l.yield(watcher.File{}, &watcher.Problem{Path: path, Err: err})
	} else {
		l.left = !l.yield(watcher.File{
			Path: path, Size: o.Size, ModTime: o.LastModified, Version: versionOf(o).String(),
		}, nil)
	}
	return !l.left
}

// check returns why an object cannot be published.
func (l *listing) check(path string, o minio.ObjectInfo) error {
	if err := checkPath(path); err != nil {
		return err
	}
	switch {
	case !usableETag(o.ETag):
		return fmt.Errorf("the server gives it no ETag to ask for (%q)", o.ETag)
	case o.StorageClass == "GLACIER" || o.StorageClass == "DEEP_ARCHIVE":
		return fmt.Errorf("it is archived (storage class %s) and cannot be read; copy it to another class", o.StorageClass)
	}
	other, ok := l.collides(path)
	if l.twin != "" {
		return fmt.Errorf("its name differs from that of %q by letter case only, which many downloaders cannot store side by side", l.twin)
	}
	if ok {
		return fmt.Errorf("it differs from %q by letter case only, which many downloaders cannot store side by side", other)
	}
	return nil
}

// collides returns the path in the same tree that a file system that ignores
// letter case takes for this one. Where a server lists a tree in pieces,
// collisions between pieces go unnoticed.
func (l *listing) collides(path string) (other string, ok bool) {
	name, _, nested := strings.Cut(path, "/")
	if name != l.name || l.seen == nil {
		if name != l.name {
			l.twin = l.twinOf(name)
		}
		l.name, l.seen = name, nil
		if !nested {
			return "", false // most likely the only one
		}
		l.seen = make(map[string]string)
	}
	low := strings.ToLower(path)
	if other, ok = l.seen[low]; !ok {
		l.seen[low] = path
	}
	return other, ok
}

// twinOf returns the name of a tree listed before from which this one's differs by
// letter case only, or "". A listing of one tree goes by the last of everything.
func (l *listing) twinOf(name string) string {
	if l.tops == nil {
		if last := l.b.twins.Load(); last != nil {
			return (*last)[name]
		}
		return ""
	}
	low := strings.ToLower(name)
	if other, ok := l.tops[low]; ok && other != name {
		l.twins[name] = other
		return other
	}
	l.tops[low] = name
	return ""
}

// checkPath returns why a path cannot be that of a file, or nil.
func checkPath(path string) error {
	if strings.HasSuffix(path, "/") {
		return errors.New("the key of an object with content ends in a slash")
	}
	if err := watcher.CheckPath(path); err != nil {
		return err
	}
	for name := range strings.SplitSeq(path, "/") {
		if len(name) > maxName {
			return fmt.Errorf("the name %.20q… is longer than %d bytes", name, maxName)
		}
	}
	return nil
}

// leftOut reports whether a path is ignored. That it has components that no path
// may have ("." and "..", which look hidden, and empty ones) is for others to say.
func (b *Bucket) leftOut(path string) bool {
	if watcher.CheckPath(path) == nil {
		return b.ignore.Match(path)
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." && name != ".." {
			names = append(names, name)
		}
	}
	return b.ignore.Match(strings.Join(names, "/"))
}

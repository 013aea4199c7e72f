package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"dropseed/watcher"
)

const (
	resumes     = 3                      // requests more that a read makes for what broken-off answers lack
	resumeAfter = 100 * time.Millisecond // and longer each time
)

// version identifies the content of an object.
type version struct {
	etag string // without quotes
	size int64
	id   string // in buckets that keep versions, else ""
}

// versionOf returns the version of an object that was listed or asked for.
func versionOf(o minio.ObjectInfo) version {
	v := version{o.ETag, o.Size, o.VersionID}
	if v.id == "null" { // of what was written while the bucket kept none
		v.id = ""
	}
	return v
}

// String returns the version as a watcher.File's: "etag.size" or "etag.size id".
func (v version) String() string {
	s := v.etag + "." + strconv.FormatInt(v.size, 36)
	if v.id != "" {
		s += " " + v.id
	}
	return s
}

func parseVersion(s string) (version, bool) {
	s, id, _ := strings.Cut(s, " ")
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return version{}, false
	}
	size, err := strconv.ParseInt(s[i+1:], 36, 64)
	return version{s[:i], size, id}, err == nil && usableETag(s[:i])
}

// is reports whether content that a server gives is this version. Where none was
// listed, its id says nothing.
func (v version) is(given version) bool {
	return v.etag == given.etag && (v.id == "" || v.id == given.id)
}

// usableETag reports whether an ETag can be asked for: a weak one (W/"…") never
// matches.
func usableETag(etag string) bool {
	for i := range len(etag) {
		if c := etag[i]; c <= ' ' || c == '"' || c >= 0x7f {
			return false
		}
	}
	return etag != ""
}

// Open implements watcher.Opener. It makes one request, a HEAD.
func (b *Bucket) Open(ctx context.Context, f watcher.File) (watcher.Object, error) {
	o, err := b.open(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", f.Path, err)
	}
	return o, nil
}

func (b *Bucket) open(ctx context.Context, f watcher.File) (*object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if checkPath(f.Path) != nil || b.ignore.Match(f.Path) || len(b.prefix)+len(f.Path) > maxKey {
		return nil, fs.ErrNotExist // never listed
	}
	v, ok := parseVersion(f.Version)
	if !ok || v.size != f.Size {
		return nil, watcher.ErrChanged
	}
	var opts minio.StatObjectOptions
	if err := opts.SetMatchETag(v.etag); err != nil {
		return nil, err
	}
	info, err := b.client.StatObject(ctx, b.name, b.prefix+f.Path, opts)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case missing(err):
		return nil, fs.ErrNotExist
	case differs(err):
		return nil, watcher.ErrChanged
	case err != nil:
		return nil, b.reason(err)
	case info.ETag == "":
		return nil, errNoETag
	case !v.is(versionOf(info)) || info.Size != v.size:
		return nil, watcher.ErrChanged // the server does not know If-Match, or it is another version with the same ETag
	}
	o := &object{b: b, path: f.Path, version: v, versionID: info.VersionID}
	o.ctx, o.cancel = context.WithCancel(context.Background()) // reads may outlive what it was opened for
	return o, nil
}

// object is an object of the bucket, of which nothing is held but its name.
type object struct {
	b       *Bucket
	path    string
	version version
	ctx     context.Context // ends when the object is closed
	cancel  func()
	changed atomic.Bool // a read has found that

	versionID string // of the object, in buckets that keep versions
}

// Check returns what the last read has learned, since every read is checked by
// the server itself.
func (o *object) Check() error {
	switch {
	case o.changed.Load():
		return watcher.ErrChanged
	case o.ctx.Err() != nil:
		return fs.ErrClosed
	}
	return nil
}

// Close ends the reads that are under way. It may be called twice.
func (o *object) Close() error {
	o.cancel()
	return nil
}

// ReadAt reads with one request, and a few more for the rest if the answer
// breaks off.
func (o *object) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read %q at %d: negative offset", o.path, off)
	}
	if err := o.Check(); err != nil {
		return 0, fmt.Errorf("read %q: %w", o.path, err)
	}
	if off >= o.version.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), o.version.size-off)]
	for try := 1; n < len(want); try++ {
		m, broken, err := o.get(want[n:], off+int64(n))
		n += m
		if err == nil {
			continue
		}
		if errors.Is(err, watcher.ErrChanged) {
			o.changed.Store(true)
		}
		if !broken || try > resumes || !o.pause(time.Duration(try)*resumeAfter) {
			return n, fmt.Errorf("read %d bytes of %q at %d: %w", len(want), o.path, off, err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// pause returns false if the object was closed meanwhile.
func (o *object) pause(d time.Duration) bool {
	select {
	case <-o.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// get fills p with one request. An answer that is broken off may be resumed; one
// that has stopped has been waited for long enough.
func (o *object) get(p []byte, off int64) (n int, broken bool, err error) {
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	last := off + int64(len(p)) - 1
	var opts minio.GetObjectOptions
	if err := errors.Join(opts.SetMatchETag(o.version.etag), opts.SetRange(off, last)); err != nil {
		return 0, false, err
	}
	core := minio.Core{Client: o.b.client} // Client.GetObject would make requests of its own
	body, info, header, err := core.GetObject(ctx, o.b.name, o.b.prefix+o.path, opts)
	if err != nil {
		return 0, false, o.refused(err)
	}
	defer body.Close()
	if err := o.suits(info, header, off, last); err != nil {
		return 0, false, err
	}
	n, err = io.ReadFull(body, p)
	if err == nil {
		err = ended(body)
	}
	switch {
	case o.ctx.Err() != nil && err != nil:
		return n, false, fs.ErrClosed
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case err == errLong:
		return 0, false, err
	}
	return n, err != nil && err != errQuiet, err
}

// refused says what an answer without content means.
func (o *object) refused(err error) error {
	switch {
	case o.ctx.Err() != nil:
		return fs.ErrClosed
	case missing(err), differs(err):
		return watcher.ErrChanged
	}
	return o.b.reason(err)
}

// suits returns an error unless an answer is what was asked for, whatever stands
// between here and the server.
func (o *object) suits(info minio.ObjectInfo, header http.Header, off, last int64) error {
	switch {
	case info.ETag == "":
		return errNoETag
	case !o.version.is(versionOf(info)):
		return watcher.ErrChanged
	}
	got, want := header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", off, last, o.version.size)
	length := last - off + 1
	switch {
	case got == "" && length == o.version.size: // a whole object needs no range
	case got == "":
		return errors.New("the server sends the whole object instead of a range of it")
	case got != want:
		if !strings.HasSuffix(got, want[strings.IndexByte(want, '/'):]) {
			return watcher.ErrChanged
		}
		return fmt.Errorf("the server sends another range (%.60q) than it was asked for (%q)", got, want)
	}
	if info.Size >= 0 && info.Size != length {
		return fmt.Errorf("the server sends %d bytes in place of %d", info.Size, length)
	}
	return nil
}

var (
	errLong   = errors.New("the server sends more bytes than it was asked for")
	errNoETag = errors.New("the server's answer has no ETag")
)

// ended reads the end of an answer, without which its connection is not used again.
func ended(body io.Reader) error {
	var b [1]byte
	switch n, err := body.Read(b[:]); {
	case n > 0:
		return errLong
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

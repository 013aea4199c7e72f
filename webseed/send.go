package webseed

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"dropseed/watcher"
)

// Content is sent in chunks. Before each one it is checked that the content is
// still what was hashed, and a client that does not take a chunk within
// chunkTime is cut: that is 9 KB a second.
const (
	chunkSize = 2 << 20 // bytes
	chunkTime = 4 * time.Minute
)

// maxRanges bounds the parts of a multipart answer, each of which has a header.
const maxRanges = 16

// body is a file's content as http.ServeContent wants it. Seek only notes where
// to go, since ServeContent seeks three times before it reads.
type body struct {
	from      io.ReadSeeker
	size      int64
	pos, want int64 // where from stands, and where it should
}

// newBody returns the first size bytes of an Object.
func newBody(obj watcher.Object, size int64) *body {
	if l, ok := obj.(watcher.Local); ok {
		return &body{from: l.OSFile(), size: size}
	}
	return &body{from: io.NewSectionReader(obj, 0, size), size: size}
}

// Seek takes the end to be where it was when the content was hashed, which is
// also where it was when it was opened.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.want
	case io.SeekEnd:
		offset += b.size
	}
	b.want = offset
	return offset, nil
}

// settle puts the content where Seek said, before it is read.
func (b *body) settle() error {
	if b.pos == b.want {
		return nil
	}
	b.pos = b.want
	_, err := b.from.Seek(b.want, io.SeekStart)
	return err
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.settle(); err != nil {
		return 0, err
	}
	n, err := b.from.Read(p)
	b.pos += int64(n)
	b.want = b.pos
	return n, err
}

// sender is the ResponseWriter that http.ServeContent copies a body into. Its
// ReadFrom hands the connection the file itself, chunk by chunk, so that the
// kernel sends it (sendfile); nothing else may stand between the two.
type sender struct {
	http.ResponseWriter
	control *http.ResponseController
	check   func() error // ErrChanged once the content is not what was hashed
	// next waits until something may be sent, and returns how many bytes of the most that are wanted.
	next func(most int64) (int64, error)
	sent func(n int64)
	err  error // what ended the answer early
}

// ReadFrom is called once, by io.CopyN. Only multipart answers come from
// something other than a body.
func (s *sender) ReadFrom(src io.Reader) (total int64, err error) {
	defer func() { s.err = err }()
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return 0, fmt.Errorf("send a %T: %w", src, errors.ErrUnsupported) // not from io.CopyN
	}
	send := s.copyChunk
	from := limited.R
	if b, ok := from.(*body); ok {
		if err := b.settle(); err != nil {
			return 0, err
		}
		from = b.from
		if _, ok := from.(*os.File); ok {
			send = s.sendChunk
			_ = s.control.Flush() // else net/http reads the first 512 bytes itself
		}
	}
	for total < limited.N {
		part, err := s.next(limited.N - total)
		if err != nil {
			return total, err
		}
		if total > 0 { // at first it has just been opened
			if err := s.check(); err != nil {
				return total, err
			}
		}
		s.extendDeadline()
		n, err := send(from, part)
		total += n
		s.sent(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// extendDeadline gives the client the time for one more chunk.
func (s *sender) extendDeadline() {
	// Where there is no deadline (a recorder in a test), there is no slow client.
	_ = s.control.SetWriteDeadline(time.Now().Add(chunkTime))
}

// sendChunk lets the kernel send n bytes of a file.
func (s *sender) sendChunk(from io.Reader, n int64) (int64, error) {
	n, err := io.CopyN(s.ResponseWriter, from, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// buffers are for content that is not a file.
var buffers = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// copyChunk sends n bytes through a buffer.
func (s *sender) copyChunk(from io.Reader, n int64) (sent int64, err error) {
	buf := buffers.Get().(*[128 << 10]byte)
	defer buffers.Put(buf)
	for sent < n && err == nil {
		part := buf[:min(n-sent, int64(len(buf)))]
		if _, err = io.ReadFull(from, part); err != nil {
			return sent, err
		}
		var written int
		written, err = s.ResponseWriter.Write(part)
		sent += int64(written)
	}
	return sent, err
}

// tameRange removes a Range that must not be obeyed: one in other units than
// bytes, which RFC 9110 says to ignore, and one of very many parts.
func tameRange(h http.Header) {
	r := h.Get("Range")
	if !strings.HasPrefix(r, "bytes=") || strings.Count(r, ",") >= maxRanges {
		h.Del("Range")
	}
}

// shown are the kinds of files that a browser may show: none of them can
// script, link or load anything in the name of this site.
var shown = map[string]string{
	".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8", ".log": "text/plain; charset=utf-8",
	".nfo": "text/plain; charset=utf-8", ".csv": "text/plain; charset=utf-8", ".json": "text/plain; charset=utf-8",
	".asc": "text/plain; charset=utf-8", ".md5": "text/plain; charset=utf-8", ".sha1": "text/plain; charset=utf-8",
	".sha256": "text/plain; charset=utf-8", ".sha512": "text/plain; charset=utf-8",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".avif": "image/avif",
	".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac", ".wav": "audio/wav",
	".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mkv": "video/x-matroska",
}

// setFileType sets the headers that tell a browser what to do with a file:
// show it if that is safe, else save it under its name.
func setFileType(h http.Header, file string) {
	name := path.Base(file)
	if ctype, ok := shown[strings.ToLower(path.Ext(name))]; ok {
		h.Set("Content-Type", ctype)
		return
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Usage is what was asked of a server. Requests that were made again count each
// time, as they do on the bill.
type Usage struct {
	Lists, Heads, Gets int64 // pages of listings, checks, and ranges of content
	Others             int64 // where the bucket is, whether it keeps versions, notifications, credentials of the machine's role
	Failures           int64 // of all these, those without an answer, or with a status of 500 or more
	Bytes              int64 // of content
}

// errQuiet is why a request was given up.
var errQuiet = errors.New("nothing came for a long time")

// meter is an http.RoundTripper that counts, and gives up requests about which
// the server has been quiet for too long.
type meter struct {
	base  http.RoundTripper
	quiet time.Duration

	lists, heads, gets, others, failures, bytes atomic.Int64
}

func (m *meter) usage() Usage {
	return Usage{
		Lists: m.lists.Load(), Heads: m.heads.Load(), Gets: m.gets.Load(), Others: m.others.Load(),
		Failures: m.failures.Load(), Bytes: m.bytes.Load(),
	}
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	content := new(atomic.Int64) // counted for nobody
	switch {
	case r.Method == http.MethodHead:
		m.heads.Add(1)
	case strings.Contains(r.URL.RawQuery, "list-type=2"), r.URL.Query().Has("versions"):
		m.lists.Add(1)
	case r.Header.Get("If-Match") != "":
		m.gets.Add(1)
		content = &m.bytes
	default:
		m.others.Add(1)
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(m.quiet, func() { cancel(errQuiet) })
	resp, err := m.base.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if context.Cause(ctx) == errQuiet {
			err = errQuiet
		}
		cancel(nil)
		m.failures.Add(1)
		return nil, err
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		m.failures.Add(1)
	}
	resp.Body = &metered{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, quiet: m.quiet, count: content}
	return resp, nil
}

// metered is the body of an answer. The time counts while it is read, not while
// its reader does something else.
type metered struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	quiet  time.Duration
	count  *atomic.Int64
}

func (b *metered) Read(p []byte) (int, error) {
	b.timer.Reset(b.quiet)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.count.Add(int64(n))
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errQuiet {
		err = errQuiet
	}
	return n, err
}

func (b *metered) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

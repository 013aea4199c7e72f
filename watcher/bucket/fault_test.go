package bucket

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dropseed/watcher"
)

// slowDown answers as S3 does when it is asked too much.
func slowDown(w http.ResponseWriter) {
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
}

// isContent reports whether a request is for content.
func isContent(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Range") != ""
}

func TestSlowDownIsAskedAgainLaterAndNotForEver(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	var refuse, refused atomic.Int64
	o := s.options()
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if refuse.Add(-1) >= 0 {
			refused.Add(1)
			slowDown(w)
			return
		}
		pass.ServeHTTP(w, r)
	})
	b := newBucket(t, o)
	obj := open(t, b, s, "f", []byte("0123456789"))
	buf := make([]byte, 10)
	refuse.Store(2)
	if n, err := obj.ReadAt(buf, 0); n != 10 || string(buf) != "0123456789" {
		t.Errorf("ReadAt after two refusals = %d %q, %v", n, buf[:n], err)
	}
	refuse.Store(1)
	wantPaths(t, b, "", "f")
	refuse.Store(1000)
	refused.Store(0)
	_, err := obj.ReadAt(buf, 0)
	if err == nil || errors.Is(err, watcher.ErrChanged) || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("ReadAt that is always refused: %v", err)
	}
	if n := refused.Load(); n != attempts {
		t.Errorf("%d attempts, want %d", n, attempts)
	}
	if f := b.Usage().Failures; f != attempts+3 {
		t.Errorf("%d failures are counted, want %d", f, attempts+3)
	}
	refuse.Store(0)
	if err := obj.Check(); err != nil {
		t.Errorf("Check says %v", err)
	}
}

// cut passes an answer's header on, and of its body the first n bytes.
func cut(w http.ResponseWriter, r *http.Request, pass http.Handler, n int) {
	rec := httptest.NewRecorder()
	pass.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestTruncatedAnswersAreResumedOrErrors(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	var cuts, keep atomic.Int64
	o := s.options()
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if isContent(r) && cuts.Add(-1) >= 0 {
			cut(w, r, pass, int(keep.Load()))
			return
		}
		pass.ServeHTTP(w, r)
	})
	b := newBucket(t, o)
	data := pattern(300_000)
	obj := open(t, b, s, "f", data)
	buf := make([]byte, 200_000)
	for _, n := range []int64{0, 1, 70_000} {
		keep.Store(n)
		cuts.Store(resumes)
		clear(buf)
		if m, err := obj.ReadAt(buf, 50_000); m != len(buf) || err != nil || !bytes.Equal(buf, data[50_000:250_000]) {
			t.Errorf("cut after %d bytes, %d times: ReadAt = %d, %v, or wrong bytes", n, resumes, m, err)
		}
	}
	keep.Store(1000)
	cuts.Store(1000)
	m, err := obj.ReadAt(buf, 50_000)
	if err == nil || err == io.EOF || errors.Is(err, watcher.ErrChanged) {
		t.Errorf("an answer that is always cut: %d, %v", m, err)
	}
	if !bytes.Equal(buf[:m], data[50_000:50_000+m]) {
		t.Errorf("the %d bytes of an answer that is always cut are wrong", m)
	}
	cuts.Store(0)
	if m, err := obj.ReadAt(buf, 50_000); m != len(buf) || err != nil {
		t.Errorf("after the fault, ReadAt = %d, %v", m, err)
	}
}

func TestTruncatedListingsAreErrors(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	must(t, s.Write("f", []byte("x")))
	o := s.options()
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) { cut(w, r, pass, 300) })
	if err := listErr(t, newBucket(t, o)); err == nil {
		t.Error("a listing that is cut ends without an error")
	}
}

func TestSlowAnswersAreWaitedForAndSilentOnesAreNot(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	const quiet = 300 * time.Millisecond
	var how atomic.Value
	how.Store("")
	over := make(chan struct{})
	o := s.options()
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if !isContent(r) {
			pass.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		pass.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		if how.Load() == "no header" {
			<-over
			return
		}
		w.WriteHeader(rec.Code)
		for i := range rec.Body.Bytes() {
			if how.Load() == "no more" && i == 5 {
				<-over
				return
			}
			w.Write(rec.Body.Bytes()[i : i+1])
			w.(http.Flusher).Flush()
			time.Sleep(quiet / 6)
		}
	})
	t.Cleanup(func() { close(over) }) // before the proxy is closed, which waits
	b := newBucket(t, o)
	b.meter.quiet = quiet
	obj := open(t, b, s, "f", []byte("0123456789"))
	buf := make([]byte, 10)
	if n, err := obj.ReadAt(buf, 0); n != 10 || string(buf) != "0123456789" { // takes longer than quiet
		t.Errorf("ReadAt of a slow answer = %d, %v", n, err)
	}
	for _, fault := range []string{"no header", "no more"} {
		how.Store(fault)
		start := time.Now()
		n, err := obj.ReadAt(buf, 0)
		if !errors.Is(err, errQuiet) || errors.Is(err, watcher.ErrChanged) {
			t.Errorf("%s: ReadAt = %d, %v", fault, n, err)
		}
		if took := time.Since(start); took > attempts*(quiet+time.Second)+time.Second {
			t.Errorf("%s: ReadAt took %v", fault, took)
		}
	}
	ended := make(chan error, 1)
	go func() { _, err := obj.ReadAt(buf, 0); ended <- err }()
	time.Sleep(quiet / 4)
	obj.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a read that Close has ended does not fail")
		}
	case <-time.After(quiet / 2):
		t.Error("Close does not end the reads that are under way")
	}
}

// What stands between here and the server may forget headers, or answer from a
// cache.
func TestOtherAnswersThanAskedForAreErrors(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	var change atomic.Pointer[func(h http.Header)]
	o := s.options()
	pass := passOn(s)
	pass.ModifyResponse = func(r *http.Response) error {
		if f := change.Load(); f != nil && isContent(r.Request) {
			(*f)(r.Header)
		}
		return nil
	}
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, _ http.Handler) { pass.ServeHTTP(w, r) })
	b := newBucket(t, o)
	must(t, s.Write("f", []byte("0123456789")))
	files, _ := list(t, b, "")
	for _, row := range []struct {
		name    string
		do      func(http.Header)
		changed bool
	}{
		{"no range", func(h http.Header) { h.Del("Content-Range") }, false},
		{"another range", func(h http.Header) { h.Set("Content-Range", "bytes 3-6/10") }, false},
		{"another size", func(h http.Header) { h.Set("Content-Range", "bytes 2-5/11") }, true},
		{"another ETag", func(h http.Header) { h.Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`) }, true},
		{"no ETag", func(h http.Header) { h.Del("ETag") }, false},
	} {
		obj, err := b.Open(t.Context(), files["f"])
		must(t, err)
		change.Store(&row.do)
		n, err := obj.ReadAt(make([]byte, 4), 2)
		if err == nil || errors.Is(err, watcher.ErrChanged) != row.changed {
			t.Errorf("%s: ReadAt = %d, %v", row.name, n, err)
		}
		if errors.Is(obj.Check(), watcher.ErrChanged) != row.changed {
			t.Errorf("%s: Check = %v", row.name, obj.Check())
		}
		change.Store(nil)
		obj.Close()
	}
}

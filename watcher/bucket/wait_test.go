package bucket

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// waits calls Wait until it has hinted at n trees, or for a while.
func waits(t testing.TB, b *Bucket, n int) (names []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for len(names) < n {
		name, err := b.Wait(ctx)
		if err != nil {
			t.Fatalf("Wait: %v after hints at %q", err, names)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestNotifyIsAHintAtTheTree(t *testing.T) {
	t.Parallel()
	b := newBucket(t, Options{Endpoint: "http://" + freeAddr(), Region: region, Bucket: "isos", Anonymous: true})
	b.Notify("d/e/f")
	b.Notify("d")
	b.Notify("g.iso")
	if names := waits(t, b, 2); !slices.Equal(names, []string{"d", "g.iso"}) {
		t.Errorf("hints at %q", names)
	}
	hinted := make(chan string)
	go func() { name, _ := b.Wait(t.Context()); hinted <- name }()
	time.Sleep(20 * time.Millisecond)
	b.Notify("later")
	select {
	case name := <-hinted:
		if name != "later" {
			t.Errorf("a hint at %q while Wait waits", name)
		}
	case <-time.After(3 * time.Second):
		t.Fatal("Notify does not wake Wait")
	}
	for i := range maxHints + 1 {
		b.Notify(fmt.Sprint(i))
	}
	if names := waits(t, b, 1); names[0] != "" {
		t.Errorf("after too many hints to keep, a hint at %q", names[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if name, err := b.Wait(ctx); err == nil {
		t.Errorf("one more hint at %q", name)
	}
}

func TestServerWithoutNotificationsIsAskedOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	must(t, s.Write("d/f", []byte("x"))) // versitygw answers with a listing
	var log logBuffer
	o := s.options()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	b := newBucket(t, o)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if name, err := b.Wait(ctx); err == nil || ctx.Err() == nil {
			t.Errorf("Wait = %q, %v before its context ends", name, err)
		}
		cancel()
	}
	if u := b.Usage(); u.Others != 1 {
		t.Errorf("%d requests, want 1", u.Others)
	}
	if n := strings.Count(log.String(), "no notifications"); n != 1 {
		t.Errorf("logged %d times: %s", n, log.String())
	}
	b.Notify("d")
	waits(t, b, 1)
}

// listenServer answers as MinIO does to who listens, with the events that are sent to it.
func listenServer(t testing.TB, events chan string) (endpoint string, streams *atomic.Int64) {
	streams = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("ping") == "" || len(q["events"]) != 2 || q.Get("prefix") != "pub/" {
			w.WriteHeader(http.StatusNotImplemented)
			return
		}
		streams.Add(1)
		w.WriteHeader(http.StatusOK)
		fmt.Fprintln(w, `{"Records":null}`)
		for {
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case line := <-events:
				if line == "" {
					panic(http.ErrAbortHandler)
				}
				fmt.Fprintln(w, line)
			case <-time.After(50 * time.Millisecond):
				fmt.Fprintln(w, `{"Records":null}`)
			}
		}
	}))
	t.Cleanup(s.CloseClientConnections) // the handlers then end
	t.Cleanup(func() { go s.Close() })
	return s.URL, streams
}

func event(keys ...string) string {
	var records []string
	for _, k := range keys {
		records = append(records, fmt.Sprintf(`{"eventName":"s3:ObjectCreated:Put","s3":{"object":{"key":%q}}}`, k))
	}
	return `{"EventName":"s3:ObjectCreated:Put","Key":"x","Records":[` + strings.Join(records, ",") + `]}`
}

func TestNotificationsOfTheServerAreHints(t *testing.T) {
	t.Parallel()
	events := make(chan string)
	endpoint, streams := listenServer(t, events)
	b := newBucket(t, Options{Endpoint: endpoint, Region: region, Bucket: "isos", Prefix: "pub", Anonymous: true})
	b.meter.quiet = 500 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	hints := make(chan string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			name, err := b.Wait(ctx)
			if err != nil {
				return
			}
			select {
			case hints <- name:
			case <-ctx.Done():
			}
		}
	}()
	want := func(names ...string) {
		t.Helper()
		var got []string
		for range names {
			select {
			case name := <-hints:
				got = append(got, name)
			case <-time.After(5 * time.Second):
				t.Fatalf("hints at %q, want %q", got, names)
			}
		}
		if slices.Sort(got); !slices.Equal(got, names) {
			t.Errorf("hints at %q, want %q", got, names)
		}
	}
	events <- event("pub%2Fd%2Fa+b.iso", "pub%2Fd%2Fc")
	want("d")
	events <- event("pub%2Fa+b%2Bc.iso", "other%2Fx", "pub%2F.hidden", "pub%2Fz")
	want("a b+c.iso", "z")
	if n := streams.Load(); n != 1 {
		t.Errorf("%d streams for several Waits, want 1", n)
	}
	events <- "" // the connection breaks
	events <- event("pub%2Fagain")
	want("again")
	if n := streams.Load(); n != 2 {
		t.Errorf("%d streams after the connection broke once, want 2", n)
	}
	cancel()
	<-ended
	// Whoever waits next listens anew.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 1)
	go func() { name, _ := b.Wait(ctx); got <- name }()
	late := time.After(5 * time.Second)
	for {
		select {
		case events <- event("pub%2Fthird"): // the first may go to the stream that has ended
			time.Sleep(20 * time.Millisecond)
		case name := <-got:
			if name != "third" {
				t.Errorf("a hint at %q", name)
			}
			return
		case <-late:
			t.Fatal("no hint after the first Wait's context has ended")
		}
	}
}

func TestServerThatIsDownIsListenedToLater(t *testing.T) {
	t.Parallel()
	var log logBuffer
	b := newBucket(t, Options{
		Endpoint: "http://" + freeAddr(), Region: region, Bucket: "isos", Anonymous: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	go func() {
		for !strings.Contains(log.String(), "for now") && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(minBackoff / 4)
		cancel()
	}()
	if name, err := b.Wait(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("Wait = %q, %v", name, err)
	}
	if b.deaf || b.retry == nil || !strings.Contains(log.String(), "refused") {
		t.Errorf("a server that is down is taken for one without notifications; log: %s", log.String())
	}
}

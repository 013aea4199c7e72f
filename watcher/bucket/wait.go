package bucket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	minBackoff = time.Second     // before listening again after a failure; doubles
	maxBackoff = 5 * time.Minute // ... up to this
	maxHints   = 10_000          // names waiting for a Wait; beyond that, all are to be looked at
)

// listened are the notifications that are asked for.
var listened = []string{"s3:ObjectCreated:*", "s3:ObjectRemoved:*"}

// hints are names of trees that may have changed.
type hints struct {
	some chan struct{} // holds a token while there may be any

	mu    sync.Mutex // guards the fields below
	names map[string]struct{}
	all   bool
}

func (h *hints) add(name string) {
	h.mu.Lock()
	if name == "" || len(h.names) >= maxHints {
		h.all = true
		clear(h.names)
	}
	if !h.all {
		h.names[name] = struct{}{}
	}
	h.mu.Unlock()
	select {
	case h.some <- struct{}{}:
	default:
	}
}

func (h *hints) take() (name string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all {
		h.all = false
		return "", true
	}
	for name := range h.names {
		delete(h.names, name)
		return name, true
	}
	return "", false
}

// Notify gives a hint that the tree called name, or any for "", may have
// changed. A path stands for the tree it is in. It does not block.
func (b *Bucket) Notify(name string) {
	name, _, _ = strings.Cut(name, "/")
	b.hints.add(name)
}

// Wait implements watcher.Source. It returns what Notify was told and what the
// server notifies where it can (MinIO's ListenBucketNotification). A server that
// cannot is asked once. Notifications that are missed while the connection is
// down are not made up for: listings find what changed.
func (b *Bucket) Wait(ctx context.Context) (string, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if name, ok := b.hints.take(); ok {
			return name, nil
		}
		b.listen(ctx)
		select {
		case <-ctx.Done():
		case <-b.hints.some:
		case <-b.retry:
			b.retry = nil
		case info, open := <-b.events:
			if !open || errors.Is(info.Err, context.Canceled) { // that of the Wait that began to listen
				b.unlisten()
				continue
			}
			for _, e := range info.Records {
				b.changed(unescape(e.S3.Object.Key))
			}
			if info.Err != nil {
				b.notListening(info.Err)
			} else {
				b.backoff = 0
			}
		}
	}
}

// listen asks the server for notifications, unless that is under way, would be
// in vain or has to wait. It goes on beyond this Wait, until ctx ends. b.turn is held.
func (b *Bucket) listen(ctx context.Context) {
	if b.deaf || b.events != nil || b.retry != nil {
		return
	}
	ctx, b.stop = context.WithCancel(ctx)
	b.since = time.Now()
	b.events = b.client.ListenBucketNotification(ctx, b.name, b.prefix, "", listened)
}

func (b *Bucket) unlisten() {
	b.stop()
	b.events = nil
}

// notListening decides what follows from a failure to listen. b.turn is held.
func (b *Bucket) notListening(err error) {
	b.unlisten()
	if !passing(err) {
		b.deaf = true
		b.log.Info("the server gives no notifications of this kind; changes are found by listings")
		return
	}
	b.told.Do(func() {
		b.log.Info("the server's notifications cannot be had for now; changes are found by listings",
			"err", b.reason(err))
	})
	if time.Since(b.since) > maxBackoff {
		b.backoff = 0 // it has worked for a good while
	}
	b.backoff = min(max(2*b.backoff, minBackoff), maxBackoff)
	b.retry = time.After(b.backoff)
}

// passing reports whether listening may succeed later. Servers that do not know
// of it refuse it, or take it for something else and answer what is no event.
func passing(err error) bool {
	if r, ok := errors.AsType[minio.ErrorResponse](err); ok {
		switch r.StatusCode {
		case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			return false
		}
		return true
	}
	_, request := errors.AsType[*url.Error](err)
	_, network := errors.AsType[net.Error](err)
	return request || network || errors.Is(err, errQuiet) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, errNoCredentials)
}

// changed takes a hint from the key of an object that has changed.
func (b *Bucket) changed(key string) {
	if path, ok := strings.CutPrefix(key, b.prefix); ok && path != "" && !b.leftOut(path) {
		b.Notify(path)
	}
}

// unescape returns a key as it is, of which notifications hold an escaped form.
func unescape(key string) string {
	if plain, err := url.QueryUnescape(key); err == nil {
		return plain
	}
	return key
}

package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"dropseed/watcher"
)

// LinkMost is the longest that a link of Link can be used: what the servers allow.
const LinkMost = 7 * 24 * time.Hour

// Link returns a URL at which the server itself gives out a file, to anybody, for
// LinkMost or as long as the credentials last that it is signed with. method is
// GET or HEAD, and the URL is good for no other. It makes one request, which
// checks that the content still is f.Version, and returns the errors of Open. In
// a bucket that keeps versions the URL is that version's; elsewhere it may give
// other bytes once the object is overwritten.
func (b *Bucket) Link(ctx context.Context, method string, f watcher.File) (string, error) {
	link, err := b.link(ctx, method, f)
	if err != nil {
		return "", fmt.Errorf("link %q: %w", f.Path, err)
	}
	return link, nil
}

func (b *Bucket) link(ctx context.Context, method string, f watcher.File) (string, error) {
	if method != http.MethodGet && method != http.MethodHead {
		return "", fmt.Errorf("no links for the method %s", method)
	}
	if b.anonymous {
		return "", errors.New("links are signed, which takes credentials")
	}
	o, err := b.open(ctx, f)
	if err != nil {
		return "", err
	}
	defer o.Close()
	// What an object was uploaded with may have clients change its bytes.
	query := url.Values{"response-content-encoding": {"identity"}}
	if o.versionID != "" {
		query.Set("versionId", o.versionID)
	}
	u, err := b.client.Presign(ctx, method, b.name, b.prefix+f.Path, LinkMost, query)
	if err != nil {
		return "", b.reason(err)
	}
	return u.String(), nil
}

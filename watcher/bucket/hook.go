package bucket

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	hookMost    = 1 << 20          // bytes of a notification
	confirmTime = 10 * time.Second // that Amazon may take to hear that we want its notifications
)

// confirmHost is where Amazon wants to be told that notifications are wanted. A
// message never has us ask anybody else.
var confirmHost = regexp.MustCompile(`^sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`)

// Hook returns the handler of notifications that others send when the bucket
// changes: S3's own format, which MinIO, Ceph and more send too, alone or within
// Amazon's SNS, Amazon's EventBridge, and Backblaze's. Each is a hint (see
// Notify), and an empty one is a hint at everything.
//
// A request has to carry the secret: as a bearer token, as the password of basic
// authentication, or, for who can set but a URL, as its parameter "secret". It
// answers 204; 401 without the secret, 405 if it is no POST, 413 beyond 1 MiB,
// and 400 for what it cannot read.
func (b *Bucket) Hook(secret Secret) http.Handler {
	return &hook{bucket: b, secret: sha256.Sum256([]byte(secret)), client: &http.Client{
		Timeout: confirmTime,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, which a confirmation should not")
		},
	}}
}

type hook struct {
	bucket *Bucket
	secret [sha256.Size]byte // hashed, so that comparing tells nothing of its length
	client *http.Client
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Notifications are sent by POST.", http.StatusMethodNotAllowed)
		return
	}
	if !h.knows(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="hook"`) // Amazon's SNS sends a password only when asked
		http.Error(w, "The secret of this source's hook is missing or wrong.", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, hookMost))
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		http.Error(w, "The notification is too long.", http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		http.Error(w, "The notification broke off.", http.StatusBadRequest)
		return
	}
	n, err := parseNotice(body)
	if err == nil && n.confirm != "" {
		err = h.confirm(r.Context(), n.confirm)
	}
	if err != nil {
		h.bucket.log.Warn("a notification of the bucket's changes is of no use", "err", err)
		http.Error(w, "This notification cannot be used: "+err.Error()+".", http.StatusBadRequest)
		return
	}
	if n.any {
		h.bucket.Notify("")
	}
	for _, c := range n.changes {
		if c.bucket == h.bucket.name {
			h.bucket.changed(c.key)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// knows reports whether a request carries the secret.
func (h *hook) knows(r *http.Request) bool {
	given := r.URL.Query().Get("secret")
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		given = token
	} else if _, password, ok := r.BasicAuth(); ok {
		given = password
	}
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], h.secret[:]) == 1
}

// confirm tells Amazon's SNS that its notifications are wanted here.
func (h *hook) confirm(ctx context.Context, link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.User != nil || !confirmHost.MatchString(u.Host) {
		return errors.New("the subscription's URL is not one of Amazon's")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("the subscription's URL cannot be used")
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("the subscription cannot be confirmed: %w", errors.Unwrap(err)) // without the URL, which holds a token
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the subscription cannot be confirmed: %s", resp.Status)
	}
	h.bucket.log.Info("a subscription to the bucket's notifications was confirmed")
	return nil
}

// notice is what a notification says.
type notice struct {
	changes []change
	any     bool   // something may have changed
	confirm string // URL that is to be asked before more are sent
}

type change struct{ bucket, key string }

// message is every format at once: they differ in the names of their fields.
type message struct {
	// S3, and those that follow it. Keys are escaped.
	Records []struct {
		S3 struct {
			Bucket struct{ Name string }
			Object struct{ Key string }
		}
	}
	Event string // of a test

	// SNS, which holds one of S3's as text.
	Type, Message, SubscribeURL string

	// EventBridge.
	Detail struct {
		Bucket struct{ Name string }
		Object struct{ Key string }
	}

	// Backblaze.
	Events []struct{ BucketName, ObjectName, EventType string }
}

func parseNotice(body []byte) (n notice, err error) {
	if len(body) == 0 {
		return notice{any: true}, nil
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return n, errors.New("it is not JSON of a known form")
	}
	switch m.Type {
	case "SubscriptionConfirmation":
		return notice{confirm: m.SubscribeURL}, nil
	case "Notification":
		text := m.Message
		m = message{}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return n, errors.New("the message within it is not JSON of a known form")
		}
	}
	for _, r := range m.Records {
		n.changes = append(n.changes, change{r.S3.Bucket.Name, unescape(r.S3.Object.Key)})
	}
	if m.Detail.Object.Key != "" {
		n.changes = append(n.changes, change{m.Detail.Bucket.Name, m.Detail.Object.Key})
	}
	test := m.Event == "s3:TestEvent"
	for _, e := range m.Events {
		if test = test || strings.HasPrefix(e.EventType, "b2:TestEvent"); e.ObjectName != "" {
			n.changes = append(n.changes, change{e.BucketName, e.ObjectName})
		}
	}
	if len(n.changes) == 0 && !test && m.Type != "UnsubscribeConfirmation" {
		return n, errors.New("it names no object")
	}
	return n, nil
}

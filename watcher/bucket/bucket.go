// Package bucket is an S3 bucket as a watcher.Source: listings for the truth,
// the server's notifications, where it gives any, for speed.
//
// Below a prefix, an object at the top is a tree, and so is everything below a
// first-level "directory". A File's Version is the object's ETag and its size:
// the ETag names content, so an object that is uploaded again with the same
// bytes keeps its Version and is not hashed again. Where the bucket keeps versions
// and may be asked for them, the Version has the version id too, and each upload
// is hashed. Every ranged GET asks for that ETag (If-Match) and for no more than the caller wants, so what changes
// while it is read gives watcher.ErrChanged and never other bytes. A key that
// cannot be the path of a file is a watcher.Problem of its tree. A listing ends
// without an error only when the server has listed everything; an unreachable
// server, a missing bucket or refused credentials are errors, so nothing passes
// for removed.
//
// The package keeps no content, and does not read ahead. A listing of a bucket that
// keeps versions goes through old ones too, since only such a listing gives ids.
// In other buckets it cannot tell contents apart to which the server gives one
// ETag, and whoever can make MD5 collide and may write there can bring that about.
package bucket

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/notification"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"dropseed/watcher"
)

// amazon is the endpoint where none is given.
const amazon = "https://s3.amazonaws.com"

const (
	attempts = 5                // of a request that the server or the network fails
	quiet    = 30 * time.Second // without a byte from the server, a request has failed
)

// DefaultIgnore is what Options.Ignore stands for when it is nil.
var DefaultIgnore = watcher.DefaultIgnore

// Addressing says where in a URL the bucket's name stands.
type Addressing int

const (
	Auto        Addressing = iota // in the host at Amazon and the like, else in the path
	PathStyle                     // https://endpoint/bucket/key
	VirtualHost                   // https://bucket.endpoint/key
)

// Options are a Bucket's settings. Only Bucket has to be given.
type Options struct {
	Endpoint   string // http or https URL of the server; "" = Amazon's
	Region     string // "" = asked of the server, once
	Bucket     string // the bucket's name
	Prefix     string // of the keys that are listed, and no part of their paths; ends in a slash, which is added
	Addressing Addressing

	CAFile string         // PEM certificates of authorities that vouch for the server, besides the system's
	CAs    *x509.CertPool // those authorities alone, in place of CAFile and the system's

	AccessKey    string // "" = those of the environment, of the shared file or of the machine's role, in this order
	SecretKey    Secret
	SessionToken Secret // of temporary credentials
	Anonymous    bool   // ask without credentials

	Ignore []string     // globs of what is left out, see watcher.Ignore; nil = DefaultIgnore
	Log    *slog.Logger // nil = none; it says which source this is
}

// Secret is a string that shows as [redacted] wherever it is printed or logged.
type Secret string

// Format prints [redacted] for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue logs [redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Bucket is an S3 bucket as a watcher.Source. Its methods are safe for
// concurrent use.
type Bucket struct {
	name      string
	server    string // the endpoint, for messages
	prefix    string // "" or with a slash at its end
	anonymous bool
	ignore    *watcher.Ignore
	log       *slog.Logger
	client    *minio.Client
	meter     *meter
	pageSize  int // keys of a page of a listing; 0 = as many as the server gives

	twins    atomic.Pointer[map[string]string] // of the last listing of everything, see twinOf
	versions atomic.Pointer[bool]              // what keepsVersions knows; nil = not asked yet

	hints hints

	turn    chan struct{} // held by the Wait that uses the fields below
	events  <-chan notification.Info
	stop    func()           // ends events
	since   time.Time        // when they began
	deaf    bool             // the server has no notifications
	retry   <-chan time.Time // listen again then; nil = at once
	backoff time.Duration    // the last wait for that
	told    sync.Once        // of a server whose notifications cannot be had for now
}

// New returns the bucket that the Options describe. It asks the server nothing,
// which may be down. Its error names every bad option.
func New(o Options) (*Bucket, error) {
	if o.Ignore == nil {
		o.Ignore = DefaultIgnore
	}
	var bad []error
	note := func(err error) {
		if err != nil {
			bad = append(bad, err)
		}
	}
	ignore, err := watcher.NewIgnore(o.Ignore)
	note(err)
	endpoint, err := parseEndpoint(cmp.Or(o.Endpoint, amazon))
	note(err)
	if err := s3utils.CheckValidBucketName(o.Bucket); err != nil {
		note(fmt.Errorf("%q cannot be the name of a bucket: %w", o.Bucket, err))
	}
	prefix := strings.TrimSuffix(o.Prefix, "/")
	if prefix != "" {
		if err := watcher.CheckPath(prefix); err != nil {
			note(fmt.Errorf("the prefix %q: %w", o.Prefix, err))
		}
		prefix += "/"
	}
	note(o.checkCredentials())
	cas, err := o.authorities()
	note(err)
	if len(bad) > 0 {
		return nil, fmt.Errorf("bucket %q: %w", o.Bucket, errors.Join(bad...))
	}

	secure := endpoint.Scheme == "https"
	transport, err := newTransport(secure, cas)
	if err != nil {
		return nil, fmt.Errorf("bucket %q: %w", o.Bucket, err)
	}
	m := &meter{base: transport, quiet: quiet}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: o.credentials(), Secure: secure, Transport: m, Region: o.Region,
		BucketLookup: o.Addressing.lookup(), MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %q at %s: %w", o.Bucket, endpoint.Host, err)
	}
	client.SetAppInfo("dropseed", "1")
	return &Bucket{
		name: o.Bucket, server: endpoint.Scheme + "://" + endpoint.Host, prefix: prefix, anonymous: o.Anonymous,
		ignore: ignore, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), client: client, meter: m,
		hints: hints{names: make(map[string]struct{}), some: make(chan struct{}, 1)},
		turn:  make(chan struct{}, 1),
	}, nil
}

// parseEndpoint never repeats what it is given: there may be a password in it.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the endpoint is not an http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("the endpoint %s://%s has more than scheme, host and port", u.Scheme, u.Host)
	}
	return u, nil
}

func (a Addressing) lookup() minio.BucketLookupType {
	switch a {
	case PathStyle:
		return minio.BucketLookupPath
	case VirtualHost:
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto
}

// authorities returns who may vouch for the server; nil is the system's.
func (o Options) authorities() (*x509.CertPool, error) {
	if o.CAs != nil || o.CAFile == "" {
		return o.CAs, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificates of the server's authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the file %q holds no PEM certificate", o.CAFile)
	}
	return pool, nil
}

func newTransport(secure bool, cas *x509.CertPool) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	if cas != nil && secure {
		t.TLSClientConfig.RootCAs = cas
	}
	t.MaxIdleConnsPerHost = 64 // as many readers may take turns
	return t, nil
}

// String says which bucket it is, for people.
func (b *Bucket) String() string {
	s := fmt.Sprintf("the bucket %s at %s", b.name, b.server)
	if b.prefix != "" {
		s += ", below " + b.prefix
	}
	return s
}

// Usage returns what was asked of the server so far.
func (b *Bucket) Usage() Usage { return b.meter.usage() }

var _ watcher.Source = (*Bucket)(nil)

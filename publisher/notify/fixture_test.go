package notify

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

func openCatalog(t testing.TB, dir string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func publish(t testing.TB, c *catalog.Catalog, name, version string) catalog.Release {
	t.Helper()
	r, err := c.Put(catalog.New{
		InfoHash: hashOf(name, version), PieceLength: 16 << 10, Torrent: []byte("d4:info" + name + version + "e"),
		Tree: watcher.Tree{Source: "src", Name: name, Files: []watcher.File{{Path: name, Size: 3, Version: version}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hashOf(name, version string) infohash.T { return infohash.T(sha1.Sum([]byte(name + version))) }

func retire(t testing.TB, c *catalog.Catalog, name string) {
	t.Helper()
	r, ok := c.Latest(name)
	if !ok {
		t.Fatalf("%q is not published", name)
	}
	if err := c.Retire(r.InfoHash); err != nil {
		t.Fatal(err)
	}
}

// open opens a Notifier that posts to the host names of URLs; change may change
// its options.
func open(t testing.TB, c *catalog.Catalog, dir string, to http.RoundTripper, change func(o *Options)) *Notifier {
	t.Helper()
	o := Options{
		Catalog: c, Folder: dir, URLs: urls("https://a.example/hook"), Secret: testSecret, Transport: to,
		UserAgent: "dropseed/test",
		Links: func(r catalog.Release) Links {
			h := r.InfoHash.HexString()
			return Links{Page: "https://dl.example/" + r.Name, Torrent: "https://dl.example/" + h, Magnet: "magnet:?xt=urn:btih:" + h + "&dn=x"}
		},
	}
	if change != nil {
		change(&o)
	}
	n, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// run runs n and returns what ends that.
func run(t testing.TB, n *Notifier) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func urls(texts ...string) (us []*url.URL) {
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		us = append(us, u)
	}
	return us
}

// receiver is all URLs at once. It checks what it gets, and notes it.
type receiver struct {
	t      testing.TB
	answer func(g got) (status int, header http.Header) // nil: 204

	mu  sync.Mutex // guards the field below
	all []got
}

// got is a request that a receiver got.
type got struct {
	host string
	at   time.Time
	body string
	msg  message
}

type message struct {
	Type      Type      `json:"type"`
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		Name       string    `json:"name"`
		Source     string    `json:"source"`
		InfoHash   string    `json:"info_hash"`
		Size       int64     `json:"size"`
		Files      int       `json:"files"`
		CreatedAt  time.Time `json:"created_at"`
		PageURL    string    `json:"page_url"`
		TorrentURL string    `json:"torrent_url"`
		Magnet     string    `json:"magnet"`
		Previous   string    `json:"previous_info_hash"`
		ReplacedBy string    `json:"replaced_by"`
		Path       string    `json:"path"`
		Reason     string    `json:"reason"`
	} `json:"data"`
}

func (g got) String() string { return string(g.msg.Type) + " " + g.msg.Data.Name }

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	status, header := r.receive(req)
	if status == 0 {
		<-req.Context().Done() // it hangs
		return nil, req.Context().Err()
	}
	return &http.Response{
		StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("whatever")), Request: req,
		ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	status, header := r.receive(req)
	if status == 0 {
		<-req.Context().Done()
		return
	}
	for k, v := range header {
		w.Header()[k] = v
	}
	w.WriteHeader(status)
}

func (r *receiver) receive(req *http.Request) (int, http.Header) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	g := got{host: req.URL.Hostname(), at: time.Now(), body: string(body)}
	verifier, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		r.t.Error(err)
	} else if err := verifier.Verify(body, req.Header); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	if err := json.Unmarshal(body, &g.msg); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	if id := req.Header.Get("Webhook-Id"); id != g.msg.ID || id == "" {
		r.t.Errorf("webhook-id %q, id %q", id, g.msg.ID)
	}
	if req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" || req.Header.Get("User-Agent") != "dropseed/test" {
		r.t.Errorf("got %s with %v", req.Method, req.Header)
	}
	r.mu.Lock()
	r.all = append(r.all, g)
	r.mu.Unlock()
	if r.answer == nil {
		return http.StatusNoContent, nil
	}
	return r.answer(g)
}

// got returns what a host got; "": all.
func (r *receiver) got(host string) []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.all), func(g got) bool { return host != "" && g.host != host })
}

// want compares what a host got with "type name" each.
func (r *receiver) want(host string, want ...string) {
	r.t.Helper()
	if have := texts(r.got(host)); !slices.Equal(have, want) {
		r.t.Errorf("%s got %q, want %q", host, have, want)
	}
}

func texts[T fmt.Stringer](list []T) []string {
	t := []string{}
	for _, x := range list {
		t = append(t, x.String())
	}
	return t
}

func (e *event) String() string { return string(e.Type) + " " + e.Name }

// Package status shows what a running server does, as its API tells it: once as
// text or JSON, or live on a terminal.
//
// A [Client] fetches a [Snapshot]; [Snapshot.Text] lays it out, and [Watch] shows
// one after the other. Whatever comes from the server is bounded and stripped of
// what a terminal would obey.
//
// The package knows the API and nothing else of the server, which may be another
// machine's and of another version.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Busiest is how many releases are asked for, those with the most peers.
const Busiest = 10

// The bounds of one request. Releases come with the lists of their files, which
// may be long; then they are asked for less often.
const (
	timeout   = 10 * time.Second
	mostBytes = 256 << 20
	longBytes = 1 << 20
	longPause = 15 * time.Second
)

// Stats are the figures of the whole server; bytes, and bytes per second.
type Stats struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Releases  int       `json:"releases"`
	Size      int64     `json:"size"`
	Swarm     struct {
		Seeders   int `json:"seeders"`
		Leechers  int `json:"leechers"`
		Completed int `json:"completed"`
		Connected int `json:"connected"`
	} `json:"swarm"`
	Sent struct {
		Peers   int64 `json:"peers"`
		Webseed int64 `json:"webseed"`
		Direct  int64 `json:"direct"`
	} `json:"sent"`
	Copies     float64 `json:"copies"`
	PeersShare float64 `json:"peers_share"` // 0 to 1
	Rates      struct {
		Peers   float64 `json:"peers"`
		Webseed float64 `json:"webseed"`
		Direct  float64 `json:"direct"`
		Carried float64 `json:"carried"` // among peers
	} `json:"rates"`
}

// Pending is a tree that is not published yet.
type Pending struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Done   int64  `json:"done"`  // bytes hashed
	Total  int64  `json:"total"` // bytes; 0: not known
}

// Release is one that is published.
type Release struct {
	Name     string `json:"name"`
	InfoHash string `json:"info_hash"`
	Size     int64  `json:"size"`
	Swarm    struct {
		Seeders   int     `json:"seeders"`
		Leechers  int     `json:"leechers"`
		Completed int     `json:"completed"`
		Connected int     `json:"connected"`
		Progress  float64 `json:"progress"` // what the connected have on average, 0 to 1
	} `json:"swarm"`
	Copies     float64 `json:"copies"`
	PeersShare float64 `json:"peers_share"` // 0 to 1
}

// Snapshot is what a server said at one time.
type Snapshot struct {
	URL      string    `json:"url"`
	At       time.Time `json:"at"`
	Stats    Stats     `json:"stats"`
	Pending  []Pending `json:"pending"`
	Releases []Release `json:"releases"` // those with the most peers, most first
}

// Client asks one server. It is not safe for concurrent use.
type Client struct {
	base  url.URL // without credentials, query and a slash at its end
	user  *url.Userinfo
	token string
	http  http.Client

	releases []Release // the last, while they are not asked for again
	again    time.Time // when they are
}

// New returns a Client of the server at a URL, or at HOST:PORT. Credentials are
// the user and password in the URL, or else the token, unless it is "".
func New(server, token string) (*Client, error) {
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		// The error of url.Parse holds the URL, and that may hold a password.
		return nil, errors.New("the server's address is no URL: want one such as http://127.0.0.1:8080")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("want the server's URL, such as http://127.0.0.1:8080, got %q", u.Redacted())
	}
	c := &Client{token: token, user: u.User, http: http.Client{Timeout: timeout}}
	c.base = url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}
	return c, nil
}

// URL returns the server's URL, without credentials.
func (c *Client) URL() string { return c.base.String() }

// Fetch asks for everything. Errors are for people.
func (c *Client) Fetch(ctx context.Context) (Snapshot, error) {
	s := Snapshot{URL: c.URL(), At: time.Now(), Pending: []Pending{}, Releases: []Release{}}
	if _, err := c.get(ctx, "/api/v1/stats", &s.Stats); err != nil {
		return s, err
	}
	var pending struct{ Pending []Pending }
	if _, err := c.get(ctx, "/api/v1/pending?limit=1000", &pending); err != nil {
		return s, err
	}
	s.Pending = append(s.Pending, pending.Pending...)
	if time.Now().Before(c.again) {
		s.Releases = c.releases
		return s, nil
	}
	var list struct{ Releases []Release }
	n, err := c.get(ctx, fmt.Sprintf("/api/v1/releases?sort=peers&limit=%d", Busiest), &list)
	if err != nil {
		return s, err
	}
	if n > longBytes {
		c.again = time.Now().Add(longPause)
	}
	s.Releases = append(s.Releases, list.Releases...)
	c.releases = s.Releases
	return s, nil
}

// get reads the JSON at a path, and returns how many bytes that were.
func (c *Client) get(ctx context.Context, path string, into any) (int64, error) {
	where := c.URL()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where+path, nil)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", where, err)
	}
	switch {
	case c.user != nil:
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, failure(where, err)
	}
	defer resp.Body.Close()
	status := fmt.Sprint(resp.StatusCode, " ", http.StatusText(resp.StatusCode)) // resp.Status may be anything
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return 0, fmt.Errorf("%s does not let us see its status (%s): give a user and password in the URL, "+
			"as in http://USER:PASSWORD@HOST:PORT, or a token in DROPSEED_TOKEN", where, status)
	case http.StatusNotFound:
		return 0, fmt.Errorf("%s has no %s: it is no dropseed, or an older one", where, path)
	default:
		return 0, fmt.Errorf("%s answers %s with %s", where, path, status)
	}
	counted := &counter{r: io.LimitReader(resp.Body, mostBytes)}
	if err := json.NewDecoder(counted).Decode(into); err != nil {
		return 0, fmt.Errorf("%s answers %s with something else than expected: %w", where, path, err)
	}
	return counted.n, nil
}

// failure says why a server could not be asked.
func failure(where string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // which says nothing of the path
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s does not answer: is it running? If it listens elsewhere, give its URL: dropseed status URL (%w)", where, err)
	}
	return fmt.Errorf("%s cannot be asked: %w", where, err)
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

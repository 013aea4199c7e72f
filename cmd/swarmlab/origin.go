//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// origin is a kind of server, or a stack of them, that distributes content.
type origin struct {
	name     string
	about    string
	needs    []string // programs
	torrent  bool     // it offers a torrent
	http     bool     // it offers the files over HTTP
	webseeds bool     // its torrent can list a webseed

	// start starts it on the lab's origin and waits until it would serve
	// whoever comes. Its processes are the lab's to end.
	start func(ctx context.Context, s site) (*offer, error)
}

// site is where an origin is started, and with what.
type site struct {
	*lab
	host    host
	content content
	webseed bool   // list one in the torrent
	binary  string // of dropseed
}

// offer is how a running origin's content can be had.
type offer struct {
	torrent []byte                   // nil: no torrent
	url     func(path string) string // nil: no HTTP
	// sent returns the bytes of content that it sent by each way since it was
	// started; nil if it cannot tell.
	sent func(ctx context.Context) (ways, error)
	// store is where the origin has its content from; nil: a disk of its own.
	store *host
}

func origins() []origin {
	return []origin{dropseedOrigin(), bucketOrigin(), nginxOrigin(), gluedOrigin(), libtorrentOrigin(), superSeedingOrigin()}
}

func findOrigin(name string) (origin, error) {
	var names []string
	for _, o := range origins() {
		if o.name == name {
			return o, nil
		}
		names = append(names, o.name)
	}
	return origin{}, fmt.Errorf("no origin is called %q; there are %s", name, strings.Join(names, ", "))
}

// missing returns which of the named programs are not installed.
func missing(programs []string) []string {
	var not []string
	for _, p := range programs {
		if p == "python3-libtorrent" {
			if exec.Command(python, "-I", "-c", "import libtorrent").Run() != nil {
				not = append(not, p)
			}
		} else if p == "versitygw" {
			if _, err := gateway(); err != nil {
				not = append(not, p)
			}
		} else if _, err := exec.LookPath(p); err != nil {
			not = append(not, p)
		}
	}
	return not
}

// at returns an address of the origin's host.
func (s site) at(port int) string { return s.host.address.String() + ":" + strconv.Itoa(port) }

// path returns a path in the host's own directory.
func (s site) path(more ...string) string { return s.lab.path(s.host, more...) }

// get returns the body that an address answers with, when it is asked from
// the origin's own host.
func (s site) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.host.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return body, err
}

// makeTorrent makes the content's torrent with mktorrent. webseed may be "".
func (s site) makeTorrent(ctx context.Context, announce, webseed string) (path string, err error) {
	path = s.path("content.torrent")
	args := []string{"-a", announce, "-o", path}
	if webseed != "" {
		args = append(args, "-w", webseed)
	}
	return path, runTool(ctx, "", "mktorrent", append(args, filepath.Join(s.content.folder, s.content.name))...)
}

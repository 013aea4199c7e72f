//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The bucket's server is a host of its own, with a cable that does not hold the
// origin up.
const (
	storeIndex = 5000
	storeRate  = 1_000_000_000 // bit/s
	storeKey   = "swarmlab"
	storeName  = "content"
)

func bucketOrigin() origin {
	return origin{
		name: "dropseed-s3", about: "dropseed serve, the content in a bucket of an S3 server on another host",
		needs: []string{"versitygw", "curl"}, torrent: true, http: true, webseeds: true,
		start: startBucket,
	}
}

// gateway returns the path of versitygw, an S3 server on a folder.
func gateway() (string, error) {
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	paths, err := filepath.Glob(".tools/*/versitygw@*")
	if err != nil || len(paths) == 0 {
		return "", errors.New("versitygw is not installed: run make tools, and swarmlab in the same folder")
	}
	return filepath.Abs(slices.Max(paths))
}

func startBucket(ctx context.Context, s site) (*offer, error) {
	store, err := s.lab.host(ctx, storeIndex, "store", line{storeRate, storeRate})
	if err != nil {
		return nil, err
	}
	base, err := s.fillBucket(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("fill the bucket: %w", err)
	}
	config := s.path("dropseed.yaml")
	text := fmt.Sprintf("sources:\n  - type: bucket\n    bucket: {name: %s, endpoint: %q, region: us-east-1, access_key: %s, secret_key: %s}\n",
		storeName, base, storeKey, storeKey)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	o, err := s.serve(ctx, "--config", config)
	if err != nil {
		return nil, err
	}
	o.store = &store
	return o, nil
}

// fillBucket starts an S3 server and puts the content into a bucket there. It
// returns the server's URL.
func (s site) fillBucket(ctx context.Context, store host) (base string, err error) {
	program, err := gateway()
	if err != nil {
		return "", err
	}
	data := s.lab.path(store, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return "", err
	}
	at := net.JoinHostPort(store.address.String(), "9000")
	p, err := s.start(store, program, "--port", at, "--access", storeKey, "--secret", storeKey, "--quiet", "posix", data)
	if err != nil {
		return "", err
	}
	base = "http://" + at
	signed := []string{"-sS", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", storeKey + ":" + storeKey,
		"-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"}
	curl := func(args ...string) error {
		return inside(store.namespace, func() error { return runTool(ctx, "", "curl", append(slices.Clone(signed), args...)...) })
	}
	if err := poll(ctx, func() error { return curl("-X", "PUT", base+"/"+storeName) }, p); err != nil {
		return "", err
	}
	var puts []string
	for _, f := range s.content.files {
		parts := strings.Split(f, "/")
		for i := range parts {
			parts[i] = url.PathEscape(parts[i])
		}
		puts = append(puts, "-T", filepath.Join(s.content.folder, filepath.FromSlash(f)), base+"/"+storeName+"/"+path.Join(parts...))
	}
	return base, curl(puts...)
}

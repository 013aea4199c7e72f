//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// nginxConfig is what a publisher would write: its log, its content, and
// sendfile. The processes stay root, to read content in anybody's directory.
const nginxConfig = `
daemon off;
user root;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
	sendfile on;
	tcp_nopush on;
	log_format bytes '$body_bytes_sent $http_user_agent';
	access_log %[1]s/access.log bytes;
	client_body_temp_path %[1]s/temp;
	proxy_temp_path %[1]s/temp;
	fastcgi_temp_path %[1]s/temp;
	uwsgi_temp_path %[1]s/temp;
	scgi_temp_path %[1]s/temp;
	server { listen %[2]s; root %[3]s; }
}
`

func nginxOrigin() origin {
	return origin{
		name: "nginx", about: "nginx, plain HTTP for curl", needs: []string{"nginx"}, http: true,
		start: func(ctx context.Context, s site) (*offer, error) {
			base, err := s.startNginx(ctx)
			if err != nil {
				return nil, err
			}
			return &offer{
				url: func(path string) string { return base + "/" + path },
				sent: func(context.Context) (ways, error) {
					_, direct, err := s.nginxSent()
					return ways{Direct: &direct}, err
				},
			}, nil
		},
	}
}

// startNginx serves the content's folder and returns its address.
func (s site) startNginx(ctx context.Context) (base string, err error) {
	dir := s.path("nginx")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	config := dir + "/nginx.conf"
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, s.at(80), s.content.folder), 0o644); err != nil {
		return "", err
	}
	p, err := s.start(s.host, "nginx", "-p", dir, "-c", config)
	if err != nil {
		return "", err
	}
	base = "http://" + s.at(80)
	return base, poll(ctx, func() error {
		conn, err := s.host.dial(ctx, "tcp", s.at(80))
		if err == nil {
			conn.Close()
		}
		return err
	}, p)
}

// nginxSent returns the bytes of all answers that have ended: those to
// BitTorrent clients, and those to curl.
func (s site) nginxSent() (webseed, direct int64, err error) {
	f, err := os.Open(s.path("nginx", "access.log"))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		bytes, agent, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseInt(bytes, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read nginx's log: %w", err)
		}
		if strings.HasPrefix(agent, "curl/") {
			direct += n
		} else {
			webseed += n
		}
	}
	return webseed, direct, lines.Err()
}

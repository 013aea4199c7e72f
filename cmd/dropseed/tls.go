package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"dropseed/configs"
	"dropseed/webseed/access"
	"dropseed/webseed/reload"
)

// recertify is how often files of certificates are looked at, at most.
const recertify = 2 * time.Second

// How often it is looked whether there are certificates, and again after a
// failure: authorities allow for a few failures an hour.
const (
	certificatesEvery = 24 * time.Hour
	certificatesRetry = time.Hour
)

// encryption is how the HTTP listener speaks TLS.
type encryption struct {
	config  *tls.Config
	acme    *autocert.Manager // nil: the certificate comes from files
	domains []string          // to get certificates for
	log     *slog.Logger
}

// openTLS reads the certificate, or prepares to get some.
func (s *server) openTLS() error {
	e, err := newEncryption(s.config, s.log)
	s.tls = e
	return err
}

func newEncryption(c configs.Config, log *slog.Logger) (*encryption, error) {
	e := &encryption{domains: c.HTTP.ACME.Domains, log: log}
	switch {
	case c.HTTP.TLS.Cert != "":
		cert, key := c.HTTP.TLS.Cert, c.HTTP.TLS.Key
		pair, err := reload.New("certificate", recertify, log, func() (*tls.Certificate, error) {
			p, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("read the certificate (http.tls.cert, http.tls.key): %w", err)
			}
			return &p, nil
		}, cert, key)
		if err != nil {
			return nil, err
		}
		e.config = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Get(), nil }}
	case len(e.domains) > 0:
		var err error
		if e.acme, err = newManager(c); err != nil {
			return nil, err
		}
		e.config = e.acme.TLSConfig()
	default:
		return nil, nil
	}
	e.config.MinVersion = tls.VersionTLS12
	return e, nil
}

// newManager returns what gets certificates, and answers the authority that asks
// whether the names are ours (TLS-ALPN-01, RFC 8737).
func newManager(c configs.Config) (*autocert.Manager, error) {
	a := c.HTTP.ACME
	client := &http.Client{Timeout: time.Minute}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificates (http.acme.ca_file): %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the certificates (http.acme.ca_file): there are none in %s", a.CAFile)
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	ours := autocert.HostWhitelist(a.Domains...)
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Cache:  autocert.DirCache(filepath.Join(c.State, "acme")),
		HostPolicy: func(ctx context.Context, host string) error {
			if name, _, err := net.SplitHostPort(host); err == nil {
				host = name
			}
			return ours(ctx, host)
		},
		Client: &acme.Client{DirectoryURL: a.Directory, HTTPClient: client, UserAgent: "dropseed/" + version},
		Email:  a.Email,
	}, nil
}

// keepCertificates gets certificates before anybody asks for them, and tells
// what keeps it from that. It is autocert that renews them, 30 days ahead.
func (e *encryption) keepCertificates(ctx context.Context) error {
	for {
		wait := certificatesEvery
		for _, domain := range e.domains {
			cert, err := e.certificate(ctx, domain)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				wait = certificatesRetry
				e.log.Warn("there is no certificate", "domain", domain, "err", err)
				continue
			}
			until := cert.Leaf.NotAfter
			if left := time.Until(until); left < 14*24*time.Hour && left < until.Sub(cert.Leaf.NotBefore)/4 {
				e.log.Warn("the certificate could not be renewed so far", "domain", domain, "until", until.UTC().Format(time.RFC3339))
				continue
			}
			e.log.Info("there is a certificate", "domain", domain, "until", until.UTC().Format(time.RFC3339))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// certificate returns the certificate for a domain, which may have to be got
// first. That takes minutes where an authority does not answer, and autocert does
// not let it be ended: once ctx ends, it is left to itself.
func (e *encryption) certificate(ctx context.Context, domain string) (*tls.Certificate, error) {
	type result struct {
		cert *tls.Certificate
		err  error
	}
	got := make(chan result, 1)
	go func() {
		// As autocert sees a client of these days.
		hello := &tls.ClientHelloInfo{ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
		cert, err := e.acme.GetCertificate(hello)
		got <- result{cert, err}
	}()
	select {
	case r := <-got:
		return r.cert, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serveHTTP serves the HTTP listener, encrypted if it is to be.
func (s *server) serveHTTP() error {
	if s.tls == nil {
		return s.http.Serve(s.httpListener)
	}
	s.http.TLSConfig = s.tls.config
	return s.http.ServeTLS(s.httpListener, "", "")
}

// serveRedirects leads what comes without https to the HTTP listener until ctx
// ends, and answers the authority that asks whether the names are ours (HTTP-01).
func (s *server) serveRedirects(ctx context.Context) error {
	var handler http.Handler = http.HandlerFunc(s.redirectToTLS)
	if s.tls.acme != nil {
		handler = s.tls.acme.HTTPHandler(handler)
	}
	connections := connectionLimit{most: int64(s.config.HTTP.MaxConnections)}
	server := &http.Server{
		Handler:     handler,
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
		MaxHeaderBytes: 32 << 10,
		ConnState:      connections.state,
		ErrorLog:       s.http.ErrorLog,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(s.redirectListener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve redirects: %w", err)
	}
	return nil
}

func (s *server) redirectToTLS(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "Use https.", http.StatusMethodNotAllowed)
		return
	}
	to := s.tlsOrigin(r) + "/" + strings.TrimPrefix(access.RawPath(r.URL), "/")
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusMovedPermanently)
}

// tlsOrigin is where the host that a request without https is for is found with it.
func (s *server) tlsOrigin(r *http.Request) string {
	if u := s.config.HTTP.PublicURL; u != nil {
		return u.Scheme + "://" + u.Host
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !plainHost(host) {
		return s.pageURL()
	}
	host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(s.httpListener.Addr().(*net.TCPAddr).Port))
	return "https://" + strings.TrimSuffix(host, ":443")
}

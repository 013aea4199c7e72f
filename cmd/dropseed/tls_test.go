package main_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
)

// authority vouches for certificates of this machine.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate (PEM)
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t), file: filepath.Join(t.TempDir(), "authority.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate for localhost and its key.
func (a *authority) issue(t testing.TB, serial int64, cert, key string) {
	t.Helper()
	own := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, own.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", private)
}

// client trusts the authority, and makes a new connection for every request.
func (a *authority) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

// serveTLS starts dropseed with a certificate, whose files it returns; more is
// what else stands in the section http.
func (a *authority) serveTLS(t testing.TB, folder, more string) (s *server, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.issue(t, 100, cert, key)
	s = serve(t, folder, configured(t, fmt.Sprintf("http:\n  tls: {cert: %q, key: %q}\n%s", cert, key, more))...)
	s.scheme, s.client = "https", a.client()
	return s, cert, key
}

func TestTLSWithStockClients(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	folder := dropTrees(t, single, nested)
	s, _, _ := ca.serveTLS(t, folder, "")
	rels := s.published(single, nested)
	for _, r := range rels {
		_, data := s.get(r.TorrentURL)
		var torrent struct {
			Announce string     `bencode:"announce"`
			Tiers    [][]string `bencode:"announce-list"`
			URLs     any        `bencode:"url-list"`
		}
		if err := bencode.Unmarshal(data, &torrent); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(torrent, r.TorrentURL, r.Magnet, r.WebseedURL)
		if torrent.Announce != s.url("/announce") || strings.Contains(text, "http://") || strings.Contains(text, "http%3A") {
			t.Errorf("it says http: %v", text)
		}
	}
	if out, err := os.ReadFile(s.stdout); err != nil || !strings.Contains(string(out), s.url("/")) {
		t.Errorf("it says, without its address: %s, %v", out, err)
	}
	t.Run("curl", func(t *testing.T) {
		t.Parallel()
		curl := need(t, "curl")
		out := filepath.Join(t.TempDir(), "out")
		for protocol, version := range map[string]string{"--http1.1": "1.1", "--http2": "2"} {
			for _, path := range []string{"/", "/files/" + escape(single)} {
				got := run(t, "", curl, protocol, "--silent", "--show-error", "--fail", "--cacert", ca.file, "--output", out, "--write-out", "%{http_version}", s.url(path))
				if got != version {
					t.Errorf("%s %s: answered with HTTP/%s", protocol, path, got)
				}
			}
			expectSame(t, filepath.Join(folder, single), out)
		}
	})
	t.Run("aria2", func(t *testing.T) {
		t.Parallel()
		need(t, "aria2c")
		// By the tracker over https alone; the webseed is there besides.
		out := aria2(t, append([]string{"--ca-certificate=" + ca.file, "--bt-exclude-tracker=udp://" + s.udp + "/announce"}, s.torrents(rels)...)...)
		for _, r := range rels {
			expectSame(t, filepath.Join(folder, r.Name), filepath.Join(out, r.Name))
		}
		// A torrent and a file by their URLs.
		out = aria2(t, "--ca-certificate="+ca.file, rels[0].TorrentURL, s.url("/files/"+escape(single)))
		expectSame(t, filepath.Join(folder, single), filepath.Join(out, single))
	})
	for what, job := range map[string]libtorrentJob{
		"the tracker": {Trackers: []string{s.url("/announce")}, NoWebseeds: true},
		"the webseed": {NoTrackers: true},
	} {
		t.Run("libtorrent from "+what, func(t *testing.T) {
			t.Parallel()
			needLibtorrent(t)
			from, rels := s, rels
			if job.NoTrackers { // a server at which nobody here has been a peer: those come after
				from, _, _ = ca.serveTLS(t, dropTrees(t, single, nested), "")
				rels = from.published(single, nested)
			}
			job.Torrents, job.Out = from.torrents(rels), t.TempDir()
			libtorrent(t, job, "env", "SSL_CERT_FILE="+ca.file)
			for _, r := range rels {
				expectSame(t, filepath.Join(from.folder, r.Name), filepath.Join(job.Out, r.Name))
			}
		})
	}
	t.Run("older than 1.2", func(t *testing.T) {
		t.Parallel()
		conn, err := tls.Dial("tcp", s.http, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		if err == nil {
			conn.Close()
			t.Error("TLS 1.1 is spoken")
		}
	})
}

func TestCertificateChangesWhileServing(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s, cert, key := ca.serveTLS(t, dropPlain(t), "")
	s.published(plain)
	serial := func() int64 {
		t.Helper()
		resp, err := s.client.Get(s.url("/healthz"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 100 {
		t.Fatalf("serial number %d", got)
	}
	warned := func(times int) {
		t.Helper()
		s.eventually("there is a warning", func() error {
			if got := serial(); got != 100 {
				t.Fatalf("serial number %d", got)
			}
			if got := len(s.logged("level", "WARN")); got < times {
				return fmt.Errorf("%d warnings", got)
			}
			return nil
		})
	}
	// The certificate is there before its key, and then there is none at all.
	held := filepath.Join(t.TempDir(), "key.pem")
	ca.issue(t, 101, cert, held)
	warned(1)
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	warned(2)
	ca.issue(t, 102, cert, key)
	s.eventually("the new one is used", func() error {
		if got := serial(); got != 102 {
			return fmt.Errorf("serial number %d", got)
		}
		return nil
	})
	if log := s.logText(); strings.Contains(log, "PRIVATE") {
		t.Error("the log holds a key")
	}
}

func TestPlainHTTPIsLedToTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	redirect := freeAddress(t)
	s, _, _ := ca.serveTLS(t, dropPlain(t), "  redirect: "+redirect+"\n")
	s.published(plain)
	_, port, _ := net.SplitHostPort(s.http)
	for _, row := range []struct{ host, path, want string }{
		{"", "/files/a%2Fb%20c?q=1&r", s.url("/files/a%2Fb%20c?q=1&r")},
		{"localhost:80", "/", "https://localhost:" + port + "/"},
		{"[::1]", "/", "https://[::1]:" + port + "/"},
		{"[::1]:80", "//x", "https://[::1]:" + port + "//x"},
		{"dl.example.org,x", "/", s.url("/")},
	} {
		conn, err := net.Dial("tcp", redirect)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", row.path, cmp.Or(row.host, s.http))
		var answer bytes.Buffer
		answer.ReadFrom(conn)
		conn.Close()
		if !strings.HasPrefix(answer.String(), "HTTP/1.0 301 ") || !strings.Contains(answer.String(), "\r\nLocation: "+row.want+"\r\n") {
			t.Errorf("%s for %s: want a redirect to %s, got\n%s", row.path, row.host, row.want, &answer)
		}
	}
	resp, err := s.client.Get("http://" + redirect + "/files/" + plain)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ContentLength != 1<<20 {
		t.Errorf("status %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
	// Browsers only stay with https where they are told to.
	if got := resp.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("HSTS without a public URL: %q", got)
	}
}

func TestHSTSTakesAPublicURL(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s, _, _ := ca.serveTLS(t, dropPlain(t), "  public_url: https://dl.example.org/root\n")
	s.eventually("it answers", func() error {
		resp, err := s.client.Get(s.url("/"))
		if err != nil {
			return err
		}
		resp.Body.Close()
		if got := resp.Header.Get("Strict-Transport-Security"); got != "max-age=15552000" {
			t.Errorf("HSTS %q", got)
		}
		return nil
	})
}

func TestAnAuthorityThatDoesNotAnswerDoesNotKeepTheServerUp(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.issue(t, 1, cert, key)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	asked, done := make(chan struct{}, 1), make(chan struct{})
	silent := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-done
	}))
	silent.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	silent.StartTLS()
	defer silent.Close()
	defer close(done)
	s := serve(t, dropPlain(t), configured(t, fmt.Sprintf("http: {acme: {domains: [dl.example.org], directory: %q, ca_file: %q}}", silent.URL, ca.file))...)
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("it does not ask")
	}
	began := time.Now()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the end took %v", took)
	}
}

package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	bigendian "encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// pebble is Let's Encrypt's ACME server for tests.
type pebble struct {
	directory string // URL
	roots     *x509.CertPool
	stop      func()
}

// pebbleProgram finds what make tools has installed.
func pebbleProgram(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("..", "..", ".tools", runtime.Version(), "pebble@*"))
	if err == nil && len(found) > 0 {
		return slices.Max(found)
	}
	path, err := exec.LookPath("pebble")
	if err != nil {
		missing(t, "pebble is not installed; run: make tools")
	}
	return path
}

// startPebble starts it. It looks for whoever wants certificates at two ports of
// this machine, whatever their names are.
func startPebble(t testing.TB, ca *authority, httpPort, tlsPort int) *pebble {
	t.Helper()
	program, dir := pebbleProgram(t), t.TempDir()
	address, management := freeAddress(t), freeAddress(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.issue(t, 7, cert, key)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": address, "managementListenAddress": management, "certificate": cert, "privateKey": key,
		"httpPort": httpPort, "tlsPort": tlsPort, "keyAlgorithm": "ecdsa",
		"profiles": map[string]any{"default": map[string]any{"description": "of the test", "validityPeriod": 90 * 24 * 3600}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-config", path, "-dnsserver", answerNames(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	p := &pebble{directory: "https://" + address + "/dir", stop: func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
	}}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("log of pebble:\n%s", &log)
		}
	})
	var root []byte
	if err := eventually(patience, func() error {
		resp, err := ca.client().Get("https://" + management + "/roots/0")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		root = b.Bytes()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	p.roots = x509.NewCertPool()
	if block, _ := pem.Decode(root); block == nil || !p.roots.AppendCertsFromPEM(root) {
		t.Fatalf("its root is %q", root)
	}
	return p
}

// answerNames answers DNS queries over TCP until the test ends: every name is
// this machine's loopback address. It returns where.
func answerNames(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				answerName(conn)
			})
		}
	})
	return ln.Addr().String()
}

func answerName(conn net.Conn) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	question := make([]byte, bigendian.BigEndian.Uint16(length[:]))
	var query dnsmessage.Message
	if _, err := io.ReadFull(conn, question); err != nil || query.Unpack(question) != nil || len(query.Questions) != 1 {
		return
	}
	q := query.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true},
		Questions: query.Questions,
	}
	if q.Type == dnsmessage.TypeA {
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	if packed, err := answer.Pack(); err == nil {
		_, _ = conn.Write(append(bigendian.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...))
	}
}

func port(t testing.TB, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCertificatesFromAnACMEServer(t *testing.T) {
	const domain = "dl.example.org"
	for _, row := range []struct {
		name string
		alpn bool // by TLS-ALPN-01; else by HTTP-01
	}{{"TLS-ALPN-01", true}, {"HTTP-01", false}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			listen, redirect, nobody := freeAddress(t), freeAddress(t), freeAddress(t)
			httpPort, tlsPort := port(t, nobody), port(t, listen)
			if !row.alpn {
				httpPort, tlsPort = port(t, redirect), port(t, nobody)
			}
			acme := startPebble(t, ca, httpPort, tlsPort)
			state := filepath.Join(t.TempDir(), "state")
			start := func() *server {
				s := serve(t, dropPlain(t), append(configured(t, fmt.Sprintf(
					"http: {redirect: %q, acme: {domains: [%s, other.example.org], email: admin@example.org, directory: %q, ca_file: %q}}", redirect, domain, acme.directory, ca.file)),
					"--http", listen, "--state", state)...)
				s.scheme = "https"
				s.client = &http.Client{Timeout: patience, Transport: &http.Transport{
					TLSClientConfig:   &tls.Config{RootCAs: acme.roots, ServerName: domain},
					DisableKeepAlives: true,
				}}
				return s
			}
			s := start()
			began := time.Now()
			s.eventually("there are certificates for both", func() error {
				if got := len(s.logged("msg", "there is a certificate")); got != 2 {
					return fmt.Errorf("for %d", got)
				}
				return nil
			})
			t.Logf("two certificates took %v", time.Since(began))
			s.published(plain)
			resp, err := s.client.Get(s.url("/files/" + plain))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			leaf := resp.TLS.PeerCertificates[0]
			if resp.StatusCode != 200 || leaf.VerifyHostname(domain) != nil {
				t.Errorf("status %d, with a certificate for %v", resp.StatusCode, leaf.DNSNames)
			}
			for _, name := range []string{"elsewhere.example", ""} {
				conn, err := tls.Dial("tcp", s.http, &tls.Config{InsecureSkipVerify: true, ServerName: name})
				if err == nil {
					conn.Close()
					t.Errorf("there is a certificate for %q", name)
				}
			}
			// Browsers that come without https are led on, and nobody else's names are.
			plainly := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			if resp, err = plainly.Get("http://" + redirect + "/x"); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.Header.Get("Location"); got != s.url("/x") {
				t.Errorf("status %d to %q", resp.StatusCode, got)
			}
			// They are kept: after a restart no authority is needed.
			for _, name := range []string{domain, "acme_account+key"} {
				info, err := os.Stat(filepath.Join(state, "acme", name))
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%v, %v", info, err)
				}
			}
			if code := s.stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			acme.stop()
			s = start()
			s.published(plain)
			resp, err = s.client.Get(s.url("/healthz"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if again := resp.TLS.PeerCertificates[0]; again.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
				t.Error("it is another certificate")
			}
		})
	}
}

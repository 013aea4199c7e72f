package bucket

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

func TestBucketIsASource(t *testing.T) {
	g := shared(t)
	watchertest.TestSource(t, func(t *testing.T) (watcher.Source, watchertest.Content) {
		s := newStore(t, g)
		s.prefix = "public/isos/"
		b := newBucket(t, s.options())
		s.notify = b.Notify // versitygw gives no notifications
		return b, s
	})
}

func TestOpenIsOneRequestAndEveryReadIsOne(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	b := newBucket(t, s.options())
	data := pattern(100_000)
	obj := open(t, b, s, "d/f", data)
	if u := b.Usage(); u != (Usage{Lists: 1, Heads: 1, Others: 1}) {
		t.Errorf("after a listing and Open: %+v", u)
	}
	buf := make([]byte, 1000)
	for i := range 10 {
		if _, err := obj.ReadAt(buf, int64(i*5000)); err != nil || !bytes.Equal(buf, data[i*5000:i*5000+1000]) {
			t.Fatalf("ReadAt(%d): %v, or wrong bytes", i*5000, err)
		}
		for range 100 {
			must(t, obj.Check())
		}
	}
	if n, err := obj.ReadAt(buf, 99_500); n != 500 || err != io.EOF {
		t.Errorf("ReadAt over the end = %d, %v", n, err)
	}
	for _, off := range []int64{100_000, 1 << 40} {
		if n, err := obj.ReadAt(buf, off); n != 0 || err != io.EOF {
			t.Errorf("ReadAt(%d) = %d, %v", off, n, err)
		}
	}
	if n, err := obj.ReadAt(nil, 5); n != 0 || err != nil {
		t.Errorf("ReadAt of nothing = %d, %v", n, err)
	}
	if u := b.Usage(); u != (Usage{Lists: 1, Heads: 1, Gets: 11, Others: 1, Bytes: 10_500}) {
		t.Errorf("after 11 reads: %+v", u)
	}
}

func TestVersionIsTheSameForTheSameBytes(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	b := newBucket(t, s.options())
	must(t, s.Write("f", []byte("same")))
	before, _ := list(t, b, "")
	time.Sleep(1100 * time.Millisecond) // another LastModified
	must(t, s.Write("f", []byte("same")))
	after, _ := list(t, b, "")
	if before["f"].Version != after["f"].Version || before["f"].ModTime.Equal(after["f"].ModTime) {
		t.Errorf("uploaded again with the same bytes: %+v, then %+v", before["f"], after["f"])
	}
}

func TestMultipartUploadsAreReadLikeOthers(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	b := newBucket(t, s.options())
	data := pattern(11 << 20)
	_, err := s.client.PutObject(t.Context(), s.bucket, "big.iso", bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{PartSize: 5 << 20})
	must(t, err)
	files, _ := list(t, b, "")
	f := files["big.iso"]
	if !strings.Contains(f.Version, "-3.") || f.Size != int64(len(data)) {
		t.Fatalf("listed as %+v, want an ETag of three parts", f)
	}
	obj, err := b.Open(t.Context(), f)
	must(t, err)
	defer obj.Close()
	buf := make([]byte, 1<<20)
	for _, off := range []int64{0, 5<<20 - 1000, 10 << 20} {
		if n, err := obj.ReadAt(buf, off); n != len(buf) || err != nil || !bytes.Equal(buf, data[off:off+int64(n)]) {
			t.Errorf("ReadAt(%d) = %d, %v, or wrong bytes", off, n, err)
		}
	}
	// The same bytes in other parts are another ETag, so another Version.
	must(t, s.Write("big.iso", data))
	if _, err := obj.ReadAt(buf, 0); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("ReadAt after an upload in one part: %v", err)
	}
	if _, err := b.Open(t.Context(), f); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Open after an upload in one part: %v", err)
	}
}

func TestOverwrittenWhileReadIsErrChangedAndNeverMixed(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	b := newBucket(t, s.options())
	const size = 1 << 20
	fill := func(c byte) []byte { return bytes.Repeat([]byte{c}, size) }
	must(t, s.Write("f", fill(0)))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for c := byte(1); ; c++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.Write("f", fill(c)); err != nil {
				t.Errorf("overwrite: %v", err)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	changed, whole, mixed := 0, 0, 0
	buf := make([]byte, 100_000)
	for late := time.Now().Add(2 * time.Second); time.Now().Before(late); {
		files, _ := list(t, b, "f")
		obj, err := b.Open(t.Context(), files["f"])
		if errors.Is(err, watcher.ErrChanged) {
			continue
		}
		must(t, err)
		first := -1
		for off := int64(0); off < size; off += int64(len(buf)) {
			n, err := obj.ReadAt(buf, off)
			if errors.Is(err, watcher.ErrChanged) {
				changed++
				if !errors.Is(obj.Check(), watcher.ErrChanged) {
					t.Errorf("Check after ErrChanged: %v", obj.Check())
				}
				break
			}
			if err != nil && err != io.EOF {
				t.Fatalf("ReadAt: %v", err)
			}
			if first < 0 {
				first = int(buf[0])
			}
			if bytes.Count(buf[:n], []byte{byte(first)}) != n {
				mixed++
				break
			}
			whole++
		}
		obj.Close()
	}
	close(stop)
	wg.Wait()
	// versitygw looks an object's ETag up and then opens it, and may be overtaken
	// in between, once in a while. Without any check dozens are.
	if mixed > 2 {
		t.Errorf("%d reads had bytes of several versions, %d did not", mixed, whole)
	}
	if changed == 0 || whole == 0 {
		t.Errorf("%d reads succeeded, and %d found a change: the test has tested nothing", whole, changed)
	}
}

func TestRemovedWhileOpenIsErrChanged(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	b := newBucket(t, s.options())
	obj := open(t, b, s, "d/f", []byte("first"))
	must(t, s.Remove("d/f"))
	must(t, obj.Check()) // nothing has been read
	for range 2 {
		if _, err := obj.ReadAt(make([]byte, 5), 0); !errors.Is(err, watcher.ErrChanged) {
			t.Errorf("ReadAt: %v", err)
		}
		if err := obj.Check(); !errors.Is(err, watcher.ErrChanged) {
			t.Errorf("Check: %v", err)
		}
	}
	if u := b.Usage(); u.Gets != 1 {
		t.Errorf("%d requests for an object that was found changed, want 1", u.Gets)
	}
}

func TestAnonymousIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	must(t, s.Write("f", []byte("x")))
	o := s.options()
	o.AccessKey, o.SecretKey, o.Anonymous = "", "", true
	b := newBucket(t, o)
	if err := listErr(t, b); err == nil || !strings.Contains(err.Error(), "refuses anonymous access; give credentials") {
		t.Errorf("List: %v", err)
	}
	_, err := b.Open(t.Context(), watcher.File{Path: "f", Size: 1, Version: version{etag: "9dd4e461268c8034f5c8564e155c67a6", size: 1}.String()})
	if err == nil || errors.Is(err, watcher.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
}

func TestMissingBucketIsAnErrorAndNotEmpty(t *testing.T) {
	t.Parallel()
	o := newStore(t, shared(t)).options()
	o.Bucket = "no-such-bucket"
	if err := listErr(t, newBucket(t, o)); err == nil || !strings.Contains(err.Error(), "has no bucket of that name") {
		t.Errorf("List: %v", err)
	}
}

func TestRegionIsFoundOut(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	must(t, s.Write("f", []byte("x")))
	o := s.options()
	o.Region = ""
	b := newBucket(t, o)
	wantPaths(t, b, "", "f")
	wantPaths(t, b, "", "f")
	if u := b.Usage(); u.Others != 2 || u.Lists != 2 {
		t.Errorf("two listings: %+v", u)
	}
}

func TestServerMayBeDownAtFirst(t *testing.T) {
	t.Parallel()
	needGateway(t)
	addr := freeAddr()
	b := newBucket(t, Options{Endpoint: "http://" + addr, Region: region, Bucket: "later", AccessKey: accessKey, SecretKey: secretKey})
	err := listErr(t, b)
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("List while the server is down: %v", err)
	}
	_, err = b.Open(t.Context(), watcher.File{Path: "f", Size: 1, Version: version{etag: "9dd4e461268c8034f5c8564e155c67a6", size: 1}.String()})
	if err == nil || errors.Is(err, watcher.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open while the server is down: %v", err)
	}
	g, err := startGateway(addr)
	must(t, err)
	s := newStore(t, g)
	must(t, s.client.MakeBucket(t.Context(), "later", minio.MakeBucketOptions{Region: region}))
	s.bucket = "later"
	must(t, s.Write("f", []byte("x")))
	wantPaths(t, b, "", "f")
}

func TestServerIsBelievedByItsCertificate(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	must(t, s.Write("f", []byte("x")))
	p := httptest.NewUnstartedServer(passOn(s))
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	p.StartTLS()
	t.Cleanup(p.Close)
	o := s.options()
	o.Endpoint = p.URL
	if err := listErr(t, newBucket(t, o)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
	o.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(o.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o666))
	wantPaths(t, newBucket(t, o), "", "f")
	o.CAFile, o.CAs = "", p.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	wantPaths(t, newBucket(t, o), "", "f")
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	s := newStore(t, shared(t))
	must(t, s.Write("f", []byte("x")))
	o := s.options()
	o.AccessKey, o.SecretKey = "", ""
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	wantPaths(t, newBucket(t, o), "", "f")

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	shared := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(shared, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", shared)
	wantPaths(t, newBucket(t, o), "", "f")

	// Those of a role end and are asked for again in time.
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	var asked atomic.Int64
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Token": "", "Expiration": %q}`,
			accessKey, secretKey, time.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
	}))
	defer role.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL)
	b := newBucket(t, o)
	wantPaths(t, b, "", "f")
	before := asked.Load()
	time.Sleep(3 * time.Second)
	wantPaths(t, b, "", "f")
	if before == 0 || asked.Load() <= before {
		t.Errorf("the role was asked %d times, and %d after its credentials had expired", before, asked.Load())
	}

	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://"+freeAddr()+"/") // the role's
	if err := listErr(t, newBucket(t, o)); !errors.Is(err, errNoCredentials) {
		t.Errorf("List without any credentials: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBucketNameStandsWhereTheServerWantsIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		endpoint string
		how      Addressing
		want     string
	}{
		{"", Auto, "https://isos.s3.dualstack.us-east-1.amazonaws.com/f"},
		{"", PathStyle, "https://s3.dualstack.us-east-1.amazonaws.com/isos/f"},
		{"http://s3.example.org:9000", Auto, "http://s3.example.org:9000/isos/f"},
		{"http://s3.example.org:9000", PathStyle, "http://s3.example.org:9000/isos/f"},
		{"https://s3.example.org", VirtualHost, "https://isos.s3.example.org/f"},
	} {
		b := newBucket(t, Options{Endpoint: row.endpoint, Region: region, Bucket: "isos", Addressing: row.how, Anonymous: true})
		var got string
		b.meter.base = roundTripper(func(r *http.Request) (*http.Response, error) {
			got = r.URL.String()
			return httptest.NewRecorder().Result(), nil
		})
		b.Open(t.Context(), watcher.File{Path: "f", Size: 1, Version: version{etag: "9dd4e461268c8034f5c8564e155c67a6", size: 1}.String()})
		if got != row.want {
			t.Errorf("at %q, addressing %d: %s, want %s", row.endpoint, row.how, got, row.want)
		}
	}
}

func TestLinksAreGoodForAnybody(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	s.prefix = "below/"
	const name = "a b/ü #1 100% c+d.iso"
	data := pattern(100_000)
	_, err := s.client.PutObject(t.Context(), s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)),
		minio.PutObjectOptions{ContentEncoding: "gzip"})
	must(t, err)
	b := newBucket(t, s.options())
	files, _ := list(t, b, "")
	f := files[name]
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		link, err := b.Link(t.Context(), method, f)
		must(t, err)
		req, err := http.NewRequestWithContext(t.Context(), method, link, nil)
		must(t, err)
		req.Header.Set("Range", "bytes=50000-50009")
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		got, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode >= 300 || method == http.MethodGet && !bytes.Equal(got, data[50000:50010]) {
			t.Errorf("%s: status %d, %q", method, resp.StatusCode, got)
		}
		if enc := resp.Header.Get("Content-Encoding"); method == http.MethodGet && enc != "" && enc != "identity" {
			t.Errorf("%s: the encoding is %q", method, enc)
		}
		if strings.Contains(link, secretKey) {
			t.Errorf("the secret key is in %s", link)
		}
	}
	if _, err := b.Link(t.Context(), http.MethodPut, f); err == nil {
		t.Error("a link to write with")
	}
	must(t, s.Write(name, []byte("other")))
	if _, err := b.Link(t.Context(), http.MethodGet, f); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("a link to what is overwritten: %v", err)
	}
	must(t, s.Remove(name))
	if _, err := b.Link(t.Context(), http.MethodGet, f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link to what is removed: %v", err)
	}
	o := s.options()
	o.Anonymous, o.AccessKey, o.SecretKey = true, "", ""
	if _, err := newBucket(t, o).Link(t.Context(), http.MethodGet, f); err == nil {
		t.Error("a link without credentials")
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	var log logBuffer
	const secret, token = "s3cr3t-s3cr3t", "t0k3n-t0k3n"
	o := s.options()
	o.SecretKey, o.SessionToken, o.Log = secret, token, slog.New(slog.NewJSONHandler(&log, nil))
	o.Log.Info("options", "options", o.SecretKey)
	shown := []string{fmt.Sprintf("%v %+v %#v %s %q", o, o, o, o.SecretKey, o.SessionToken)}
	note := func(o Options) {
		b, err := New(o)
		if err != nil {
			shown = append(shown, err.Error())
			return
		}
		shown = append(shown, fmt.Sprintf("%v %+v", b, b))
		err = listErr(t, b)
		if err == nil {
			t.Error("a listing with a wrong secret does not fail")
		}
		shown = append(shown, fmt.Sprint(err))
		_, err = b.Open(t.Context(), watcher.File{Path: "f", Size: 1, Version: version{etag: "9dd4e461268c8034f5c8564e155c67a6", size: 1}.String()})
		shown = append(shown, fmt.Sprint(err))
	}
	note(o)
	o.SessionToken = ""
	note(o)
	o.Endpoint = "http://" + freeAddr()
	note(o)
	o.Endpoint = "http://user:" + secret + "@127.0.0.1/" + "?x=" + token
	note(o)
	o.Endpoint = "://" + secret
	note(o)
	for _, text := range append(shown, log.String()) {
		if strings.Contains(text, secret) || strings.Contains(text, token) || strings.Contains(text, secretKey) {
			t.Errorf("a secret is shown: %s", text)
		}
	}
}

func TestNewNamesEveryBadOption(t *testing.T) {
	_, err := New(Options{
		Endpoint: "ftp://example.org", Bucket: "x", Prefix: "a//b", AccessKey: "k", Ignore: []string{"["}, CAFile: "/no/such/file",
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"endpoint", "name of a bucket", "prefix", "secret key", `"["`, "/no/such/file"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not named in: %v", part, err)
		}
	}
	for _, o := range []Options{{Bucket: "isos"}, {Bucket: "isos", Endpoint: "https://s3.example.org/", Prefix: "public"}, {Bucket: "isos", Anonymous: true}} {
		if _, err := New(o); err != nil {
			t.Errorf("New(%+v): %v", o, err)
		}
	}
}

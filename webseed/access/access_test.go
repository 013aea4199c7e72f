package access

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	viewerToken   = "viewer-token-0123456789"
	operatorToken = "operator-token-0123456789"
)

// line is an account's line with a hash that is quick to check.
func line(t testing.TB, name, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return name + ":" + string(hash) + "\n"
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newTest returns an Access with the accounts ann (viewer) and bob (operator),
// and tokens for both.
func newTest(t testing.TB, change func(o *Options)) *Access {
	t.Helper()
	dir := t.TempDir()
	o := Options{
		Catalog: Private, Operator: Private,
		Accounts: filepath.Join(dir, "accounts"), Operators: filepath.Join(dir, "operators"),
		Tokens: []string{viewerToken}, OperatorTokens: []string{operatorToken},
		Realm: `The "best" catalog`, Host: "dl.example.org",
		ClientAddr: func(r *http.Request) netip.Addr {
			if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
				return ap.Addr()
			}
			return netip.Addr{}
		},
		Proxied: func(r *http.Request) bool { return r.Header.Get("Test-Proxied") != "" },
		Fail: func(w http.ResponseWriter, _ *http.Request, status int, reason string) {
			w.WriteHeader(status)
			io.WriteString(w, reason)
		},
		Log: slog.New(slog.DiscardHandler),
	}
	writeFile(t, o.Accounts, line(t, "ann", "ann's password"))
	writeFile(t, o.Operators, line(t, "bob", "bob's password"))
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(path string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr, r.Host = "203.0.113.7:1234", "dl.example.org"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func basic(user, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

// admitted returns the status of a request, 200 if it may pass.
func (a *Access) admitted(t testing.TB, r *http.Request, kind Kind) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r = a.Unwrap(r)
	may := a.May(r, kind)
	if ok := a.Admit(w, r, kind); ok != (w.Code == http.StatusOK) || w.Code != http.StatusTooManyRequests && ok != may {
		t.Errorf("Admit returned %v and May %v with status %d", ok, may, w.Code)
	}
	return w
}

func TestWhoMaySeeWhat(t *testing.T) {
	t.Parallel()
	identities := []struct {
		name    string
		path    string
		headers []string
	}{
		{"nobody", "/", nil},
		{"ann", "/", basic("ann", "ann's password")},
		{"bob", "/", basic("bob", "bob's password")},
		{"ann's name, bob's password", "/", basic("ann", "bob's password")},
		{"a token", "/?token=" + viewerToken, nil},
		{"a token in the path", "/token/" + viewerToken + "/", nil},
		{"a token as bearer", "/", []string{"Authorization", "Bearer " + viewerToken}},
		{"a token as password", "/", basic("anybody", viewerToken)},
		{"an operator's token", "/?token=" + operatorToken, nil},
		{"an operator's token as bearer", "/", []string{"Authorization", "bearer " + operatorToken}},
		{"a wrong token", "/?token=" + viewerToken + "x", nil},
		{"a wrong token, right password", "/?token=wrong", basic("ann", "ann's password")},
		{"half a header", "/", []string{"Authorization", "Basic"}},
	}
	const ok, login, known = 200, 401, 403
	for _, row := range []struct {
		name              string
		catalog, operator Audience
		// of catalog and operator, for each identity
		want [][2]int
	}{
		{"all public", Public, Public, slices.Repeat([][2]int{{ok, ok}}, len(identities))},
		{"operator private", Public, Private, [][2]int{
			{ok, login}, {ok, known}, {ok, ok}, {ok, login}, {ok, known}, {ok, login}, {ok, known}, {ok, known}, {ok, ok}, {ok, ok}, {ok, login}, {ok, known}, {ok, login}}},
		{"operator local", Public, Local, slices.Repeat([][2]int{{ok, known}}, len(identities))},
		{"catalog private", Private, Public, [][2]int{
			{login, login}, {ok, ok}, {ok, ok}, {login, login}, {ok, ok}, {ok, ok}, {ok, ok}, {ok, ok}, {ok, ok}, {ok, ok}, {login, login}, {ok, ok}, {login, login}}},
		{"all private", Private, Private, [][2]int{
			{login, login}, {ok, known}, {ok, ok}, {login, login}, {ok, known}, {ok, known}, {ok, known}, {ok, known}, {ok, ok}, {ok, ok}, {login, login}, {ok, known}, {login, login}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newTest(t, func(o *Options) { o.Catalog, o.Operator = row.catalog, row.operator })
			for i, who := range identities {
				for kind, want := range map[Kind]int{Open: ok, Catalog: row.want[i][0], Operator: row.want[i][1]} {
					a.failures = NewLimiter(guessesAgain, guesses) // this is not about guessing
					w := a.admitted(t, request(who.path, who.headers...), kind)
					if w.Code != want {
						t.Errorf("%s, kind %d: status %d, want %d: %s", who.name, kind, w.Code, want, w.Body)
					}
					if got := w.Header().Get("WWW-Authenticate"); (got != "") != (w.Code == login) {
						t.Errorf("%s, kind %d: status %d with WWW-Authenticate %q", who.name, kind, w.Code, got)
					}
				}
			}
		})
	}
}

func TestChallengeAsksPeopleAndNotScripts(t *testing.T) {
	t.Parallel()
	a := newTest(t, nil)
	for headers, want := range map[string]string{
		"":                        `Basic realm="The 'best' catalog", charset="UTF-8"`,
		"Sec-Fetch-Mode=navigate": `Basic realm="The 'best' catalog", charset="UTF-8"`,
		"Sec-Fetch-Mode=cors":     `Bearer realm="The 'best' catalog"`,
	} {
		r := request("/")
		if name, value, ok := strings.Cut(headers, "="); ok {
			r.Header.Set(name, value)
		}
		if got := a.admitted(t, r, Catalog).Header().Get("WWW-Authenticate"); got != want {
			t.Errorf("%q: challenge %q, want %q", headers, got, want)
		}
	}
}

func TestBrowsersMayAskWhetherToLogIn(t *testing.T) {
	t.Parallel()
	for catalog, want := range map[Audience]int{Public: 200, Private: 401} {
		a := newTest(t, func(o *Options) { o.Catalog = catalog })
		r := request("/api/v1/stats", "Origin", "https://elsewhere.example", "Access-Control-Request-Headers", "authorization")
		r.Method = http.MethodOptions
		if w := a.admitted(t, r, Operator); w.Code != want {
			t.Errorf("catalog %d: status %d, want %d", catalog, w.Code, want)
		}
	}
}

func TestLocalIsThisMachineOnly(t *testing.T) {
	t.Parallel()
	a := newTest(t, func(o *Options) { o.Operator = Local })
	for _, row := range []struct {
		remote, host string
		headers      []string
		ok           bool
	}{
		{"127.0.0.1:1", "localhost:8080", nil, true},
		{"127.0.0.1:1", "127.0.0.1:8080", nil, true},
		{"[::1]:1", "[::1]:8080", nil, true},
		{"[::1]:1", "[::1]", nil, true},
		{"127.0.0.1:1", "DL.example.org", nil, true},
		{"127.0.0.1:1", "localhost", []string{"Test-Proxied", "1", "X-Forwarded-For", "127.0.0.1"}, true},
		{"203.0.113.7:1", "localhost", nil, false},
		{"bad", "localhost", nil, false},
		{"127.0.0.1:1", "elsewhere.example:8080", nil, false},
		{"127.0.0.1:1", "", nil, false},
		{"127.0.0.1:1", "localhost", []string{"X-Forwarded-For", "203.0.113.7"}, false},
		{"127.0.0.1:1", "localhost", []string{"Forwarded", "for=203.0.113.7"}, false},
		{"127.0.0.1:1", "localhost", []string{"X-Real-IP", "203.0.113.7"}, false},
		{"127.0.0.1:1", "localhost:8080", []string{"Origin", "http://localhost:8080"}, true},
		{"127.0.0.1:1", "localhost:8080", []string{"Origin", "https://elsewhere.example"}, false},
		{"127.0.0.1:1", "localhost:8080", []string{"Origin", "http://localhost:3000"}, false},
		{"127.0.0.1:1", "localhost:8080", []string{"Origin", "null"}, false},
		{"203.0.113.7:1", "localhost", basic("bob", "bob's password"), false},
	} {
		r := request("/status", row.headers...)
		r.RemoteAddr, r.Host = row.remote, row.host
		if got := a.admitted(t, r, Operator); (got.Code == 200) != row.ok {
			t.Errorf("from %s for %s with %v: status %d", row.remote, row.host, row.headers, got.Code)
		}
	}
}

func TestGuessingIsSlow(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		attempt func(i int) *http.Request
	}{
		{"passwords", func(i int) *http.Request { return request("/", basic("ann", fmt.Sprint(i))...) }},
		{"accounts", func(i int) *http.Request { return request("/", basic(fmt.Sprint(i), "x")...) }},
		{"tokens", func(i int) *http.Request { return request(fmt.Sprintf("/?token=guessed-token-%d", i)) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newTest(t, nil)
				status := func(r *http.Request) *httptest.ResponseRecorder {
					w := httptest.NewRecorder()
					a.Admit(w, r, Catalog)
					return w
				}
				for i := range guesses {
					if w := status(row.attempt(i)); w.Code != 401 {
						t.Fatalf("guess %d: status %d", i, w.Code)
					}
				}
				w := status(row.attempt(-1))
				if wait := w.Header().Get("Retry-After"); w.Code != 429 || wait != "6" {
					t.Errorf("one guess more: status %d, Retry-After %q", w.Code, wait)
				}
				// What is right does not show either, or guessing would go on.
				if w := status(request("/", basic("ann", "ann's password")...)); w.Code != 429 {
					t.Errorf("the right password after too many guesses: status %d", w.Code)
				}
				if w := status(request("/?token=" + viewerToken)); w.Code != 429 {
					t.Errorf("the right token after too many guesses: status %d", w.Code)
				}
				other := request("/", basic("ann", "ann's password")...)
				other.RemoteAddr = "203.0.113.8:1"
				if w := status(other); w.Code != 200 {
					t.Errorf("from another address: status %d", w.Code)
				}
				if w := status(request("/")); w.Code != 401 {
					t.Errorf("without a guess: status %d", w.Code)
				}
				time.Sleep(6 * time.Second)
				for range 100 { // what is right costs nothing
					if w := status(request("/", basic("ann", "ann's password")...)); w.Code != 200 {
						t.Fatalf("after a while: status %d", w.Code)
					}
				}
				if w := status(row.attempt(-2)); w.Code != 401 {
					t.Errorf("another guess after a while: status %d", w.Code)
				}
				if w := status(row.attempt(-3)); w.Code != 429 {
					t.Errorf("two guesses after a while: status %d", w.Code)
				}
			})
		})
	}
}

func TestManyGuessesAtOnceAreCountedToo(t *testing.T) {
	t.Parallel()
	a := newTest(t, nil)
	statuses := func(n int, of func(i int) *http.Request) map[int]int {
		var mu sync.Mutex
		counts := make(map[int]int)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				w := httptest.NewRecorder()
				a.Admit(w, of(i), Catalog)
				mu.Lock()
				defer mu.Unlock()
				counts[w.Code]++
			})
		}
		all.Wait()
		return counts
	}
	// A page's requests, before its password is known.
	if got := statuses(200, func(int) *http.Request { return request("/", basic("ann", "ann's password")...) }); got[200] != 200 {
		t.Errorf("with the right password: %v", got)
	}
	if got := statuses(200, func(i int) *http.Request { return request("/", basic("ann", fmt.Sprint(i))...) }); got[401] < guesses || got[401] > guesses+1 || got[401]+got[429] != 200 {
		t.Errorf("with wrong passwords: %v", got)
	}
}

func TestUnknownAccountsTakeAsLong(t *testing.T) {
	a := newTest(t, nil)
	slow, err := bcrypt.GenerateFromPassword([]byte("x"), 8)
	if err != nil {
		t.Fatal(err)
	}
	// htpasswd's hashes cost less than ours.
	writeFile(t, a.o.Accounts, "ann:"+string(slow)+"\n"+line(t, "carl", "x"))
	all, err := readAccounts(a.o.Accounts, "")
	if err != nil {
		t.Fatal(err)
	}
	// The least of many, by turns: the machine may be busy with something else.
	took := map[string]time.Duration{"ann": time.Hour, "carl": time.Hour, "nobody": time.Hour}
	for i := range 12 {
		for name := range took {
			began := time.Now()
			if is, err := all.check(a.checks, name, fmt.Sprint("wrong", i)); is != nobody || err != nil {
				t.Fatalf("%s is %v, %v", name, is, err)
			}
			took[name] = min(took[name], time.Since(began))
		}
	}
	for _, name := range []string{"ann", "carl"} {
		known, unknown := took[name], took["nobody"]
		if ratio := float64(known) / float64(unknown); ratio < 1./3 || ratio > 3 {
			t.Errorf("a wrong password of %s takes %v, an unknown account %v", name, known, unknown)
		}
		t.Logf("a wrong password of %s takes %v, an unknown account %v", name, known, unknown)
	}
}

func TestChangedAccountsAreSeen(t *testing.T) {
	t.Parallel()
	a := newTest(t, nil)
	expect := func(user, password string, want int) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			w := httptest.NewRecorder()
			a.failures = NewLimiter(guessesAgain, guesses)
			a.Admit(w, request("/", basic(user, password)...), Operator)
			if w.Code == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s with %q: status %d, want %d", user, password, w.Code, want)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	expect("bob", "bob's password", 200)
	expect("ann", "ann's password", 403)
	writeFile(t, a.o.Operators, line(t, "bob", "another password"))
	expect("bob", "another password", 200)
	expect("bob", "bob's password", 401)
	writeFile(t, a.o.Operators, "nonsense")
	writeFile(t, a.o.Accounts, "")
	time.Sleep(recheck + 100*time.Millisecond)
	expect("bob", "another password", 200)
	expect("ann", "ann's password", 403) // all files are of one time
	if err := os.Remove(a.o.Operators); err != nil {
		t.Fatal(err)
	}
	time.Sleep(recheck + 100*time.Millisecond)
	expect("bob", "another password", 200)
	writeFile(t, a.o.Operators, line(t, "carl", "carl's password"))
	expect("carl", "carl's password", 200)
	expect("bob", "another password", 401)
	expect("ann", "ann's password", 401)
}

func TestTokensAreCarriedOn(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		path, prefix, rewritten string
	}{
		{"/?token=" + viewerToken, "/token/" + viewerToken, "/prefix/token/" + viewerToken + "/"},
		{"/releases/a%2Fb?q=1&token=" + viewerToken, "/token/" + viewerToken, "/prefix/token/" + viewerToken + "/releases/a%2Fb?q=1"},
		{"/token/" + viewerToken + "/feed.rss", "/token/" + viewerToken, ""},
		{"/?token=" + operatorToken, "", ""},
		{"/token/" + operatorToken + "/", "", ""},
		{"/?token=wrong", "", ""},
		{"/", "", ""},
	} {
		a := newTest(t, nil)
		r := a.Unwrap(request(row.path, "Accept", "text/html,*/*"))
		if got := a.Prefix(r); got != row.prefix {
			t.Errorf("%s: prefix %q, want %q", row.path, got, row.prefix)
		}
		if got := a.Rewritten(r, "/prefix"); got != row.rewritten {
			t.Errorf("%s: rewritten to %q, want %q", row.path, got, row.rewritten)
		}
		if got := a.Rewritten(a.Unwrap(request(row.path)), "/prefix"); got != "" {
			t.Errorf("%s: no browser, rewritten to %q", row.path, got)
		}
		base := "https://dl.example.org/token/x/y"
		if got := WithoutToken(base + a.Prefix(r)); got != base {
			t.Errorf("%s: the base is %q without the token, want %q", row.path, got, base)
		}
	}
	a := newTest(t, func(o *Options) { o.Catalog = Public })
	if r := a.Unwrap(request("/token/" + viewerToken + "/")); a.Prefix(r) != "" || r.URL.Path != "/token/"+viewerToken+"/" {
		t.Errorf("a public catalog carries on %q, with path %q", a.Prefix(r), r.URL.Path)
	}
}

func TestUnwrapKeepsThePathAsItCame(t *testing.T) {
	t.Parallel()
	a := newTest(t, nil)
	for path, want := range map[string][2]string{
		"/token/x/files/a%2Fb%3F": {"/files/a/b?", "/files/a%2Fb%3F"},
		"/token/x/":               {"/", "/"},
		"/token/x//api":           {"//api", "//api"},
		"/token/x/token/y/a":      {"/token/y/a", "/token/y/a"},
		"/token/x":                {"/token/x", "/token/x"},
		"/t%6fken/x/a":            {"/token/x/a", "/t%6fken/x/a"},
	} {
		if r := a.Unwrap(request(path)); r.URL.Path != want[0] || RawPath(r.URL) != want[1] {
			t.Errorf("%s: %q, raw %q", path, r.URL.Path, RawPath(r.URL))
		}
	}
}

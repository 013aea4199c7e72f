// Package access decides who may see what over HTTP.
//
// A request's path is of a [Kind], and each kind has an [Audience]. Those who
// are not everybody say who they are with an account of an htpasswd file
// (bcrypt only) or a token; [Access.Admit] lets a request pass or answers it.
// Passwords are slow to check by design, so good ones are remembered as a keyed
// hash until the files change, few are checked at a time, and an address that
// guesses is turned away for a while, without a look at what it says. Nothing in
// an answer or its time tells an unknown account from a wrong password.
//
// The catalog's tokens may stand in URLs, as ?token=TOKEN or, which is the same,
// as the first part of the path, /token/TOKEN/…: whoever makes the URLs of an
// answer only has to put [Access.Prefix] behind the base of them all.
//
// The package serves nothing, and what BitTorrent needs is open: clients cannot
// log in.
package access

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dropseed/webseed/reload"
)

// Audience is for whom a kind of paths is.
type Audience int

// The Audiences.
const (
	Public  Audience = iota // everybody; of Operator, whoever may see the catalog
	Local                   // this machine; of Operator only
	Private                 // those who are known
)

// Options is what an Access stands on.
type Options struct {
	Catalog, Operator Audience // of the kinds
	// Accounts and Operators are htpasswd files of those who may see the catalog
	// and everything. An account in both is an operator. "": none.
	Accounts, Operators string
	// Tokens and OperatorTokens are for the same. They may stand in a URL as they are.
	Tokens, OperatorTokens []string

	Realm string // for what people are asked to log in
	Host  string // by which this machine's own requests may call it, besides localhost and addresses
	// ClientAddr returns where a request came from, reverse proxies of ours aside,
	// and Proxied whether it came through one of these.
	ClientAddr func(r *http.Request) netip.Addr
	Proxied    func(r *http.Request) bool
	// Fail answers with an error for people. Headers may have been set.
	Fail func(w http.ResponseWriter, r *http.Request, status int, reason string)
	Log  *slog.Logger
}

// Access is safe for concurrent use.
type Access struct {
	o        Options
	key      [32]byte // of hashes that never leave the process
	tokens   []token
	accounts *reload.Value[*accounts] // nil: there are none
	failures *Limiter
	checks   chan struct{} // holds one for each password that is being checked
}

// Wrong guesses of one client: how many at once, and how many a second then.
const (
	guesses      = 10
	guessesAgain = 1.0 / 6
)

// recheck is how often the files of accounts are looked at, at most.
const recheck = time.Second

// New reads the files of accounts.
func New(o Options) (*Access, error) {
	a := &Access{o: o, key: newKey(), failures: NewLimiter(guessesAgain, guesses), checks: make(chan struct{}, checksAtOnce())}
	for _, t := range o.Tokens {
		a.tokens = append(a.tokens, token{a.digest("token", t), viewer})
	}
	for _, t := range o.OperatorTokens {
		a.tokens = append(a.tokens, token{a.digest("token", t), operator})
	}
	var paths []string
	for _, path := range []string{o.Accounts, o.Operators} {
		if path != "" {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return a, nil
	}
	var err error
	a.accounts, err = reload.New("accounts", recheck, o.Log, func() (*accounts, error) {
		return readAccounts(o.Accounts, o.Operators)
	}, paths...)
	return a, err
}

// verdict is whether a request may pass: status 0, or what to answer it with.
type verdict struct {
	status int
	reason string
	wait   time.Duration // until it is worth to try again; 0: not said
}

// Admit reports whether a request for a path of a kind may pass, and answers it
// if not.
func (a *Access) Admit(w http.ResponseWriter, r *http.Request, kind Kind) bool {
	v := a.decide(r, kind)
	if v.status == 0 {
		return true
	}
	h := w.Header()
	if v.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", a.challenge(r))
	}
	Refuse(w, r, v.status, v.reason, v.wait, a.o.Fail)
	return false
}

// Refuse answers a request that may come again after a while; 0: that is not said.
func Refuse(w http.ResponseWriter, r *http.Request, status int, reason string, wait time.Duration, fail func(http.ResponseWriter, *http.Request, int, string)) {
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	}
	fail(w, r, status, reason)
}

// May reports whether whoever sent a request may see paths of a kind.
func (a *Access) May(r *http.Request, kind Kind) bool { return a.decide(r, kind).status == 0 }

func (a *Access) decide(r *http.Request, kind Kind) verdict {
	audience, least := a.o.Catalog, viewer
	if kind == Operator && a.o.Operator != Public {
		audience, least = a.o.Operator, operator
	}
	switch {
	case kind == Open || audience == Public:
		return verdict{}
	case r.Method == http.MethodOptions && a.o.Catalog != Private:
		return verdict{} // a browser asks whether a page elsewhere may log in; it says nothing of who it is
	case audience == Local && a.isLocal(r):
		return verdict{}
	case audience == Local:
		return verdict{status: http.StatusForbidden, reason: "This can be seen from the server's own machine only."}
	}
	is, v := a.identify(r)
	switch {
	case v.status != 0 || is >= least:
		return v
	case is != nobody:
		return verdict{status: http.StatusForbidden, reason: "This is for the operators of this server. You are known, but not as one of them."}
	case least == operator:
		return verdict{status: http.StatusUnauthorized, reason: "This is for the operators of this server. Log in with an operator's account to see it."}
	}
	return verdict{status: http.StatusUnauthorized, reason: "This catalog is private. Log in with the account, or use the address with a token, that you were given."}
}

// identify returns who sent a request, by what it says of itself. A verdict with
// a status says why that was not looked at.
func (a *Access) identify(r *http.Request) (level, verdict) {
	given := credentialsOf(r)
	if given.none() {
		return nobody, verdict{}
	}
	client := a.o.ClientAddr(r)
	if wait := a.failures.Wait(client); wait > 0 {
		return nobody, tooMany(wait)
	}
	is := nobody
	for _, t := range given.tokens {
		is = max(is, a.tokenLevel(t))
	}
	if is != nobody {
		return is, verdict{}
	}
	if given.basic && a.accounts != nil {
		is, v := a.accounts.Get().verify(a, client, given.user, given.password)
		if is == nobody && v.status == 0 {
			a.o.Log.Info("a login failed", "peer", client.String())
		}
		return is, v
	}
	a.failures.Allow(client)
	a.o.Log.Info("a login failed", "peer", client.String())
	return nobody, verdict{}
}

func tooMany(wait time.Duration) verdict {
	return verdict{http.StatusTooManyRequests, "Too many wrong passwords or tokens came from your address. Try again later.", wait}
}

// challenge is a 401's WWW-Authenticate. A script of another site must not make
// the browser ask the visitor for a password, so it gets one that browsers pass
// on. Our own scripts ask only for what the visitor may see: for these, the
// browser repeats what it was told on a page in another folder.
func (a *Access) challenge(r *http.Request) string {
	realm := strings.Map(func(c rune) rune {
		switch {
		case c < ' ' || c == 0x7f:
			return -1
		case c == '"' || c == '\\':
			return '\''
		}
		return c
	}, a.o.Realm)
	mode, site := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Site")
	if mode != "" && mode != "navigate" && site != "same-origin" {
		return fmt.Sprintf(`Bearer realm="%s"`, realm)
	}
	return fmt.Sprintf(`Basic realm="%s", charset="UTF-8"`, realm)
}

// isLocal reports whether a request comes from this machine. One that has come
// through a proxy that is not ours to trust comes from anywhere; and so does one
// for another host's name: a page somewhere else gets a browser here to send
// it, once its name leads to this machine. Nor is one that a browser says to send
// for a page of another host: that page could read the answer.
func (a *Access) isLocal(r *http.Request) bool {
	if !a.o.ClientAddr(r).IsLoopback() {
		return false
	}
	if !a.o.Proxied(r) {
		for _, header := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via"} {
			if r.Header.Get(header) != "" {
				return false
			}
		}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || host != "" && strings.EqualFold(host, a.o.Host)
}

package configs

import (
	"errors"
	"strings"
)

// Access is who may see what over HTTP. The catalog is the pages, feeds,
// .torrent files, direct downloads and the API about releases; the operator's
// part is the status page, figures, events and metrics. BitTorrent clients
// cannot log in, so the tracker, the webseed and the port for peers are open to
// whoever knows a release's info-hash; publish nothing there that must not
// reach one who has its .torrent or magnet link.
type Access struct {
	// Catalog is public, or private: for those with an account or a token.
	Catalog Audience `key:"catalog"`
	// Operator is public: for whoever may see the catalog; local: for requests
	// from this machine's loopback addresses, with trusted_proxies looked
	// through; or private: for operators.
	Operator Audience `key:"operator"`
	// Accounts is a file of accounts that may see the catalog: lines of
	// NAME:HASH (htpasswd, bcrypt only), as dropseed account hash prints them. It
	// is read again when it changes.
	Accounts string `key:"accounts"`
	// Operators is such a file of accounts that may see everything.
	Operators string `key:"operators"`
	// Tokens let programs see the catalog: as Authorization: Bearer TOKEN, as the
	// password of any user, or as ?token=TOKEN, which the URLs within the answers
	// then carry on. At least 16 letters, digits and - . _ ~ each.
	Tokens []Secret `key:"tokens"`
	// OperatorTokens let programs see everything. They are not carried on.
	OperatorTokens []Secret `key:"operator_tokens"`
}

// Audience is for whom something is.
type Audience string

// The Audiences.
const (
	Public  Audience = ""        // everybody
	Local   Audience = "local"   // this machine
	Private Audience = "private" // those who are known
)

// UnmarshalText reads public, local or private.
func (a *Audience) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "public":
		*a = Public
	case "local", "private":
		*a = Audience(s)
	default:
		return errors.New("want public, local or private")
	}
	return nil
}

// TLS is a certificate of the operator's own.
type TLS struct {
	// Cert is the certificate (PEM), followed by those that lead to its
	// authority's, and Key its key. They are read again when they change.
	Cert string `key:"cert"`
	Key  string `key:"key"`
}

// ACME is where certificates come from by themselves.
type ACME struct {
	// Domains are the names to get certificates for, which have to lead to this
	// listener from outside: on port 443 at Let's Encrypt, or with http.redirect
	// on port 80. Naming any accepts the authority's terms of service.
	Domains []string `key:"domains"`
	// Email is where the authority reports trouble. Empty: nowhere.
	Email string `key:"email"`
	// Directory is the authority's URL. Empty: Let's Encrypt's.
	Directory string `key:"directory"`
	// CAFile holds the certificates (PEM) that vouch for the directory's server.
	// Empty: the system's.
	CAFile string `key:"ca_file"`
}

// Requests bounds how often one client may ask for pages, feeds, .torrent files
// and the API. Content, the tracker and this machine's own requests are not counted.
type Requests struct {
	// Rate is how many requests a second a client (an IPv4 address, or an IPv6
	// /64) may make. 0: unlimited.
	Rate float64 `key:"rate"`
	// Burst is how many it may make at once after a pause.
	Burst int `key:"burst"`
}

// Encrypted reports whether the listener speaks https.
func (h HTTP) Encrypted() bool { return h.TLS.Cert != "" || len(h.ACME.Domains) > 0 }

func (a Access) validate(ps *Problems) {
	if a.Catalog == Local {
		ps.add("access.catalog", "", "want public or private, got local")
	}
	for _, list := range []struct {
		key    string
		tokens []Secret
	}{{"access.tokens", a.Tokens}, {"access.operator_tokens", a.OperatorTokens}} {
		for i, t := range list.tokens {
			if len(t) < leastSecret || len(t) > 200 || !goodToken(t.Reveal()) {
				ps.add(list.key, "", "want %d to 200 letters, digits and - . _ ~, such as openssl rand -hex 16 prints; number %d is not like that", leastSecret, i+1)
			}
		}
	}
	for _, t := range a.Tokens {
		for _, o := range a.OperatorTokens {
			if t == o {
				ps.add("access.operator_tokens", "", "want other tokens than in access.tokens: those are carried on in URLs")
			}
		}
	}
	// What nobody can pass is a mistake, and so is what keeps nobody out.
	viewers := a.Accounts != "" || len(a.Tokens) > 0
	operators := a.Operators != "" || len(a.OperatorTokens) > 0
	if a.Catalog == Private && !viewers && !operators {
		ps.add("access.catalog", "", "private, but nobody may see it: want accounts, operators, tokens or operator_tokens besides")
	}
	if a.Operator == Private && !operators {
		ps.add("access.operator", "", "private, but nobody may see it: want operators or operator_tokens besides")
	}
	if a.Catalog == Public && viewers {
		ps.add("access.catalog", "", "public, so accounts and tokens keep nobody out: want catalog: private, or neither accounts nor tokens")
	}
	if a.Catalog == Public && a.Operator != Private && operators {
		ps.add("access.operator", "", "%s, so operators and operator_tokens have no effect: want operator: private, or neither", a.Operator)
	}
}

// String returns the word that stands for a.
func (a Audience) String() string {
	if a == Public {
		return "public"
	}
	return string(a)
}

// goodToken says whether a token can stand in a URL as it is.
func goodToken(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") == ""
}

func (h HTTP) validateTLS(ps *Problems) {
	t, a := h.TLS, h.ACME
	switch {
	case t.Cert != "" && t.Key == "":
		ps.add("http.tls.key", "", "missing: want the key of http.tls.cert")
	case t.Cert == "" && t.Key != "":
		ps.add("http.tls.cert", "", "missing: want the certificate of http.tls.key")
	}
	if (t.Cert != "" || t.Key != "") && len(a.Domains) > 0 {
		ps.add("http.acme.domains", "", "want either http.tls or http.acme")
	}
	for _, d := range a.Domains {
		if !goodDomain(d) {
			ps.add("http.acme.domains", "", "want names such as dl.example.org, in ASCII and without port, got %q", d)
		}
	}
	if len(a.Domains) == 0 && (a.Email != "" || a.Directory != "" || a.CAFile != "") {
		ps.add("http.acme.domains", "", "missing: want the names to get certificates for")
	}
	if a.Directory != "" && !strings.HasPrefix(a.Directory, "https://") {
		ps.add("http.acme.directory", "", "want a URL with https://, got %q", a.Directory)
	}
	if a.Email != "" && (!strings.Contains(a.Email, "@") || strings.ContainsAny(a.Email, " ,:")) {
		ps.add("http.acme.email", "", "want an address such as admin@example.org, got %q", a.Email)
	}
	if h.Redirect != "" {
		checkListen(ps, "http.redirect", h.Redirect)
		if !h.Encrypted() {
			ps.add("http.redirect", "", "want it only with http.tls or http.acme: it leads to https")
		}
	}
	if u := h.PublicURL; u != nil && strings.Contains(u.Path+"/", "/token/") {
		ps.add("http.public_url", "", "want another path than /token/, which stands before the tokens of access, got %q", u.Redacted())
	}
	if u := h.PublicURL; u != nil && u.Scheme == "http" && h.Encrypted() {
		ps.add("http.public_url", "", "want https:// with http.tls and http.acme, got %q", u.Redacted())
	}
}

// goodDomain says whether a certificate can be had for a name.
func goodDomain(d string) bool {
	if len(d) > 253 || !strings.Contains(d, ".") {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return true
}

func (r Requests) validate(ps *Problems) {
	between(ps, "limits.requests.rate", r.Rate, 0, 1_000_000)
	between(ps, "limits.requests.burst", r.Burst, 1, 1_000_000)
}

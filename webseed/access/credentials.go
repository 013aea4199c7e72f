package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
)

// level is what somebody may see, a greater one more.
type level int

const (
	nobody   level = iota
	viewer         // the catalog
	operator       // everything
)

// credentials are what a request says of who sent it.
type credentials struct {
	tokens         []string
	basic          bool
	user, password string
}

func (c credentials) none() bool { return len(c.tokens) == 0 && !c.basic }

func credentialsOf(r *http.Request) (c credentials) {
	if t := urlToken(r); t != "" {
		c.tokens = append(c.tokens, t)
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		c.tokens = append(c.tokens, strings.TrimSpace(rest))
	}
	if c.user, c.password, c.basic = r.BasicAuth(); c.basic {
		c.tokens = append(c.tokens, c.password)
	}
	return c
}

// The places of a token in URLs.
const (
	tokenKey    = "token"
	tokenPrefix = "/token/"
)

type pathToken struct{} // key of a request's context

// urlToken returns the token in a request's URL, or "".
func urlToken(r *http.Request) string {
	if t, ok := r.Context().Value(pathToken{}).(string); ok {
		return t
	}
	if !strings.Contains(r.URL.RawQuery, tokenKey+"=") {
		return ""
	}
	return r.URL.Query().Get(tokenKey)
}

// Unwrap returns a request for /token/TOKEN/PATH as one for /PATH that knows its
// token, and every other as it is. Whether the token is good is not looked at.
func (a *Access) Unwrap(r *http.Request) *http.Request {
	if a.o.Catalog != Private {
		return r
	}
	rest, ok := strings.CutPrefix(RawPath(r.URL), tokenPrefix)
	if !ok {
		return r
	}
	token, path, ok := strings.Cut(rest, "/")
	if !ok {
		return r
	}
	decoded, err := url.PathUnescape("/" + path)
	if err != nil {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = decoded, "/"+path
	r = r.WithContext(context.WithValue(r.Context(), pathToken{}, token))
	r.URL = &u
	return r
}

// Prefix returns /token/TOKEN if a request's URL holds a token of the catalog
// that is needed to see it, else "". Operators' tokens are not carried on.
func (a *Access) Prefix(r *http.Request) string {
	if a.o.Catalog != Private {
		return ""
	}
	t := urlToken(r)
	if t == "" || a.tokenLevel(t) != viewer {
		return ""
	}
	return tokenPrefix + t
}

// Rewritten returns where a browser that gave a token of the catalog as a query
// finds the same with the token in the path, so that relative links carry it on;
// or "". root is the path of the public URL without a slash at its end.
func (a *Access) Rewritten(r *http.Request, root string) string {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "text/html") || r.Context().Value(pathToken{}) != nil {
		return ""
	}
	prefix := a.Prefix(r)
	if prefix == "" {
		return ""
	}
	to := root + prefix + RawPath(r.URL)
	query := r.URL.Query()
	query.Del(tokenKey)
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	return to
}

// WithoutToken returns a base of URLs as it was before a [Access.Prefix] came
// behind it: for what people pass on.
func WithoutToken(base string) string {
	if i := strings.LastIndex(base, tokenPrefix); i >= 0 && !strings.Contains(base[i+len(tokenPrefix):], "/") {
		return base[:i]
	}
	return base
}

// token is a token and what it is good for.
type token struct {
	digest [32]byte
	level  level
}

// tokenLevel returns what a token is good for, in a time that does not depend on
// which one it is or how much of one is right.
func (a *Access) tokenLevel(t string) level {
	digest, is := a.digest("token", t), 0
	for _, known := range a.tokens {
		is = max(is, subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], known.digest[:]), int(known.level), 0))
	}
	return level(is)
}

func newKey() (key [32]byte) {
	rand.Read(key[:]) // never fails
	return key
}

// digest is a keyed hash of a list of texts.
func (a *Access) digest(texts ...string) (sum [32]byte) {
	mac := hmac.New(sha256.New, a.key[:])
	for _, t := range texts {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(t))))
		mac.Write([]byte(t))
	}
	mac.Sum(sum[:0])
	return sum
}

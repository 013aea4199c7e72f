package site

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"dropseed/webseed/access"
)

// A problem is an error as the API tells it (RFC 9457). Its type is a reference
// to the paragraph about it on the page at /api/; that reference begins with the
// path of the public URL, which is another at every server, so clients go by the
// code, which stays.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"` // of all problems with the code
	Status   int    `json:"status"`
	Detail   string `json:"detail"`   // of this one; for people
	Instance string `json:"instance"` // the path that was asked for; never its query, which may hold a secret
	Code     code   `json:"code,omitempty"`

	Parameter string `json:"parameter,omitempty"` // the one that is not valid
}

// code tells a kind of problem from all others. What each means is told in
// openapi.yaml.
type code string

// The codes.
const (
	codeInvalidParameter code = "invalid-parameter"
	codeMalformedQuery   code = "malformed-query"
	codeUnauthorized     code = "unauthorized"
	codeForbidden        code = "forbidden"
	codeNotFound         code = "not-found"
	codeReleaseNotFound  code = "release-not-found"
	codeMethodNotAllowed code = "method-not-allowed"
	codeReleaseRetired   code = "release-retired"
	codeTooManyRequests  code = "too-many-requests"
	codeInternalError    code = "internal-error"
	codeUnavailable      code = "unavailable"
)

type kind struct {
	Code   code
	Status int
	Title  string
}

// kinds are all there are. The first of a status is the one that is meant when
// nothing but the status is known.
var kinds = []kind{
	{codeInvalidParameter, http.StatusBadRequest, "A parameter is not valid"},
	{codeMalformedQuery, http.StatusBadRequest, "The query cannot be read"},
	{codeUnauthorized, http.StatusUnauthorized, "Who asks is not known"},
	{codeForbidden, http.StatusForbidden, "This is not for the one who asks"},
	{codeReleaseNotFound, http.StatusNotFound, "There is no such release"},
	{codeNotFound, http.StatusNotFound, "There is nothing at this address"},
	{codeMethodNotAllowed, http.StatusMethodNotAllowed, "The method is not allowed"},
	{codeReleaseRetired, http.StatusGone, "The release is retired"},
	{codeTooManyRequests, http.StatusTooManyRequests, "Too many requests"},
	{codeInternalError, http.StatusInternalServerError, "The server failed"},
	{codeUnavailable, http.StatusServiceUnavailable, "The server cannot answer right now"},
}

// retryAfter is when one whom the server cannot answer should come again, in seconds.
const retryAfter = 5

// problem answers with a problem of a kind.
func (s *Site) problem(w http.ResponseWriter, r *http.Request, c code, detail string) {
	for _, k := range kinds {
		if k.Code == c {
			s.writeProblem(w, r, k, problem{Detail: detail})
			return
		}
	}
	panic("site: no such code: " + string(c))
}

// badParameter is a parameter that is not valid.
type badParameter struct{ name, wrong string }

func (e *badParameter) Error() string { return e.name + " " + e.wrong }

// invalid answers that the API's parameters are not valid.
func (s *Site) invalid(w http.ResponseWriter, r *http.Request, err error) {
	p := problem{Detail: err.Error()}
	if bad, ok := errors.AsType[*badParameter](err); ok {
		p.Parameter = bad.name
	}
	s.writeProblem(w, r, kinds[0], p)
}

// query returns the parameters of a request to the API, or answers that they
// cannot be read, since one who asked for something must not get something else.
func (s *Site) query(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.problem(w, r, codeMalformedQuery, "The query cannot be read: "+err.Error()+".")
	}
	return v, err == nil
}

// problemOf answers with the problem that a status usually is.
func (s *Site) problemOf(w http.ResponseWriter, r *http.Request, status int, detail string) {
	k := kind{Status: status, Title: http.StatusText(status)}
	for _, known := range kinds {
		if known.Status == status {
			k = known
			break
		}
	}
	s.writeProblem(w, r, k, problem{Detail: detail})
}

func (s *Site) writeProblem(w http.ResponseWriter, r *http.Request, k kind, p problem) {
	prefix := root(access.WithoutToken(s.o.Base(r))) // people pass problems on
	p.Type, p.Title, p.Status, p.Code = prefix+"/api/#"+string(k.Code), k.Title, k.Status, k.Code
	if k.Code == "" {
		p.Type = "about:blank"
	}
	p.Instance = prefix + r.URL.EscapedPath()
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if k.Status == http.StatusServiceUnavailable || k.Status == http.StatusTooManyRequests {
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", strconv.Itoa(retryAfter))
		}
	}
	for _, of := range []string{"ETag", "Last-Modified", "Link", "Content-Length"} {
		h.Del(of) // of what would have been the answer
	}
	w.WriteHeader(k.Status)
	// A client that went away is the only way to fail.
	_ = json.NewEncoder(w).Encode(p)
}

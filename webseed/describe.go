package webseed

import (
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"dropseed/publisher/catalog"
)

// A Metalink document (RFC 5854) tells where a file is had, by torrent and over
// HTTP, and what its sum is.
const (
	metalinkExt  = ".meta4"
	metalinkType = "application/metalink4+xml"
	whole        = -1 // in place of a file's index: all files of the release
)

// described answers a request for a Metalink document by its own name. A file
// of that name comes first: then it returns false.
func (s *Server) described(w http.ResponseWriter, r *http.Request, raw string) bool {
	stem, ok := strings.CutSuffix(raw, metalinkExt)
	if !ok || s.o.Metalink == nil {
		return false
	}
	if rel, ok := s.latest(raw, r.URL); ok {
		content, err := s.o.Catalog.Content(rel.InfoHash)
		if err != nil {
			return false
		}
		if _, ok := resolve(content, raw, r.URL); ok {
			return false
		}
	}
	bare := &url.URL{} // a query is not a part of the document's name
	rel, ok := s.latest(stem, bare)
	if !ok {
		return false
	}
	if !strings.Contains(stem, "/") {
		content, err := s.o.Catalog.Content(rel.InfoHash)
		if err != nil || !content.Live() {
			return false
		}
		s.o.Metalink(w, r, content, whole)
		return true
	}
	if content, i, ok := s.find(w, rel, stem, bare); ok {
		s.o.Metalink(w, r, content, i)
	}
	return true
}

// negotiated answers with the Metalink document in place of a file if the client
// says that it takes one, and the file is large enough to be worth it. aria2
// says so wherever it can follow one; others do not. Whoever asks for a part
// knows what it wants. A HEAD tells of the file: aria2 sends one (--use-head)
// before a GET that does not name Metalink any more. Of a file among several,
// aria2 would also leave on the disk what else is in its first and last piece;
// and a name that does not survive in XML would not be the file's.
func (s *Server) negotiated(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int) bool {
	if s.o.Metalink == nil || s.o.MetalinkFrom <= 0 || !c.IsFile || c.Size < s.o.MetalinkFrom || strings.ContainsFunc(c.Name, altered) {
		return false
	}
	w.Header().Add("Vary", "Accept")
	if r.Method != http.MethodGet || r.Header.Get("Range") != "" || !takesMetalink(r.Header.Values("Accept")) {
		return false
	}
	s.o.Metalink(w, r, c, i)
	return true
}

// altered reports whether a character of a name gets to aria2 as another: it
// reads "&" as "&#38;", and most control characters cannot be written.
func altered(r rune) bool { return r == '&' || unicode.IsControl(r) || r == 0xfffe || r == 0xffff }

// takesMetalink reports whether Accept headers name Metalink documents.
func takesMetalink(accept []string) bool {
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil || kind != metalinkType {
				continue
			}
			if q, given := params["q"]; !given || strings.Trim(q, "0.") != "" { // q=0 is a refusal
				return true
			}
		}
	}
	return false
}

// describe sets the headers that lead from a file to its torrent, its Metalink
// document and its mirrors (RFC 6249), and its digest as RFC 3230 has it and as
// RFC 9530 does.
func (s *Server) describe(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int) {
	h := w.Header()
	if s.o.Links != nil {
		h["Link"] = s.o.Links(r, c, i)
	}
	if sum, ok := c.SHA256(i); ok {
		b64 := base64.StdEncoding.EncodeToString(sum[:])
		h.Set("Digest", "SHA-256="+b64)
		h.Set("Repr-Digest", "sha-256=:"+b64+":")
	}
}

// undescribe takes back what does not hold for an error.
func undescribe(h http.Header) {
	h.Del("Digest")
	h.Del("Repr-Digest")
}

package site

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var embedded embed.FS

// An assetFile is what pages load. Its path holds a hash of its bytes, so that
// browsers may keep it forever.
type assetFile struct {
	mime    string
	body    []byte
	gzipped []byte // nil: not worth it
	policy  string // its own content policy; empty: that of the pages
}

// assetSet is the files that pages load: those embedded from the folder assets,
// and those made of the Brand. It does not change once the Site is made.
type assetSet struct {
	paths map[string]string // from a plain name, such as style.css
	files map[string]assetFile
}

// assetPrefix is where the files are served: /assets/{name}.{hash}.{ext}.
const assetPrefix = "/assets/"

func newAssetSet() *assetSet {
	a := &assetSet{paths: make(map[string]string), files: make(map[string]assetFile)}
	entries, err := embedded.ReadDir("assets")
	if err != nil {
		panic(err) // it is part of the program
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		b, err := embedded.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		a.add(e.Name(), b, "")
	}
	return a
}

// add takes in a file under its plain name.
func (a *assetSet) add(name string, body []byte, policy string) {
	ext := path.Ext(name)
	sum := sha256.Sum256(body)
	full := fmt.Sprintf("%s%s.%x%s", assetPrefix, strings.TrimSuffix(name, ext), sum[:6], ext)
	a.paths[name] = full
	a.files[full] = assetFile{mime: mimeOf(ext), body: body, gzipped: compress(body), policy: policy}
}

// asset returns the path of a file within the site, or "" if there is no such file.
func (a *assetSet) asset(name string) string { return a.paths[name] }

// mimeOf returns the type of a file that pages load. Systems' own tables
// differ, so these are said here.
func mimeOf(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".webp":
		return "image/webp"
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

// serveAsset answers /assets/….
func (s *Site) serveAsset(w http.ResponseWriter, r *http.Request) {
	f, ok := s.assets.files[r.URL.Path]
	if !ok {
		s.fail(w, r, http.StatusNotFound, "There is nothing at this address.")
		return
	}
	h := w.Header()
	if f.policy != "" {
		h.Set("Content-Security-Policy", f.policy)
	}
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Type", f.mime)
	send(w, r, http.StatusOK, f.body, f.gzipped)
}

// send answers with a body, the gzipped one if there is one and the client takes it.
func send(w http.ResponseWriter, r *http.Request, status int, body, gzipped []byte) {
	h := w.Header()
	if gzipped != nil {
		h.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body = gzipped
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// takesGzip reports whether a client says that it can read gzip.
func takesGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q := strings.ReplaceAll(params, " ", "")
			return strings.Trim(strings.TrimPrefix(q, "q="), "0.") != "" || q == ""
		}
	}
	return false
}

// compress returns b gzipped, or nil if that saves next to nothing.
func compress(b []byte) []byte {
	if len(b) < 1000 {
		return nil
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		panic(err) // there is such a level
	}
	z.Write(b)
	z.Close()
	if out.Len() > len(b)*9/10 {
		return nil
	}
	return out.Bytes()
}

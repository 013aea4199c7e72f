package site

import (
	"bytes"
	"html/template"
	"net/http"
	"strings"
	"time"

	"dropseed/webseed/site/openapi"
)

// apiDescription answers with the API's description, as JSON or YAML.
func (s *Site) apiDescription(w http.ResponseWriter, r *http.Request, mediaType string, form func(version, base string) []byte) {
	b := form(s.o.Version, s.o.Base(r))
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("ETag", etag(b))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

type apiPage struct {
	openapi.Page
	Version string
	Groups  []apiGroup
	Errors  []apiError
}

type apiGroup struct {
	openapi.Group
	Operations []apiOperation
}

type apiOperation struct {
	openapi.Operation
	Curl string // a command
}

type apiError struct {
	kind
	Text template.HTML
}

// apiPage answers with the page about the API. The commands on it can be used as
// they are: they ask this server, for a release that it has.
func (s *Site) apiPage(w http.ResponseWriter, r *http.Request) {
	base := s.o.Base(r)
	page := apiPage{Page: openapi.ForPage(), Version: s.o.Version}
	hash, file := "INFO-HASH", "NAME"
	for _, rel := range s.o.Catalog.Live() {
		if rel.IsFile {
			hash, file = rel.InfoHash.HexString(), strings.TrimPrefix(s.o.FileURL("", rel.Name), "/files/")
			break
		}
	}
	fill := strings.NewReplacer("{info_hash}", hash, "{file}", file)
	for _, g := range page.Page.Groups {
		out := apiGroup{Group: g}
		for _, op := range g.Operations {
			out.Operations = append(out.Operations, apiOperation{op, "curl " + op.Args + shellQuote(base+fill.Replace(op.Example))})
		}
		page.Groups = append(page.Groups, out)
	}
	for _, k := range kinds {
		page.Errors = append(page.Errors, apiError{k, page.Codes[string(k.Code)]})
	}
	s.render(w, r, http.StatusOK, s.frame(r, "api", page))
}

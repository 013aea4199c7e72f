// Package contract holds real answers against the API's description, in tests.
//
// It is stricter than clients should be: what the description does not name, be
// it a member, a status or a method, is an error. It keeps account of what was
// checked, so that a test can tell what never was.
//
// The package asks nobody anything: requests are made by the tests.
package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

func init() {
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.RegisteredBodyDecoder("text/plain"))
}

// unannounced are the statuses that any operation may answer with beside its own.
var unannounced = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable,
}

// Contract is safe for concurrent use.
type Contract struct {
	document *openapi3.T
	paths    []path // those with fewer parameters first

	mu   sync.Mutex // guards the field below
	seen map[string]bool
}

// path is one of the document's, as requests have it.
type path struct {
	template string
	pattern  *regexp.Regexp
	names    []string // of its parameters
}

// New returns the contract that an OpenAPI document in JSON is. The document has
// to be valid, and its examples have to fit their schemas.
func New(document []byte) (*Contract, error) {
	var d any
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("decode the document: %w", err)
	}
	forbidMore(d)
	strict, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	c := &Contract{seen: make(map[string]bool)}
	if c.document, err = loader.LoadFromData(strict); err != nil {
		return nil, fmt.Errorf("load the document: %w", err)
	}
	if err := c.document.Validate(loader.Context, openapi3.EnableExamplesValidation(), openapi3.EnableMultiError()); err != nil {
		return nil, fmt.Errorf("validate the document: %w", err)
	}
	for template := range c.document.Paths.Map() {
		c.paths = append(c.paths, compile(template))
	}
	slices.SortFunc(c.paths, func(a, b path) int {
		if d := len(a.names) - len(b.names); d != 0 {
			return d
		}
		return len(b.template) - len(a.template)
	})
	return c, nil
}

// forbidMore has objects hold no members but those described. The document itself
// does not say so: clients have to let new members pass.
func forbidMore(d any) {
	switch d := d.(type) {
	case map[string]any:
		_, has := d["properties"].(map[string]any)
		if _, told := d["additionalProperties"]; has && !told && d["type"] == "object" {
			d["additionalProperties"] = false
		}
		for _, v := range d {
			forbidMore(v)
		}
	case []any:
		for _, v := range d {
			forbidMore(v)
		}
	}
}

var variable = regexp.MustCompile(`\\\{(\w+)\\\}`)

// compile returns a path of the document. A parameter called path may hold
// slashes, which OpenAPI cannot say.
func compile(template string) path {
	p := path{template: template}
	quoted := regexp.QuoteMeta(template)
	for _, m := range variable.FindAllStringSubmatch(quoted, -1) {
		p.names = append(p.names, m[1])
	}
	quoted = strings.ReplaceAll(quoted, `\{path\}`, `(.+)`)
	p.pattern = regexp.MustCompile("^" + variable.ReplaceAllString(quoted, `([^/]+)`) + "$")
	return p
}

// Paths returns the document's, sorted.
func (c *Contract) Paths() []string { return slices.Sorted(maps.Keys(c.document.Paths.Map())) }

// Find returns the document's path that the path of a request means, or "".
func (c *Contract) Find(requested string) string {
	for _, p := range c.paths {
		if p.pattern.MatchString(requested) {
			return p.template
		}
	}
	return ""
}

// Operations returns the methods of one of the document's paths.
func (c *Contract) Operations(template string) []string {
	return slices.Sorted(maps.Keys(c.document.Paths.Value(template).Operations()))
}

// Check returns how an answer, whose body was read, breaks the contract. HEAD is
// held against what is said of GET. A request that itself does not fit must have
// been refused.
func (c *Contract) Check(req *http.Request, resp *http.Response, body []byte) error {
	err := c.check(req, resp, body)
	if err != nil {
		return fmt.Errorf("%s %.300s: status %d: %w", req.Method, req.URL, resp.StatusCode, err)
	}
	return nil
}

func (c *Contract) check(req *http.Request, resp *http.Response, body []byte) error {
	template := c.Find(req.URL.EscapedPath())
	if template == "" {
		return errors.New("the path is not described")
	}
	item := c.document.Paths.Value(template)
	operation := item.GetOperation(req.Method)
	if req.Method == http.MethodHead {
		operation = item.Get
		if len(body) > 0 {
			return errors.New("HEAD is answered with a body")
		}
	}
	if operation == nil {
		return refused(req, resp)
	}
	if resp.StatusCode >= 500 && resp.Header.Get("Retry-After") == "" && strings.HasPrefix(template, "/api/") &&
		resp.StatusCode == http.StatusServiceUnavailable {
		return errors.New("there is no Retry-After")
	}
	status := strconv.Itoa(resp.StatusCode)
	if operation.Responses.Value(status) == nil {
		if operation.Responses.Default() == nil || !slices.Contains(unannounced, resp.StatusCode) {
			return errors.New("the status is not described")
		}
		status = "default"
	}
	if req.Method != http.MethodHead {
		c.mu.Lock()
		c.seen[key(req.Method, template, status)] = true
		c.mu.Unlock()
	}
	in, err := c.input(req, template, operation)
	if err != nil {
		return err
	}
	misfit := openapi3filter.ValidateRequest(req.Context(), in)
	if misfit != nil && resp.StatusCode < 400 {
		return fmt.Errorf("it was answered, though %w", misfit)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	out.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(req.Context(), out); err != nil {
		return fmt.Errorf("%w\nin %.2000s", err, body)
	}
	if resp.StatusCode == http.StatusNotModified && len(body) > 0 {
		return errors.New("304 has a body")
	}
	if resp.StatusCode >= 400 && strings.HasPrefix(template, "/api/") && req.Method != http.MethodHead {
		return c.checkProblem(resp, body)
	}
	return nil
}

// input is what the validation wants to know of a request.
func (c *Contract) input(req *http.Request, template string, operation *openapi3.Operation) (*openapi3filter.RequestValidationInput, error) {
	i := slices.IndexFunc(c.paths, func(p path) bool { return p.template == template })
	p := c.paths[i]
	params := make(map[string]string)
	for i, value := range p.pattern.FindStringSubmatch(req.URL.EscapedPath())[1:] {
		var err error
		if params[p.names[i]], err = url.PathUnescape(value); err != nil {
			return nil, err
		}
	}
	bare := req.Clone(req.Context()) // without the body, which may still be on its way
	bare.Body = http.NoBody
	return &openapi3filter.RequestValidationInput{
		Request: bare, PathParams: params,
		Route: &routers.Route{
			Spec: c.document, Path: template, PathItem: c.document.Paths.Value(template), Method: req.Method, Operation: operation,
		},
		Options: &openapi3filter.Options{
			ExcludeRequestBody: true, SkipSettingDefaults: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		},
	}, nil
}

// refused returns what is wrong with the answer to a method that is not described.
func refused(req *http.Request, resp *http.Response) error {
	if req.Method == http.MethodOptions && resp.StatusCode == http.StatusNoContent {
		if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Methods") == "" {
			return fmt.Errorf("pages on other sites are not let in: %v", resp.Header)
		}
		return nil
	}
	if resp.StatusCode != http.StatusMethodNotAllowed {
		return errors.New("the method is not described, and not refused")
	}
	if allow := resp.Header.Get("Allow"); allow == "" || slices.Contains(strings.Split(allow, ", "), req.Method) {
		return fmt.Errorf("the method is refused, and Allow is %q", allow)
	}
	return nil
}

// checkProblem returns what is wrong with a problem beyond its schema.
func (c *Contract) checkProblem(resp *http.Response, body []byte) error {
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("the problem is %s", got)
	}
	var p struct {
		Status    int
		Code      string
		Parameter string
		Type      string
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if p.Status != resp.StatusCode {
		return fmt.Errorf("the problem says that the status is %d", p.Status)
	}
	if !strings.HasSuffix(p.Type, "/api/#"+p.Code) {
		return fmt.Errorf("the type of %s is %q", p.Code, p.Type)
	}
	if p.Code == "invalid-parameter" && p.Parameter == "" {
		return errors.New("the problem does not say which parameter it means")
	}
	return nil
}

// Schema returns how JSON breaks one of the document's schemas.
func (c *Contract) Schema(name string, text []byte) error {
	s := c.document.Components.Schemas[name]
	if s == nil {
		return fmt.Errorf("there is no schema %q", name)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if err := s.Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
		return fmt.Errorf("%s: %w\nin %.2000s", name, err, text)
	}
	return nil
}

// Event returns how an event of a stream, in JSON, breaks the contract.
func (c *Contract) Event(template, kind string, data []byte) error {
	schemas, _ := c.document.Paths.Value(template).Get.Extensions["x-events"].(map[string]any)
	name, ok := schemas[kind].(string)
	if !ok {
		return fmt.Errorf("%s has an event %q, which is not described", template, kind)
	}
	return c.Schema(name, data)
}

// Unseen returns the described answers that no request got, as "GET /path 200".
func (c *Contract) Unseen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var unseen []string
	for template, item := range c.document.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if k := key(method, template, status); status != "default" && !c.seen[k] {
					unseen = append(unseen, k)
				}
			}
		}
	}
	slices.Sort(unseen)
	return unseen
}

func key(method, template, status string) string { return method + " " + template + " " + status }

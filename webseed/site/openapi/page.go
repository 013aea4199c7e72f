package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"go.yaml.in/yaml/v3"
)

// Page is what a page about the API shows. It is shared: whoever wants another
// makes a copy.
type Page struct {
	Intro   template.HTML
	Groups  []Group
	Objects []Object
	Codes   map[string]template.HTML // what the codes of problems mean
}

// Group is operations that belong together.
type Group struct {
	ID, Name   string
	Text       template.HTML
	Operations []Operation
}

// Operation is what can be done with a path.
type Operation struct {
	ID, Method, Path, Summary string
	Text                      template.HTML
	Parameters                []Member
	Responses                 []Response
	Args, Example             string // a curl command: arguments, if any, and a path with its query
}

// Response is an answer.
type Response struct {
	Status  string // or "other"
	Text    template.HTML
	Object  string // what it holds, if that has a name
	Example string
}

// Object is a schema with a name.
type Object struct {
	Name    string
	Text    template.HTML
	Members []Member
}

// Member is a parameter, or a member of an object.
type Member struct {
	Name, Type string
	In         string // query, path or header; of a parameter
	Object     string // what Type is, if that has a name
	Required   bool
	Text       template.HTML
}

// page is made once.
var page = func() Page {
	var d document
	if err := yaml.Unmarshal([]byte(source), &d); err != nil {
		panic(err)
	}
	return d.page()
}()

// ForPage returns the document for a page.
func ForPage() Page { return page }

func (d *document) page() Page {
	out := Page{Intro: markdown(d.Info.Description), Codes: make(map[string]template.HTML)}
	for _, tag := range d.Tags {
		g := Group{ID: strings.ReplaceAll(strings.ToLower(tag.Name), " ", "-"), Name: tag.Name, Text: markdown(tag.Description)}
		for _, p := range d.Paths {
			for _, op := range []struct {
				method string
				*operation
			}{{"GET", p.Value.Get}, {"POST", p.Value.Post}} {
				if op.operation != nil && slices.Contains(op.Tags, tag.Name) {
					g.Operations = append(g.Operations, d.operation(op.method, p.Key, p.Value.Parameters, op.operation))
				}
			}
		}
		out.Groups = append(out.Groups, g)
	}
	for _, s := range d.Components.Schemas {
		if len(s.Value.Properties) > 0 {
			out.Objects = append(out.Objects, d.object(s.Key, s.Value))
		}
	}
	for _, text := range d.Components.Schemas.get("Problem").Properties.get("code").EnumTexts {
		out.Codes[text.Key] = markdown(text.Value)
	}
	return out
}

func (d *document) operation(method, path string, shared []parameter, op *operation) Operation {
	out := Operation{ID: op.ID, Method: method, Path: path, Summary: op.Summary, Text: markdown(op.Description)}
	args, example, _ := strings.Cut(op.Curl, "/")
	out.Args, out.Example = args, "/"+example
	for _, p := range slices.Concat(shared, op.Parameters) {
		if p.Ref != "" {
			p = d.Components.Parameters[lastPart(p.Ref)]
		}
		m := d.member(p.Name, p.Schema)
		m.In, m.Required, m.Text = p.In, p.Required, markdown(p.Description)
		out.Parameters = append(out.Parameters, m)
	}
	for _, p := range op.Responses {
		r := p.Value
		if r.Ref != "" {
			r = d.Components.Responses[lastPart(r.Ref)]
		}
		shown := Response{Status: p.Key, Text: markdown(r.Description)}
		if p.Key == "default" {
			shown.Status = "other"
		}
		for _, m := range r.Content {
			shown.Object = lastPart(m.Value.Schema.Ref)
			shown.Example = m.Value.example()
		}
		out.Responses = append(out.Responses, shown)
	}
	return out
}

func (d *document) object(name string, s schema) Object {
	out := Object{Name: name, Text: markdown(s.Description)}
	for _, p := range s.Properties {
		m := d.member(p.Key, p.Value)
		m.Required = slices.Contains(s.Required, p.Key)
		out.Members = append(out.Members, m)
		nested := p.Value // has no name of its own, if it is an object
		prefix := p.Key + "."
		if nested.Items != nil {
			nested, prefix = *nested.Items, p.Key+"[]."
		}
		for _, inner := range nested.Properties {
			m := d.member(prefix+inner.Key, inner.Value)
			m.Required = slices.Contains(nested.Required, inner.Key)
			out.Members = append(out.Members, m)
		}
	}
	return out
}

// member returns what can be said of a schema that has a name where it is used.
func (d *document) member(name string, s schema) Member {
	m := Member{Name: name, Text: markdown(s.Description)}
	s, m.Object = d.resolve(s)
	if s.Description != "" && m.Text == "" && m.Object == "" {
		m.Text = markdown(s.Description)
	}
	m.Type = typeText(s)
	if s.Items != nil {
		var item schema
		item, m.Object = d.resolve(*s.Items)
		m.Type = "array of " + typeText(item)
	}
	if s.Default != nil {
		m.Type += fmt.Sprintf("; else %v", s.Default)
	}
	return m
}

// resolve returns what a reference means, and its name if it is an object.
func (d *document) resolve(s schema) (schema, string) {
	if s.Ref == "" {
		return s, ""
	}
	name := lastPart(s.Ref)
	named := d.Components.Schemas.get(name)
	if len(named.Properties) == 0 {
		name = ""
	}
	return named, name
}

func typeText(s schema) string {
	if n := len(s.Enum); n > 0 && n < 8 {
		return strings.Join(s.Enum, " | ")
	}
	switch t := s.Type.(type) {
	case string:
		return t
	case []any:
		names := make([]string, len(t))
		for i, name := range t {
			names[i] = fmt.Sprint(name)
		}
		return strings.Join(names, " or ")
	}
	return ""
}

// example returns the first example of an answer, as it comes but spread over lines.
func (m media) example() string {
	n := m.Example
	if len(m.Examples) > 0 {
		n = m.Examples[0].Value.Value
	}
	switch n.Kind {
	case 0:
		return ""
	case yaml.ScalarNode:
		return strings.TrimSpace(n.Value)
	}
	b, err := appendJSON(nil, &n)
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		panic(err)
	}
	return out.String()
}

func lastPart(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

var commonMark = goldmark.New(goldmark.WithExtensions(extension.Table))

// markdown renders text of openapi.yaml, which nobody else wrote.
func markdown(text string) template.HTML {
	var b bytes.Buffer
	if err := commonMark.Convert([]byte(text), &b); err != nil {
		panic(err)
	}
	return template.HTML(b.String())
}

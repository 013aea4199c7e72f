// Package openapi is the contract of what scripts may ask the server for, as an
// OpenAPI 3.1 document: to be served, and to be shown to people.
//
// openapi.yaml is written by hand. Its JSON is made of it with everything in the
// same order, since that is the order in which tools show it; so is what a page
// shows. The server's answers are held against it by the tests of package site
// and of cmd/dropseed, with webseed/site/contract.
//
// The package has no routes and answers nothing.
package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// source is the document, with places for the version and the base.
//
//go:embed openapi.yaml
var source string

// sourceAsJSON is source in JSON.
var sourceAsJSON = func() string {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(source), &n); err != nil {
		panic(err)
	}
	b, err := appendJSON(nil, n.Content[0])
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}()

// JSON returns the document with the server's version and its public URL.
func JSON(version, base string) []byte { return fillIn(sourceAsJSON, version, base) }

// YAML is as JSON, in YAML, and with the comments.
func YAML(version, base string) []byte { return fillIn(source, version, base) }

// fillIn works on both forms: what JSON makes of a string is a string of YAML too.
func fillIn(document, version, base string) []byte {
	quote := func(s string) string {
		b, _ := json.Marshal(s) // of a string: cannot fail
		return string(b)
	}
	return []byte(strings.NewReplacer(`"%VERSION%"`, quote(version), `"%BASE%"`, quote(base)).Replace(document))
}

// appendJSON appends a part of a YAML document as JSON.
func appendJSON(b []byte, n *yaml.Node) ([]byte, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return appendJSON(b, n.Alias)
	case yaml.MappingNode, yaml.SequenceNode:
		brackets := "{}"
		if n.Kind == yaml.SequenceNode {
			brackets = "[]"
		}
		b = append(b, brackets[0])
		for i, item := range n.Content {
			switch {
			case i == 0:
			case n.Kind == yaml.MappingNode && i%2 == 1:
				b = append(b, ':')
			default:
				b = append(b, ',')
			}
			var err error
			if b, err = appendJSON(b, item); err != nil {
				return nil, err
			}
		}
		return append(b, brackets[1]), nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	text, err := json.Marshal(v)
	return append(b, text...), err
}

package openapi

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// What follows is as much of an OpenAPI document as a page shows.
type (
	document struct {
		Info struct {
			Description string `yaml:"description"`
		} `yaml:"info"`
		Tags       []described       `yaml:"tags"`
		Paths      ordered[pathItem] `yaml:"paths"`
		Components struct {
			Parameters map[string]parameter `yaml:"parameters"`
			Responses  map[string]response  `yaml:"responses"`
			Schemas    ordered[schema]      `yaml:"schemas"`
		} `yaml:"components"`
	}
	described struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description"`
	}
	pathItem struct {
		Parameters []parameter `yaml:"parameters"` // of all its operations
		Get        *operation  `yaml:"get"`
		Post       *operation  `yaml:"post"`
	}
	operation struct {
		ID          string            `yaml:"operationId"`
		Tags        []string          `yaml:"tags"`
		Summary     string            `yaml:"summary"`
		Description string            `yaml:"description"`
		Curl        string            `yaml:"x-curl"` // arguments, if any, and a path with its query
		Parameters  []parameter       `yaml:"parameters"`
		Responses   ordered[response] `yaml:"responses"` // by status
	}
	parameter struct {
		described `yaml:",inline"`
		Ref       string `yaml:"$ref"`
		In        string `yaml:"in"`
		Required  bool   `yaml:"required"`
		Schema    schema `yaml:"schema"`
	}
	response struct {
		Ref         string         `yaml:"$ref"`
		Description string         `yaml:"description"`
		Content     ordered[media] `yaml:"content"` // by media type
	}
	media struct {
		Schema   schema    `yaml:"schema"`
		Example  yaml.Node `yaml:"example"`
		Examples ordered[struct {
			Value yaml.Node `yaml:"value"`
		}] `yaml:"examples"`
	}
	schema struct {
		Ref         string          `yaml:"$ref"`
		Type        any             `yaml:"type"` // a string, or several
		Description string          `yaml:"description"`
		Enum        []string        `yaml:"enum"`
		EnumTexts   ordered[string] `yaml:"x-enum-descriptions"`
		Default     any             `yaml:"default"`
		Items       *schema         `yaml:"items"`
		Required    []string        `yaml:"required"`
		Properties  ordered[schema] `yaml:"properties"`
	}
)

// ordered is a mapping in the order in which it was written.
type ordered[T any] []pair[T]

type pair[T any] struct {
	Key   string
	Value T
}

// UnmarshalYAML reads a mapping.
func (o *ordered[T]) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: this is not a mapping", n.Line)
	}
	for i := 0; i < len(n.Content); i += 2 {
		p := pair[T]{Key: n.Content[i].Value}
		if err := n.Content[i+1].Decode(&p.Value); err != nil {
			return fmt.Errorf("line %d: %w", n.Content[i].Line, err)
		}
		*o = append(*o, p)
	}
	return nil
}

// get returns what belongs to a key, or nothing.
func (o ordered[T]) get(key string) (v T) {
	for _, p := range o {
		if p.Key == key {
			return p.Value
		}
	}
	return v
}

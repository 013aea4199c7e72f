package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile  = 1 << 20 // bytes of a configuration file
	maxKey   = 64      // bytes of a key, without its section
	maxNodes = 1 << 16 // values in it, aliases counted each time
	maxDepth = 16      // of nested lists and mappings; the deepest key needs 6
)

// file is a configuration file. Scalars are kept as they are written, so that
// each key, not YAML, decides what 0123 or yes means.
type file struct {
	path   string
	values map[string]any // string, nil, []any or map[string]any
	lines  map[string]int // by key as in Problem.Key
	left   int            // of maxNodes
	issues Problems
}

func readFile(path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %v", Size(maxFile))
	}
	return parseFile(path, data), nil
}

func parseFile(path string, data []byte) *file {
	f := &file{path: path, values: map[string]any{}, lines: map[string]int{}, left: maxNodes}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return f
	case err != nil:
		// The parser says "yaml: line N: …".
		f.issues.add("", path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return f
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		f.issues.add("", path, "want one YAML document, found more after ---")
	}
	switch v := f.convert(doc.Content[0], "", 0).(type) {
	case nil:
	case map[string]any:
		f.values = v
	default:
		f.issues.add("", path, "want keys and values, such as http:, got %s", show(v))
	}
	return f
}

// convert returns n as string, nil, []any or map[string]any, and notes lines.
func (f *file) convert(n *yaml.Node, key string, depth int) any {
	if f.left--; f.left < 0 || depth > maxDepth {
		if f.left >= -1 {
			f.issues.add(key, f.at(n.Line), "too many or too deeply nested values")
		}
		return nil
	}
	if key != "" {
		f.lines[key] = n.Line
	}
	switch n.Kind {
	case yaml.AliasNode:
		return f.convert(n.Alias, key, depth+1)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, c := range n.Content {
			list = append(list, f.convert(c, fmt.Sprintf("%s[%d]", key, i), depth+1))
		}
		return list
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, line := n.Content[i].Value, n.Content[i].Line
			if len(name) > maxKey {
				f.issues.add(key, f.at(line), "unknown key %.20q…", name)
				continue
			}
			k := join(key, name)
			if _, twice := m[name]; twice {
				f.issues.add(k, f.at(line), "given twice, first in line %d", f.lines[k])
				continue
			}
			m[name] = f.convert(n.Content[i+1], k, depth+1)
			f.lines[k] = line
		}
		return m
	}
	if n.Tag == "!!null" {
		return nil
	}
	return n.Value
}

func (f *file) at(line int) string { return fmt.Sprintf("%s, line %d", f.path, line) }

// origin says where key is in the file, or "".
func (f *file) origin(key string) string {
	if line := f.lines[key]; line > 0 {
		return f.at(line)
	}
	return ""
}

// value returns what key is in the file, or nil.
func (f *file) value(key string) any { return lookup(f.values, key) }

// lookup finds a dotted key in nested values.
func lookup(values map[string]any, key string) any {
	raw := any(values)
	for name := range strings.SplitSeq(key, ".") {
		section, _ := raw.(map[string]any)
		raw = section[name]
	}
	return raw
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

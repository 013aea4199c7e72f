package openapi_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"dropseed/webseed/site/contract"
	"dropseed/webseed/site/openapi"
)

func TestTheDocumentIsValid(t *testing.T) {
	if _, err := contract.New(openapi.JSON("1.2.3", "https://dl.example.org/seed")); err != nil {
		t.Fatal(err)
	}
}

func TestBothFormsSayTheSame(t *testing.T) {
	const version, base = `1.2"3`, `http://h/a"b\c` // quoted in both
	var fromJSON, fromYAML map[string]any
	if err := json.Unmarshal(openapi.JSON(version, base), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(openapi.YAML(version, base), &fromYAML); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	fromYAML = nil
	if err := json.Unmarshal(again, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromJSON, fromYAML) {
		t.Error("the JSON and the YAML differ")
	}
	if got := fromJSON["info"].(map[string]any)["version"]; got != version {
		t.Errorf("version %q", got)
	}
	if got := fromJSON["servers"].([]any)[0].(map[string]any)["url"]; got != base {
		t.Errorf("server %q", got)
	}
	text := string(openapi.JSON("", ""))
	if paths, schemas := strings.Index(text, `"paths"`), strings.Index(text, `"components"`); paths < 0 || schemas < paths {
		t.Error("the JSON is not in the document's order")
	}
}

func TestThePageShowsEverything(t *testing.T) {
	var d struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(openapi.YAML("", ""), &d); err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]openapi.Operation)
	objects := make(map[string]bool)
	page := openapi.ForPage()
	for _, o := range page.Objects {
		objects[o.Name] = true
		for _, m := range o.Members {
			if m.Type == "" || m.Text == "" && m.Object == "" {
				t.Errorf("nothing is said of %s.%s: %+v", o.Name, m.Name, m)
			}
		}
	}
	for _, g := range page.Groups {
		for _, op := range g.Operations {
			shown[op.Path+" "+strings.ToLower(op.Method)] = op
		}
	}
	for path, item := range d.Paths {
		for method := range item {
			if method == "parameters" {
				continue
			}
			op, ok := shown[path+" "+method]
			if !ok || op.ID == "" || op.Summary == "" || len(op.Responses) == 0 || !strings.HasPrefix(op.Example, "/") {
				t.Errorf("%s %s is not shown, or not whole: %+v", method, path, op)
			}
			for _, p := range op.Parameters {
				if p.Name == "" || p.In == "" || p.Type == "" || p.Text == "" {
					t.Errorf("%s: nothing is said of the parameter %+v", path, p)
				}
			}
			for _, r := range op.Responses {
				if r.Text == "" || r.Object != "" && !objects[r.Object] {
					t.Errorf("%s: nothing is said of the answer %+v", path, r)
				}
			}
		}
	}
}

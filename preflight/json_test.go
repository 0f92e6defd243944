package preflight

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestJSONPage: docs/json.md names every field there is, says which may be
// missing, and names none that there is not.
func TestJSONPage(t *testing.T) {
	text, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(text), "\n## ")
	page := map[string]map[string]string{}
	for _, s := range sections[1:] {
		name, body, _ := strings.Cut(s, "\n")
		page[name] = map[string]string{}
		for line := range strings.Lines(body) {
			if cells := strings.Split(line, "|"); len(cells) > 3 && strings.Contains(cells[1], "`") {
				page[name][strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
			}
		}
	}
	seen := map[string]bool{}
	var visit func(reflect.Type)
	visit = func(rt reflect.Type) {
		for rt.Kind() == reflect.Slice || rt.Kind() == reflect.Pointer {
			rt = rt.Elem()
		}
		if !strings.HasPrefix(rt.Name(), "json") || seen[rt.Name()] {
			return
		}
		seen[rt.Name()] = true
		var fields []string
		for f := range rt.Fields() {
			visit(f.Type)
			if f.Anonymous {
				continue
			}
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, name)
			said, ok := page[strings.TrimPrefix(rt.Name(), "json")][name]
			if !ok {
				t.Errorf("docs/json.md does not have %s of %s", name, rt.Name())
			}
			if optional := opts != ""; ok && optional != strings.HasPrefix(said, "optional") {
				t.Errorf("%s of %s: optional is %t, the page says %q", name, rt.Name(), optional, said)
			}
			if f.Type.Kind() == reflect.Slice && ok && !strings.Contains(said, "list") {
				t.Errorf("%s of %s is a list, the page says %q", name, rt.Name(), said)
			}
		}
		for name := range page[strings.TrimPrefix(rt.Name(), "json")] {
			if !slices.Contains(fields, name) {
				t.Errorf("docs/json.md has %s of %s, which is not there", name, rt.Name())
			}
		}
	}
	visit(reflect.TypeFor[jsonReport]())
	for name := range page {
		if !seen["json"+name] {
			t.Errorf("docs/json.md has a section %s of nothing", name)
		}
	}
}

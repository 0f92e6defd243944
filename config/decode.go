package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"smtprelay/preflight"
)

// decoder moves a TOML tree into a File. The library could, but it stops at
// the first wrong type, and takes a bare 5 for a duration of 5 ns.
type decoder struct {
	file     *File
	problems Problems
}

// measure is a value that is written as text, with a unit.
type measure interface {
	encoding.TextUnmarshaler
	expects() (what, hint string) // what to write, and an example
}

func (d *decoder) bad(key, hint, format string, args ...any) {
	d.problems = append(d.problems, d.file.problem(key, hint, fmt.Sprintf(format, args...)))
}

// fill sets the fields of the struct that to points to.
func (d *decoder) fill(path string, to any, tree map[string]any) {
	v := reflect.ValueOf(to).Elem()
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("toml"); name != "" {
			fields[name] = v.Field(i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		key := join(path, name)
		if f, ok := fields[name]; ok {
			d.set(key, f, tree[name])
			continue
		}
		d.bad(key, nearest(name, slices.Sorted(maps.Keys(fields))), "no such key")
	}
}

// set gives v the value of one key.
func (d *decoder) set(key string, v reflect.Value, x any) {
	if m, ok := v.Addr().Interface().(measure); ok {
		d.measure(key, m, x)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if tree, ok := x.(map[string]any); ok {
			d.fill(key, v.Addr().Interface(), tree)
			return
		}
		d.mismatch(key, x, "a table")
	case reflect.Slice:
		d.list(key, v, x)
	case reflect.Map:
		d.table(key, v, x)
	case reflect.String:
		if s, ok := x.(string); ok {
			v.SetString(s)
			return
		}
		d.mismatch(key, x, "a text in quotes")
	case reflect.Bool:
		if b, ok := x.(bool); ok {
			v.SetBool(b)
			return
		}
		d.mismatch(key, x, "true or false")
	case reflect.Int:
		n, ok := x.(int64)
		if ok && n >= 0 && n <= math.MaxInt32 {
			v.SetInt(n)
			return
		}
		d.mismatch(key, x, fmt.Sprintf("a whole number, 0 to %d", math.MaxInt32))
	}
}

func (d *decoder) measure(key string, m measure, x any) {
	what, hint := m.expects()
	s, ok := x.(string)
	if n, bare := x.(int64); bare {
		d.bad(key, hint, "%d: a bare number: expected %s", n, what)
		return
	}
	if !ok {
		d.bad(key, hint, "%s: expected %s", describe(x), what)
		return
	}
	if err := m.UnmarshalText([]byte(s)); err != nil {
		d.bad(key, hint, "%q: %v: expected %s", s, err, what)
	}
}

func (d *decoder) list(key string, v reflect.Value, x any) {
	var items []any
	switch x := x.(type) {
	case []any:
		items = x
	case []map[string]any:
		for _, m := range x {
			items = append(items, m)
		}
	default:
		if v.Type().Elem().Kind() == reflect.Struct {
			d.bad(key, fmt.Sprintf("write [[%s]], with two brackets: there may be several", key), "%s: expected a list of tables", describe(x))
		} else {
			d.mismatch(key, x, "a list in brackets")
		}
		return
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		d.set(index(key, i), list.Index(i), item)
	}
	v.Set(list)
}

// table fills a map of texts.
func (d *decoder) table(key string, v reflect.Value, x any) {
	tree, ok := x.(map[string]any)
	if !ok {
		d.mismatch(key, x, "a table")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		s, ok := tree[name].(string)
		if !ok {
			d.mismatch(join(key, name), tree[name], "a text in quotes")
			continue
		}
		v.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(s))
	}
}

func (d *decoder) mismatch(key string, x any, expected string) {
	d.bad(key, "", "%s: expected %s", describe(x), expected)
}

// describe says what stands there without repeating it: it may be a secret in
// the wrong place.
func describe(x any) string {
	switch x := x.(type) {
	case string:
		return "a text"
	case int64:
		return fmt.Sprint(x)
	case float64:
		return "a number with a point or an exponent"
	case bool:
		return fmt.Sprint(x)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// nearest is the hint for a key that does not exist.
func nearest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if n := preflight.Distance(strings.ToLower(name), k); n < least {
			best, least = k, n
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "keys here: " + strings.Join(known, ", ")
}

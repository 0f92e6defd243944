package preflight

import (
	"errors"
	"strings"
)

var (
	errTagTwice = errors.New("a tag stands twice")
	errNoTag    = errors.New("not a list of tag=value")
)

// tagged is one tag=value of a record. Name is "" where there is none.
type tagged struct{ Text, Name, Value string }

// tagList takes the tag-list of DKIM and DMARC apart (RFC 6376 section 3.2). It
// takes what it finds: whether that is legal is for the reader to say.
func tagList(s string) (all []tagged) {
	for part := range strings.SplitSeq(s, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		t := tagged{Text: part}
		if name, value, ok := strings.Cut(part, "="); ok {
			t.Name, t.Value = strings.TrimSpace(name), strings.TrimSpace(value)
		}
		all = append(all, t)
	}
	return all
}

// tags reads a tag-list that has to be legal. The first tag is returned apart,
// since it has to be the version.
func tags(s string) (all map[string]string, first string, err error) {
	all = map[string]string{}
	for i, t := range tagList(s) {
		if t.Name == "" {
			return nil, "", errNoTag
		}
		if _, twice := all[t.Name]; twice {
			return nil, "", errTagTwice
		}
		if i == 0 {
			first = t.Name
		}
		all[t.Name] = t.Value
	}
	return all, first, nil
}

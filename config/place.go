package config

import (
	"fmt"
	"strconv"
	"strings"
)

// places says on which line each key and each element of a list stands, by its
// path: "submission.listen[1]". The TOML library keeps this to itself.
type places map[string]int

// line of a key, or of the nearest thing around it that stands in the file.
func (p places) line(key string) int {
	for key != "" {
		if n, ok := p[key]; ok {
			return n
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return 0
}

// maxDepth bounds the paths that are kept; nothing in File lies deeper.
const maxDepth = 8

// scanner goes through text that is known to be good TOML, so it looks only as
// closely as finding keys needs. Whatever it meets, it ends.
type scanner struct {
	text   string
	at     int
	now    int // line
	places places
	tables map[string]int // how many [[name]] there were
}

func findPlaces(text string) places {
	s := &scanner{text: text, now: 1, places: places{}, tables: map[string]int{}}
	table := ""
	for s.skip(" \t\r\n"); s.at < len(s.text); s.skip(" \t\r\n") {
		start := s.at
		switch s.text[s.at] {
		case '[':
			table = s.header()
		default:
			s.pair(table, 0)
		}
		if s.at == start { // not TOML after all
			s.next()
		}
	}
	return s.places
}

// header reads [a.b] or [[a.b]] and returns the path of what follows.
func (s *scanner) header() string {
	line := s.now
	s.next()
	list := s.peek() == '['
	if list {
		s.next()
	}
	path := ""
	parts := s.key()
	for i, part := range parts {
		path = join(path, part)
		n := s.tables[path]
		if list && i == len(parts)-1 {
			s.tables[path]++
			s.note(path, line)
			path = index(path, n)
		} else if n > 0 {
			path = index(path, n-1)
		}
	}
	s.note(path, line)
	for s.at < len(s.text) && s.peek() != '\n' {
		s.next()
	}
	return path
}

// pair reads key = value.
func (s *scanner) pair(table string, depth int) {
	line, path := s.now, table
	for _, part := range s.key() {
		path = join(path, part)
		s.note(path, line)
	}
	s.skip(" \t")
	if s.peek() != '=' {
		return
	}
	s.next()
	s.skip(" \t")
	s.value(path, depth)
}

// key reads a dotted key.
func (s *scanner) key() []string {
	var parts []string
	for {
		s.skip(" \t")
		start := s.at
		switch s.peek() {
		case '"', '\'':
			s.quoted()
			parts = append(parts, unquote(s.text[start:s.at]))
		default:
			for s.at < len(s.text) && !strings.ContainsRune(" \t\r\n.=]#\"',{}[", rune(s.peek())) {
				s.next()
			}
			parts = append(parts, s.text[start:s.at])
		}
		s.skip(" \t")
		if s.peek() != '.' || len(parts) > maxDepth {
			return parts
		}
		s.next()
	}
}

func (s *scanner) value(path string, depth int) {
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.items(']', func(i int) {
			p := path
			if depth < maxDepth {
				p = index(path, i)
				s.note(p, s.now)
			}
			s.value(p, depth+1)
		})
	case '{':
		s.items('}', func(int) {
			if depth < maxDepth {
				s.pair(path, depth+1)
			} else {
				s.pair("", depth+1)
			}
		})
	default:
		for s.at < len(s.text) && !strings.ContainsRune(",]}\n#", rune(s.peek())) {
			s.next()
		}
	}
}

// items reads a list or an inline table up to its end.
func (s *scanner) items(end byte, item func(i int)) {
	s.next()
	for i := 0; ; i++ {
		s.skip(" \t\r\n,")
		if s.at >= len(s.text) {
			return
		}
		if s.peek() == end {
			s.next()
			return
		}
		start := s.at
		if item(i); s.at == start {
			s.next()
		}
	}
}

// quoted passes a string of any of the four kinds.
func (s *scanner) quoted() {
	mark := s.text[s.at : s.at+1]
	if long := strings.Repeat(mark, 3); strings.HasPrefix(s.text[s.at:], long) {
		mark = long
	}
	s.pass(len(mark))
	for s.at < len(s.text) {
		switch {
		case s.peek() == '\\' && mark[0] == '"':
			s.pass(2)
		case strings.HasPrefix(s.text[s.at:], mark):
			s.pass(len(mark))
			for len(mark) == 3 && s.peek() == mark[0] { // quotes just before the closing ones
				s.next()
			}
			return
		default:
			s.next()
		}
	}
}

// skip passes any of these characters, and comments.
func (s *scanner) skip(chars string) {
	for s.at < len(s.text) {
		switch c := s.peek(); {
		case c == '#' && strings.Contains(chars, "\n"):
			for s.at < len(s.text) && s.peek() != '\n' {
				s.next()
			}
		case strings.IndexByte(chars, c) >= 0:
			s.next()
		default:
			return
		}
	}
}

func (s *scanner) pass(n int) {
	for range n {
		s.next()
	}
}

func (s *scanner) next() {
	if s.at < len(s.text) {
		if s.text[s.at] == '\n' {
			s.now++
		}
		s.at++
	}
}

// peek is the next character, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) note(path string, line int) {
	if _, ok := s.places[path]; !ok {
		s.places[path] = line
	}
}

// unquote is what a quoted key means; TOML's basic strings are near enough to Go's.
func unquote(q string) string {
	if len(q) >= 2 && q[0] == '\'' {
		return q[1 : len(q)-1]
	}
	if t, err := strconv.Unquote(q); err == nil {
		return t
	}
	return strings.Trim(q, `"`)
}

// join and index make paths, the same here and where values are decoded.
func join(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" \t\r\n") {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

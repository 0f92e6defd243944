package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// typed is a command of ours on a page: in a line of its own or between
// backquotes, up to two spaces, a comment or the end.
var typed = regexp.MustCompile("(?m)(?:^|`|^#   )(?:sudo (?:-u relay )?)?relay ([a-z][^`#\n]*?)(?:  |`|#|$)")

// TestDocsNameRealCommands: what a page tells to type is a command, with flags
// that it has.
func TestDocsNameRealCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../relay.example.toml") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range typed.FindAllStringSubmatch(string(text), -1) {
			words := shellWords(strings.NewReplacer("[", "", "]", "", " N", " 1").Replace(m[1]))
			root := commands(world{})
			c, rest, err := root.Find(words)
			if err != nil || c == root {
				t.Errorf("%s: relay %s: no such command", page, m[1])
				continue
			}
			if err := c.ParseFlags(rest); err != nil {
				t.Errorf("%s: relay %s: %v", page, m[1], err)
			}
			if err := c.ValidateArgs(c.Flags().Args()); err != nil && len(c.Flags().Args()) > 0 {
				t.Errorf("%s: relay %s: %v", page, m[1], err)
			}
			found++
		}
	}
	if found < 20 {
		t.Errorf("%d commands in the pages: the pattern misses them", found)
	}
}

// shellWords splits at spaces outside single quotes.
func shellWords(s string) (words []string) {
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

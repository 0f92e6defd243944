package main

import (
	"strings"
	"testing"
)

// TestDemo takes the tour: each step checks what it shows.
func TestDemo(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}

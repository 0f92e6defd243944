//go:build interop

package interop

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// table is what was expected and what was seen.
type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct{ setup, what, expected, seen string }

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// ok: what is seen may say more than what is expected, in further words.
func (r row) ok() bool {
	rest, ok := strings.CutPrefix(r.seen, r.expected)
	return ok && (rest == "" || strings.HasPrefix(rest, ": "))
}

// print the rows, and return how many are not as expected.
func (t *table) print(w io.Writer) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.rows, func(a, b row) int { return cmp.Compare(a.setup, b.setup) })
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\n\tset-up\twhat\texpected\tseen")
	good, last := 0, ""
	for _, r := range t.rows {
		mark, name := "ok", r.setup
		if name == last {
			name = ""
		}
		last = r.setup
		if r.ok() {
			good++
		} else {
			mark = "NOT"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", mark, name, r.what, r.expected, r.seen)
	}
	tw.Flush()
	fmt.Fprintf(w, "\n%d as expected, %d not\n", good, len(t.rows)-good)
	return len(t.rows) - good
}

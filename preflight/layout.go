package preflight

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lines of the report. Text from outside (DNS, a remote's reply) passes clean on
// its way, so that no control sequence reaches a terminal.

// idWidth holds the longest id.
const idWidth = 21

func (t *text) line(s string) { t.b.WriteString(strings.TrimRight(s, " ") + "\n") }

// gap is one empty line, never two.
func (t *text) gap() {
	if !bytes.HasSuffix(t.b.Bytes(), []byte("\n\n")) {
		t.line("")
	}
}

// right puts b at the right edge, on a line of its own where both do not fit.
func (t *text) right(a, b string) {
	gap := t.o.Width - width(a) - width(b)
	if b == "" {
		gap = 0
	}
	if gap < 1 && b != "" {
		t.line(a)
		a, gap = "", t.o.Width-width(b)
	}
	t.line(a + strings.Repeat(" ", max(gap, 0)) + b)
}

// head is the line of a subject.
func (t *text) head(s Status, about, note string) {
	word := string(s)
	if s == Fail {
		word = "FAIL"
	}
	t.mark(word, about, note)
}

func (t *text) mark(word, about, note string) {
	line, rest := fmt.Sprintf(" %-9s %s", word, clean(about, t.o.ASCII)), ""
	if width(line) > t.o.Width { // its last parts go below
		line, rest = t.parts(line)
	}
	if note != "" && width(line)+width(note)+2 <= t.o.Width {
		line, note = line+strings.Repeat(" ", t.o.Width-width(line)-width(note))+note, ""
	}
	t.line(strings.Replace(line, word, t.paint(word), 1))
	if rest != "" {
		t.para(11, rest)
	}
	if note != "" {
		t.right("", note)
	}
}

// parts breaks a line that is too long where two spaces or more stand.
func (t *text) parts(line string) (first, rest string) {
	for i := min(len(line), t.o.Width) - 1; i > 11; i-- {
		if strings.HasPrefix(line[i-1:], "  ") {
			return strings.TrimRight(line[:i], " "), strings.TrimLeft(line[i:], " ")
		}
	}
	return line, ""
}

// item is a line below a subject, its text wrapped beside the id.
func (t *text) item(mark, id, found, ref string) {
	if t.o.ASCII {
		mark = fmt.Sprintf("%-4s", map[string]string{"✓": "ok", "✗": "FAIL", "!": "warn", "?": "??", "i": "info", "·": "--"}[mark])
	}
	lead := fmt.Sprintf("   %s %-*s ", mark, idWidth, id)
	lines := wrap(clean(found, t.o.ASCII), t.o.Width-width(lead)-5)
	if len(lines) == 0 {
		lines = []string{""}
	}
	// The number stands beside the first line that has room for it.
	beside := max(slices.IndexFunc(lines, func(l string) bool { return width(lead)+width(l)+width(ref) < t.o.Width }), 0)
	for i, l := range lines {
		l = lead + l
		if i == 0 {
			l = strings.Replace(l, mark, t.paintMark(mark), 1)
			lead = strings.Repeat(" ", width(lead))
		}
		if i == beside {
			t.right(l, ref)
		} else {
			t.line(l)
		}
	}
}

// para wraps words below an indent.
func (t *text) para(indent int, s string) {
	for _, l := range wrap(clean(s, t.o.ASCII), t.o.Width-indent-1) {
		t.line(strings.Repeat(" ", indent) + l)
	}
}

// wrap breaks at spaces only: a word longer than a line stays whole, and a
// number keeps its unit beside it.
func wrap(s string, limit int) (lines []string) {
	line, words := "", strings.Fields(s)
	for i := 0; i < len(words); i++ {
		w := words[i]
		if i+1 < len(words) && strings.Trim(w, "0123456789.") == "" {
			i++
			w += " " + words[i]
		}
		if line != "" && width(line)+1+width(w) > limit {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// width in columns, colour not counted.
func width(s string) (n int) {
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], "\x1b[") {
			i += strings.IndexByte(s[i:], 'm') + 1
			continue
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
		n++
	}
	return n
}

// clean leaves what can be printed.
func clean(s string, ascii bool) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || ascii && r > '~' {
			return '?'
		}
		return r
	}, s)
}

const (
	red        = "\x1b[31m"
	green      = "\x1b[32m"
	yellow     = "\x1b[33m"
	uncoloured = "\x1b[0m"
)

func (t *text) paint(word string) string {
	return t.colour(map[string]string{"FAIL": red, "off": yellow, "pass": green, "degraded": yellow, "unknown": yellow}[word], word)
}

func (t *text) paintMark(mark string) string {
	switch strings.TrimSpace(mark) {
	case "✓", "ok":
		return t.colour(green, mark)
	case "✗", "FAIL":
		return t.colour(red, mark)
	case "!", "?", "warn", "??":
		return t.colour(yellow, mark)
	}
	return mark
}

func (t *text) colour(code, s string) string {
	if !t.o.Colour || code == "" {
		return s
	}
	return code + s + uncoloured
}

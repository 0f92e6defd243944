package preflight

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sample is a reply of testdata/replies and what it means.
type sample struct {
	row               int
	host, stage, want string
	code              int
	status, text      string
}

func samples(t testing.TB) (all []sample) {
	t.Helper()
	file, err := os.ReadFile("testdata/replies/rows")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(file), "\n\n") {
		head, reply, _ := strings.Cut(strings.TrimSpace(block), "\n")
		f := strings.Fields(head)
		row, err := strconv.Atoi(f[0])
		if err != nil {
			continue // prose
		}
		s := sample{row: row, host: f[1], stage: f[2], want: strings.Join(f[3:], " ")}
		for line := range strings.SplitSeq(reply, "\n") {
			s.code, _ = strconv.Atoi(line[:3])
			s.text += line[4:] + "\n"
		}
		if first, _, _ := strings.Cut(s.text, " "); isStatus(first) {
			s.status = first
		}
		all = append(all, s)
	}
	return all
}

func TestClassify(t *testing.T) {
	reached := map[string]bool{}
	for _, s := range samples(t) {
		for _, text := range []string{s.text, strings.ToUpper(s.text), strings.ReplaceAll(s.text, "\n", " ")} {
			c, ok := Classify(Operator(s.host), s.stage, s.code, s.status, text)
			got := strings.TrimSpace(string(c.Kind) + " " + strings.Join(c.Checks, " "))
			if c.Row != s.row || got != s.want || ok != (s.row > 0) {
				t.Errorf("%s: %d %s\ngot row %d %q, want row %d %q", s.host, s.code, text, c.Row, got, s.row, s.want)
			}
		}
		for i := range sayings {
			if p := &sayings[i]; p.fits(Operator(s.host), s.stage, s.code, s.status, plain(s.text)) {
				reached[fmt.Sprint(i)] = true
				break
			}
		}
	}
	for i, s := range sayings {
		if !reached[fmt.Sprint(i)] {
			t.Errorf("no reply reaches row %d: %q", s.row, s.says)
		}
	}
}

// The table is whole, and its words are such that a reply can be found by them.
func TestSayings(t *testing.T) {
	rows := map[int]bool{}
	for _, s := range sayings {
		rows[s.row] = true
		if s.do == "" || s.kind == "" || s.codes == "" || len(s.says) == 0 {
			t.Errorf("row %d says too little: %+v", s.row, s)
		}
		for _, words := range s.says {
			if words != plain(words) && !strings.HasPrefix(words, "'") {
				t.Errorf("row %d: %q can never be heard", s.row, words)
			}
		}
		for _, by := range s.by {
			if !slices.Contains(slices.Collect(maps.Values(operators)), by) {
				t.Errorf("row %d: nobody is %s", s.row, by)
			}
		}
	}
	for row := 1; row <= 61; row++ {
		if !rows[row] {
			t.Errorf("there is no row %d", row)
		}
	}
}

func TestOperator(t *testing.T) {
	for host, want := range map[string]string{
		"aspmx.l.google.com": Gmail, "ALT4.ASPMX.L.GOOGLE.COM.": Gmail, "google.com": Gmail, "notgoogle.com": "notgoogle.com",
		"aspmx.l.google.com.example.org": "example.org", "mx.dest.test": "dest.test", "mx.example.co.uk": "example.co.uk",
		"x.mail.protection.outlook.com": Microsoft365, "x.olc.protection.outlook.com": Outlook, "x.mail.eo.outlook.com": "outlook.com",
		"mta5.am0.yahoodns.net": Yahoo, "mx-ha02.web.de": GMX, "[192.0.2.1]": "[192.0.2.1]", "192.0.2.1": "192.0.2.1", "": "", "localhost": "localhost",
	} {
		if got := Operator(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.host, s.stage, s.code, s.status, s.text)
	}
	f.Add("..", "", 599, ".", "..\n..")
	f.Fuzz(func(t *testing.T, host, stage string, code int, status, text string) {
		c, ok := Classify(Operator(host), stage, code, status, text)
		if ok != (c.Row > 0) || ok && (code < 400 || c.String() == "" || c.Do == "") {
			t.Fatalf("%+v %t", c, ok)
		}
		c.Of(Reply{Host: host, Stage: stage, Code: code, Status: status, Text: text, EHLO: host, Mail: Mail{Author: host}, Envelope: []string{text, status}})
		if again, _ := Classify(Operator(host), stage, code, status, plain(text)); ok && again.Row != c.Row {
			t.Fatalf("row %d, and %d once it is plain", c.Row, again.Row)
		}
	})
}

// The plain cases in which a 5xx holds the message. The rest are by the rule:
// whatever a check is about.
func TestHeldRows(t *testing.T) {
	plainly := []int{1, 2, 3, 15, 18, 19, 24, 25, 28, 37, 38, 41, 42, 47, 49, 50, 61}
	for _, s := range samples(t) {
		c, ok := Classify(Operator(s.host), s.stage, s.code, s.status, s.text)
		want := slices.Contains(plainly, s.row) || c.Kind == KindOurs || c.Kind == KindTLS
		if ok && c.Held != want {
			t.Errorf("row %d: held %t", s.row, c.Held)
		}
		if c.Kind == KindOurs && len(c.Checks) == 0 {
			t.Errorf("row %d is ours, and names nothing", s.row)
		}
	}
}

// Named are the checks that the table names.
func Named() (ids []string) {
	for _, s := range sayings {
		ids = append(ids, s.names...)
	}
	return append(ids, "SPF-SENDER-PASS", "SPF-HELO-PASS")
}

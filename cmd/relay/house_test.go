package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// plan is the drawing in docs/architecture.md: what each package may import of
// ours. Arrows go down only.
var plan = map[string][]string{
	"cmd/relay":             {"config", "relay", "relay/admin", "relay/deliver", "relay/submit", "relay/sign", "preflight", "preflight/dns"},
	"cmd/interop":           {},
	"cmd/demo":              {"preflight/dns", "preflight/dns/dnstest", "relay/deliver/mxtest"},
	"cmd/relay-bench":       {"cmd/sandbox", "preflight/dns", "preflight/dns/dnstest", "queue", "queue/disk"},
	"cmd/sandbox":           {},
	"config":                {"relay", "relay/submit", "relay/sign", "relay/deliver", "relay/report", "relay/admin", "relay/policy", "relay/dial", "preflight", "preflight/dns"},
	"relay":                 {"relay/submit", "relay/sign", "relay/deliver", "relay/report", "relay/admin", "relay/policy", "relay/dial", "queue", "queue/disk", "preflight", "preflight/dns"},
	"relay/submit":          {"queue", "preflight"},
	"relay/sign":            {},
	"relay/deliver":         {"queue", "preflight", "preflight/dns", "relay/policy", "relay/dial"},
	"relay/deliver/mxtest":  {},
	"relay/policy":          {"preflight/dns", "relay/dial"},
	"relay/dial":            {},
	"relay/report":          {"queue", "preflight", "relay/dial"},
	"relay/admin":           {"queue", "preflight"},
	"queue":                 {},
	"queue/disk":            {"queue"},
	"queue/queuetest":       {"queue"},
	"preflight":             {"preflight/dns"},
	"preflight/dns":         {},
	"preflight/dns/dnstest": {"preflight/dns"},
}

// doors are the only packages that know a library.
var doors = map[string][]string{
	"github.com/emersion/go-smtp":          {"relay/submit"},
	"github.com/emersion/go-msgauth/dkim":  {"relay/sign", "cmd/demo"},
	"github.com/miekg/dns":                 {"preflight/dns", "preflight/dns/dnstest"},
	"github.com/BurntSushi/toml":           {"config"},
	"github.com/cockroachdb/pebble/v2":     {"queue/disk"},
	"github.com/cockroachdb/pebble/v2/vfs": {"queue/disk", "relay", "cmd/relay-bench"},
	"blitiri.com.ar/go/spf":                {"preflight"},
	"github.com/spf13/cobra":               {"cmd/relay"},
}

type pkg struct {
	ImportPath, Dir, Doc string
	Imports, GoFiles     []string
}

func (p pkg) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "smtprelay"), "/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var ps []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

func TestPlan(t *testing.T) {
	for _, p := range packages(t) {
		allowed, planned := plan[p.name()]
		if !planned {
			t.Errorf("%s is not in the plan", p.name())
			continue
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, "smtprelay/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which the plan does not allow", p.name(), ours)
			}
			if open, ok := doors[imp]; ok && !slices.Contains(open, p.name()) {
				t.Errorf("%s imports %s, which only %s may", p.name(), imp, strings.Join(open, " and "))
			}
		}
		if len(p.Doc) < 20 {
			t.Errorf("%s has no package comment", p.name())
		}
	}
}

// TestLogWords holds every slog call to the keys of docs/logging.md and to
// messages that are fixed and in lower case, and the page to keys that are used.
func TestLogWords(t *testing.T) {
	keys, used := logKeys(t), map[string]bool{}
	for _, p := range packages(t) {
		if strings.HasPrefix(p.name(), "cmd/demo") {
			continue
		}
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if x, ok := n.(ast.Expr); ok {
					word, _ := literal(x)
					used[word] = true
				}
				if call, ok := n.(*ast.CallExpr); ok {
					for _, complaint := range logComplaints(call, keys) {
						t.Errorf("%s: %s", fset.Position(call.Pos()), complaint)
					}
				}
				return true
			})
		}
	}
	for key := range keys {
		if !used[key] {
			t.Errorf("docs/logging.md has the key %q, which nothing logs", key)
		}
	}
}

// logKeys are the words in the first column of the tables of docs/logging.md.
func logKeys(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/logging.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || !strings.Contains(cells[1], "`") {
			continue
		}
		for word := range strings.SplitSeq(cells[1], ",") {
			keys[strings.Trim(word, " `")] = true
		}
	}
	return keys
}

// logComplaints judges one call, if it is one of slog's.
func logComplaints(call *ast.CallExpr, keys map[string]bool) (out []string) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	args := call.Args
	switch recv := fmt.Sprint(sel.X); {
	case recv == "slog" && slices.Contains([]string{"String", "Int", "Int64", "Any", "Duration", "Bool", "Time", "Group"}, sel.Sel.Name):
		args = args[:1]
	case !isLogger(sel.X):
		return nil
	case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, sel.Sel.Name):
		out, args = message(args[0]), args[1:]
	case slices.Contains([]string{"Log", "LogAttrs"}, sel.Sel.Name) && len(args) > 2:
		out, args = message(args[2]), args[3:]
	case sel.Sel.Name != "With":
		return nil
	}
	for i := 0; i < len(args); i += 2 {
		key, ok := literal(args[i])
		if !ok {
			i-- // an slog.Attr stands alone
			continue
		}
		if !keys[key] {
			out = append(out, fmt.Sprintf("log key %q is not in docs/logging.md", key))
		}
	}
	return out
}

func isLogger(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "logger" || x.Name == "l"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Log"
	}
	return false
}

func message(x ast.Expr) []string {
	text, ok := literal(x)
	if !ok {
		return nil // a variable: chosen from fixed ones elsewhere
	}
	if text != strings.ToLower(text) && !strings.Contains(text, "DNS") && !strings.Contains(text, "TLS") && !strings.Contains(text, "DKIM") && !strings.Contains(text, "AUTH") {
		return []string{fmt.Sprintf("log message %q is not in lower case", text)}
	}
	return nil
}

func literal(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// TestArchitectureNamesDependencies: each direct dependency has its sentence.
func TestArchitectureNamesDependencies(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) >= 2 && strings.Contains(f[0], ".") && !strings.Contains(line, "// indirect") && !strings.Contains(string(text), f[0]) {
			t.Errorf("docs/architecture.md does not say why %s is needed", f[0])
		}
	}
	for name := range plan {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/architecture.md does not name the package %s", name)
		}
	}
}

package config

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"smtprelay/preflight"
	"smtprelay/relay"
)

var update = flag.Bool("update", false, "rewrite the problems in testdata")

// TestProblems: config above, expected problems below. Lines of the comment
// that begin with ">" prepare the directory, see world.do.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", "")
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			want := w.unpack(a)
			_, err = Load(w.path("relay.toml"))
			got := strings.ReplaceAll(told(t, err), w.dir+"/", "")
			if *update {
				a.Files[len(a.Files)-1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// told is what an operator would read.
func told(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("not Problems: %T %v", err, err)
	}
	return ps.Error() + "\n"
}

// full is a file with every key set, to another value than the default where
// there is a choice.
const full = `
state = "state"
[[source]]
name = "wan4"
bind = "127.0.0.1"
public = "192.0.2.25"
ehlo = "mail.example.com"
[[domain]]
name = "example.com"
envelope = "bounces.example.com"
dkim = ["k1"]
[preflight]
on_fail = "hold"
on_unknown = "send"
on_sender_fail = "reject"
spf = "warn"
ehlo_match = "forward"
grace = "1h"
settle = "10m"
startup_wait = "5s"
recheck_min = "1m"
recheck_max = "2m"
looks = 2
span = "1m"
private = true
dnsbl = ["bl.example.org"]
discovery = "active"
probe = ["mx.example.org"]
[preflight.severity]
PTR-SINGLE = "informational"
[[smarthost]]
url = "smtps://user@smtp.isp.example:4650"
password_file = "password"
tls = "opportunistic"
ca_file = "cert.pem"
[submission]
hostname = "submit.example.com"
listen = ["tls://127.0.0.1:4650"]
certificate = "cert.pem"
key_file = "key.pem"
trusted = ["10.1.0.0/16"]
users_file = "users"
senders = "listed"
size = "1MiB"
recipients = 200
connections = 20
connections_per_address = 10
idle = "1m"
session = "10m"
hops = 20
socket_mode = "0600"
[queue]
store = "disk:mail"
retry = ["1m", "1h"]
lifetime = "2d"
delay_notice = "never"
workers = 5
connections = 7
drain = "1s"
[[destination]]
match = ["*.example.net"]
connections = 3
per_minute = 60
[delivery]
route = "smarthost"
port = 2525
[delivery.timeouts]
connect = "1s"
greet = "2s"
mail = "3s"
rcpt = "4s"
data = "5s"
block = "6s"
dot = "7s"
[dns]
servers = ["127.0.0.1:5353"]
port = 5353
[admin]
socket = "admin.sock"
[log]
level = "debug"
format = "text"
`

// TestFullReachesEveryOption: a key that no option obeys, or an option that no
// key reaches, is a mistake.
func TestFullReachesEveryOption(t *testing.T) {
	w := newWorld(t)
	w.everyFile()
	w.write("relay.toml", full)
	f, err := Read(w.path("relay.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range zeros("File", reflect.ValueOf(*f)) {
		t.Errorf("%s is not set by the full file", at)
	}
	o, err := Load(w.path("relay.toml"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := map[string]string{
		"Options.Log": "who starts the program", "Options.LogLost": "likewise", "Options.Submit.Log": "likewise", "Options.Deliver.Log": "likewise",
		"Options.Report.Log": "likewise", "Options.Admin.Log": "likewise", "Options.Queue.Log": "likewise", "Options.Sign.Log": "likewise",
		"Options.Deliver.Idle":    "relay: of the limit on open files",
		"Options.Sign.Live":       "relay: the gate knows",
		"Options.Admin.Preflight": "relay: the gate's report",
		"Options.Admin.Metrics":   "relay: of the gate",
		"Options.Admin.Look":      "likewise",
		"Options.Plan.Special":    "zero is the registries",
		"Options.Plan.Foreign":    "the command line: another server",
	}
	for _, at := range zeros("Options", reflect.ValueOf(o)) {
		if elsewhere[at] == "" {
			t.Errorf("%s is zero though every key is set", at)
		}
	}
}

// TestEveryLineCounts: without any one of its lines the full file means something
// else, or is refused. Its values are none of the defaults.
func TestEveryLineCounts(t *testing.T) {
	w := newWorld(t)
	w.everyFile()
	load := func(text string) (relay.Options, error) {
		w.write("relay.toml", text)
		o, err := Load(w.path("relay.toml"))
		if shown := o.Plan.Submission.Certificate; shown != nil { // functions are never equal
			c, _ := shown()
			o.Submit.TLS, o.Plan.Submission.Certificate = &tls.Config{Certificates: []tls.Certificate{*c}}, nil
		}
		return o, err
	}
	whole, err := load(full)
	if again, _ := load(full); err != nil || !reflect.DeepEqual(whole, again) {
		t.Fatalf("the same file twice means different things: %v", err)
	}
	for line := range strings.Lines(full) {
		if !strings.Contains(line, " = ") {
			continue
		}
		if without, err := load(strings.Replace(full, line, "", 1)); err == nil && reflect.DeepEqual(whole, without) {
			t.Errorf("%s does nothing", strings.TrimSpace(line))
		}
	}
}

// zeros names the zero fields of v, through structs and the first elements of lists.
func zeros(at string, v reflect.Value) (names []string) {
	switch {
	case v.IsZero() || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0:
		return []string{at}
	case v.Kind() == reflect.Slice:
		return zeros(at+"[0]", v.Index(0))
	case v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().PkgPath(), "smtprelay/"):
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				names = append(names, zeros(at+"."+f.Name, v.Field(i))...)
			}
		}
	}
	return names
}

func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../relay.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestExampleIsComplete: every key of File stands in relay.example.toml.
func TestExampleIsComplete(t *testing.T) {
	at := findPlaces(example(t))
	var walk func(path string, v reflect.Type)
	walk = func(path string, v reflect.Type) {
		for i := range v.NumField() {
			f := v.Field(i)
			name := f.Tag.Get("toml")
			if name == "" {
				continue
			}
			key, typ := join(path, name), f.Type
			if _, ok := at[key]; !ok {
				t.Errorf("relay.example.toml does not show %s", key)
			}
			if typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct {
				key, typ = index(key, 0), typ.Elem()
			}
			if _, isValue := reflect.New(typ).Interface().(measure); typ.Kind() == reflect.Struct && !isValue {
				walk(key, typ)
			}
		}
	}
	walk("", reflect.TypeFor[File]())
}

// TestExampleLoads: it does once the files it names exist.
func TestExampleLoads(t *testing.T) {
	w := newWorld(t)
	w.everyFile()
	text := strings.NewReplacer(
		"/var/lib/relay", w.path("state"), "/etc/relay/smarthost.password", w.path("password"), "/etc/relay/users", w.path("users"),
		"/etc/relay/tls/fullchain.pem", w.path("cert.pem"), "/etc/relay/tls/privkey.pem", w.path("key.pem"),
	).Replace(example(t))
	w.write("relay.toml", text)
	if _, err := Load(w.path("relay.toml")); err != nil {
		t.Fatal(err)
	}
}

// TestREADMELoads: the file that README.md shows is in order as it stands.
func TestREADMELoads(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```toml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README.md shows no configuration")
	}
	w := newWorld(t)
	w.everyFile()
	w.write("relay.toml", strings.ReplaceAll(text, "/var/lib/relay", w.path("state")))
	if _, err := Load(w.path("relay.toml")); err != nil {
		t.Fatal(err)
	}
}

// TestExampleTellsDefaults: a line that says it is the default is.
func TestExampleTellsDefaults(t *testing.T) {
	var plain strings.Builder
	for line := range strings.Lines(example(t)) {
		if !strings.Contains(line, "efault") || strings.HasPrefix(line, "#") {
			plain.WriteString(line)
		}
	}
	whole, err := parse("/x/relay.toml", example(t))
	if err != nil {
		t.Fatal(err)
	}
	less, err := parse("/x/relay.toml", plain.String())
	if err != nil {
		t.Fatal(err)
	}
	whole.places, less.places = nil, nil
	if diff := cmp.Diff(whole, less, cmp.AllowUnexported(File{})); diff != "" {
		t.Errorf("relay.example.toml (-whole +without the lines that say default):\n%s", diff)
	}
}

// TestDefaultsAgree: what the preflight does when nobody chose is what we show.
func TestDefaultsAgree(t *testing.T) {
	f, err := parse("relay.toml", "")
	if err != nil {
		t.Fatal(err)
	}
	l := &loader{file: f}
	got := f.Preflight.policy(l)
	got.Severity, got.DNSBL = nil, nil // lists stand in the configuration, or there are none
	if diff := cmp.Diff(preflight.Policy{}.Defaults(false), got); diff != "" {
		t.Errorf("policy (-preflight +config):\n%s", diff)
	}
}

// TestShowReadsBack: what Show prints means the same, and holds no password.
func TestShowReadsBack(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "full": full, "example": example(t)} {
		f, err := parse("/x/relay.toml", text)
		if err != nil || len(f.faults) > 0 {
			t.Fatal(name, err, f.faults)
		}
		var b bytes.Buffer
		if err := f.Show(&b); err != nil {
			t.Fatal(name, err)
		}
		g, err := parse("/x/relay.toml", b.String())
		if err != nil || len(g.faults) > 0 {
			t.Fatalf("%s: %v %v\n%s", name, err, g.faults, b.String())
		}
		f.places, g.places = nil, nil
		if diff := cmp.Diff(f, g, cmp.AllowUnexported(File{})); diff != "" {
			t.Errorf("%s (-read +shown and read):\n%s", name, diff)
		}
	}
	f, err := parse("relay.toml", "[[smarthost]]\nurl = \"smtp://me:hunter2@mx.example\"\n[[smarthost]]\nurl = \"smtp:me:hunter2@mx.example\"\n[[smarthost]]\nurl = \"me:hunter2@mx.example\"\n[queue]\nstore = \"postgres://me:hunter2@db/x\"\n"+
		"[preflight]\ndnsbl = [\"hunter2.zen.dq.spamhaus.net\", \"hunter2..zen.dq.spamhaus.net\"]")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.Show(&b); err != nil {
		t.Fatal(err)
	}
	_, loadErr := f.options()
	if all := b.String() + fmt.Sprint(loadErr); strings.Contains(all, "hunter2") {
		t.Errorf("a password is shown:\n%s", all)
	}
}

func TestReadMissing(t *testing.T) {
	_, err := Read(filepath.Join(t.TempDir(), "relay.toml"))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Hint == "" {
		t.Fatalf("got %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Fatal("a directory was read as a file")
	}
	w := newWorld(t)
	w.write("relay.toml", strings.Repeat("#\n", maxFile/2)+"#")
	if _, err := Read(w.path("relay.toml")); err == nil || !strings.Contains(err.Error(), "octets") {
		t.Fatalf("a file without end: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(full)
	f.Add("[[source]]\nname = 'a'\n[source.x]\n\"q.u\" = [[1], {a = '''b''', c = \"\"\"\\\"\"\"\"}]")
	f.Add("submission = 5\nsource = [1, {name = 2}]\nx.y.z = 1979-05-27\n")
	f.Add("state = \"\\uD800\"\n# \x00")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parse("relay.toml", text)
		findPlaces(text)
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 || ps[0].What == "" {
				t.Fatalf("not Problems: %v", err)
			}
			return
		}
		_, _ = file.KeyPath("example.com", "k1")
		if err := file.Show(&bytes.Buffer{}); err != nil {
			t.Fatalf("show: %v", err)
		}
	})
}

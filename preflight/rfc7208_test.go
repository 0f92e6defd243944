package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"smtprelay/preflight/dns/dnstest"
)

// The suite of RFC 7208 says what every receiver has to compute. All of it goes
// through the evaluator over a DNS server, and through our parser of records: an
// error of syntax that the evaluator does not see, as behind a match, the parser has
// to. The text of exp= is not compared: nothing here reads it.

const rfc7208Cases = 203

// parserOnly are the cases in which the evaluator comes to something else than the
// standard, and only the parser sees the error.
var parserOnly = []string{
	"a-bad-domain", "a-bad-toplabel", "a-null", "a-numeric", "a-numeric-toplabel", "a-only-toplabel",
	"a-only-toplabel-trailing-dot", "bare-ip6", "cidr4-032", "control-char-policy", "detect-errors-anywhere", "exp-empty-domain",
	"exp-only-macro-char", "exp-syntax-error", "exp-twice", "invalid-domain", "mx-bad-domain", "mx-bad-toplab",
	"mx-null", "mx-numeric-top-label", "non-ascii-policy", "redirect-empty-domain", "redirect-is-modifier", "redirect-syntax-error",
	"unknown-modifier-syntax",
}

// otherwise are those that neither of the two sees as the standard has it, and why
// that is left so.
var otherwise = map[string]string{
	"a-colon-domain":            slash,
	"a-colon-domain-ip4mapped":  slash,
	"mx-colon-domain":           slash,
	"mx-colon-domain-ip4mapped": slash,
	"p-macro-multiple":          "%{p} is always \"unknown\": many receivers do not expand it (RFC 7208 section 7.3), and SPF-NO-PTR asks for another record",
}

const slash = "a slash in a domain is legal and never meant: it is a prefix length gone wrong, and many receivers see it as an error"

type spfSuite struct {
	Description string
	Tests       map[string]spfTest
	Zone        map[string][]map[string]any `yaml:"zonedata"`
}

type spfTest struct {
	HELO, Host, MailFrom string
	Result               oneOrMore
}

type oneOrMore []string

func (l *oneOrMore) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = []string{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

func readSuites(t *testing.T) (all []spfSuite) {
	t.Helper()
	f, err := os.Open("testdata/rfc7208/rfc7208-tests.yml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var s spfSuite
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

func TestRFC7208(t *testing.T) {
	var all sync.WaitGroup
	var mu sync.Mutex
	total := 0
	var byParser, differ []string
	for _, s := range readSuites(t) {
		server := s.serve(t)
		for name, c := range s.Tests {
			total++
			all.Go(func() { // at the same time: some wait for who is silent
				outcome, detail := c.run(t.Context(), server)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case outcome == "parser":
					byParser = append(byParser, name)
				case outcome == "different" && otherwise[name] == "":
					t.Errorf("%s, %s: %s", s.Description, name, detail)
				case outcome == "different":
					differ = append(differ, name)
				}
			})
		}
	}
	all.Wait()
	slices.Sort(byParser)
	slices.Sort(differ)
	if !slices.Equal(byParser, parserOnly) {
		t.Errorf("the parser alone sees %q,\nwant %q", byParser, parserOnly)
	}
	if want := slices.Sorted(maps.Keys(otherwise)); !slices.Equal(differ, want) {
		t.Errorf("%q come out otherwise,\nwant %q", differ, want)
	}
	if total != rfc7208Cases {
		t.Errorf("%d cases, want %d", total, rfc7208Cases)
	}
}

// run tells who came to the right result: "evaluator", "parser", or nobody, which is
// "different".
func (c spfTest) run(ctx context.Context, server *dnstest.Server) (outcome, detail string) {
	plan := &Plan{}
	r := newRun(plan, Outside{DNS: server.Client()})
	p := &Probe{Plan: plan, run: r, dns: r.dns}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // who is silent then is silent
	defer cancel()
	sender := c.MailFrom
	switch {
	case sender == "":
		sender = "postmaster@" + c.HELO
	case sender[0] == '@':
		sender = "postmaster" + sender
	}
	_, domain, _ := strings.Cut(sender, "@")
	addr := netip.MustParseAddr(c.Host).Unmap()
	res := p.checkHost(ctx, addr, c.HELO, sender, false)
	fault := p.faultOf(ctx, domain)
	got := string(res.Result)
	permerror := slices.Contains(c.Result, "permerror")
	right := slices.Contains(c.Result, got)
	detail = fmt.Sprintf("%s (%v), parser %q; want %v", got, res.Err, fault, c.Result)
	switch {
	case fault != "" && !permerror: // what is right must not be found fault with
		return "different", detail
	case right:
		return "evaluator", detail
	case permerror && fault != "":
		return "parser", detail
	}
	return "different", detail
}

// faultOf is the first error of syntax in a domain's record and those behind it.
func (p *Probe) faultOf(ctx context.Context, domain string) string {
	n := p.spfTree(ctx, domain)
	for _, t := range n.Terms {
		if t.Fault != "" && !t.Mild {
			return fmt.Sprintf("%q %s", t.Text, t.Fault)
		}
	}
	return ""
}

// serve puts the suite's zone on a server. The root denies what is not in it.
func (s spfSuite) serve(t *testing.T) *dnstest.Server {
	t.Helper()
	var b strings.Builder
	b.WriteString(". 3600 IN SOA ns.invalid. root.invalid. 1 7200 900 1209600 900\n")
	var mute []string
	for name, records := range s.Zone {
		owner := zoneName(name)
		hasTXT := slices.ContainsFunc(records, func(r map[string]any) bool { return r["TXT"] != nil })
		for _, r := range records {
			for kind, v := range r {
				switch kind {
				case "TIMEOUT":
					mute = append(mute, owner)
				case "CNAMELOOP":
					fmt.Fprintf(&b, "%s 300 IN CNAME %s\n", owner, owner)
				case "SPF":
					fmt.Fprintf(&b, "%s 300 IN SPF %s\n", owner, zoneText(v))
					if !hasTXT { // the suite is older than the end of type SPF
						fmt.Fprintf(&b, "%s 300 IN TXT %s\n", owner, zoneText(v))
					}
				case "TXT":
					if v != "NONE" {
						fmt.Fprintf(&b, "%s 300 IN TXT %s\n", owner, zoneText(v))
					}
				case "MX":
					mx := v.([]any)
					fmt.Fprintf(&b, "%s 300 IN MX %v %s\n", owner, mx[0], zoneName(fmt.Sprint(mx[1])))
				case "PTR", "CNAME":
					fmt.Fprintf(&b, "%s 300 IN %s %s\n", owner, kind, zoneName(fmt.Sprint(v)))
				case "A", "AAAA":
					fmt.Fprintf(&b, "%s 300 IN %s %v\n", owner, kind, v)
				default:
					t.Fatalf("%s: record of kind %s", name, kind)
				}
			}
		}
	}
	server, err := dnstest.Start(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	t.Cleanup(func() { server.Close() })
	for _, name := range mute {
		if err := server.Behave(name, "mute"); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

// zoneName is a name of the suite in a zone file.
func zoneName(name string) string {
	var b strings.Builder
	for _, c := range []byte(strings.TrimSuffix(name, ".")) {
		if strings.IndexByte(" \"();@$\\", c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String() + "."
}

// zoneText is a text of the suite, or several strings, in a zone file. Each
// character stands for an octet.
func zoneText(v any) string {
	texts, ok := v.([]any)
	if !ok {
		texts = []any{v}
	}
	var all []string
	for _, text := range texts {
		var octets []byte
		for _, r := range fmt.Sprint(text) {
			octets = append(octets, byte(r))
		}
		all = append(all, Quote(string(octets)))
	}
	if all == nil {
		return `""`
	}
	return strings.Join(all, " ")
}

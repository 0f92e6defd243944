package preflight

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden reports")

// scene is a report made by hand, so that no check's wording moves a golden.
type scene struct {
	plan *Plan
	fs   []Finding
	next time.Duration
	o    TextOptions
	as   []string // supposed
}

func sceneOf(sources []string, domains ...string) *scene {
	s := &scene{plan: planOf(sources, domains...)}
	s.add("DNS-REACHABLE", ScopeHost, Mandatory, "", "", Pass, "127.0.0.1:53 answers")
	for _, src := range sources {
		addr := s.plan.Sources[len(s.fs)-1].Bind
		s.add("EGRESS-PUBLIC", ScopeSource, Mandatory, src, "", Pass, addr+" is a public address")
	}
	for _, d := range domains {
		for _, src := range sources {
			s.add("SPF-SENDER-PASS", ScopePair, Mandatory, src, d, Pass, "pass")
		}
		s.add("DKIM-MATCHES-KEY", ScopeSender, Recommended, "", d, Pass, "k1: the key on disk")
		s.add("DMARC-PRESENT", ScopeSender, Recommended, "", d, Pass, "v=DMARC1; p=none")
	}
	return s
}

// add a finding, or put it in the place of one made before.
func (s *scene) add(id string, sc Scope, sev Severity, source, sender string, st Status, found string) *Finding {
	f := Finding{Check: &Check{ID: id, Scope: sc, Severity: sev, Title: "it is so", Why: "many receivers refuse mail without it"}, Source: source, Sender: sender}
	if sc == ScopeSmartHost {
		f.Source, f.SmartHost = "", source
	}
	f.Result = Result{Status: st, Severity: sev, Found: found, NegTTL: time.Hour}
	for i := range s.fs {
		if s.fs[i].key() == f.key() {
			s.fs[i] = f
			return &s.fs[i]
		}
	}
	s.fs = append(s.fs, f)
	return &s.fs[len(s.fs)-1]
}

func (s *scene) waits(id string, source, on string) {
	s.add(id, ScopeSource, Mandatory, source, "", Skip, "").WaitsFor = on
}

func (s *scene) smartHost() {
	s.plan.SmartHosts = []SmartHost{{Name: "smtp.isp.example:587"}}
	s.plan.Policy = Policy{}.Defaults(true)
	s.add("SMARTHOST-AUTH", ScopeSmartHost, Mandatory, "smtp.isp.example:587", "", Pass, "235 accepted")
}

func (s *scene) report() *Report {
	r := Judge(s.plan, s.fs, noon)
	r.Supposed = s.as
	if s.next > 0 {
		r.Next = noon.Add(s.next)
	}
	return r
}

var ptrRemedy = Remedy{
	Title:   "Give 192.0.2.25 its name",
	Who:     "whoever runs 2.0.192.in-addr.arpa (ns1.isp.example; hostmaster@isp.example)",
	Records: []Record{{Do: Add, Owner: "25.2.0.192.in-addr.arpa", TTL: time.Hour, Type: "PTR", Data: "mail.example.net."}},
	Message: "Please set the reverse lookup (PTR) record for 192.0.2.25 to mail.example.net. The A record of that name already points to 192.0.2.25.",
	Steps:   []string{"nslookup -q=ns 2.0.192.in-addr.arpa.", "dig 25.2.0.192.in-addr.arpa ptr +trace"},
}

var addrRemedy = Remedy{
	Title:   "Point mail.example.net to 192.0.2.25",
	Records: []Record{{Do: Replace, Owner: "mail.example.net", TTL: time.Hour, Type: "A", Data: "192.0.2.25"}},
}

func noPTRScene() *scene {
	s := sceneOf([]string{"wan4"}, "example.net", "shop.example")
	s.smartHost()
	s.add("PTR-EXISTS", ScopeSource, Mandatory, "wan4", "", Fail, "192.0.2.25 has no name (NXDOMAIN)").Remedy = ptrRemedy
	s.waits("EHLO-MATCHES-PTR", "wan4", "PTR-EXISTS")
	s.add("DMARC-PRESENT", ScopeSender, Recommended, "", "shop.example", Fail, "no DMARC record").Remedy = Remedy{
		Title:   "Publish a DMARC record for shop.example",
		Records: []Record{{Do: Add, Owner: "_dmarc.shop.example", TTL: time.Hour, Type: "TXT", Data: `"v=DMARC1; p=none"`}},
	}
	s.next = time.Minute
	return s
}

var scenes = map[string]func() *scene{
	"pass": func() *scene {
		s := sceneOf([]string{"wan4", "wan6"}, "example.net", "shop.example")
		s.next = 4 * time.Hour
		return s
	},
	"no-ptr": noPTRScene,
	"no-ptr-ascii": func() *scene {
		s := noPTRScene()
		s.o.ASCII = true
		return s
	},
	"no-ptr-colour": func() *scene {
		s := noPTRScene()
		s.o.Colour = true
		return s
	},
	"supposed": func() *scene {
		s := noPTRScene()
		s.next = 0
		for i := range 6 {
			s.as = append(s.as, fmt.Sprintf("host%d.example.net. A 192.0.2.25", i))
		}
		return s
	},
	"another-server": func() *scene {
		s := noPTRScene()
		s.plan.SmartHosts, s.plan.Policy, s.plan.Foreign, s.next = nil, Policy{}.Defaults(false), true, 0
		s.add("EHLO-MATCHES-PTR", ScopeSource, Mandatory, "wan4", "", Fail, "PTR gw.isp.example, EHLO mail.example.net").Remedy = Remedy{Title: "Greet by the address's name", Setting: `ehlo = "gw.isp.example"`}
		return s
	},
	"two-ways": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		s.add("EHLO-MATCHES-PTR", ScopeSource, Mandatory, "wan4", "", Fail, "PTR gw.isp.example, EHLO mail.example.net").Remedy = Remedy{
			Title: "Rename 192.0.2.25 to mail.example.net", Records: []Record{{Do: Replace, Owner: "25.2.0.192.in-addr.arpa", TTL: time.Hour, Type: "PTR", Data: "mail.example.net."}},
			Setting: `ehlo = "gw.isp.example"`, Under: "the [[source]] named wan4", Instead: "only if gw.isp.example is a name of yours",
			Steps: []string{"nslookup -q=ns 2.0.192.in-addr.arpa."},
		}
		s.add("DKIM-CONFIGURED", ScopeSender, Recommended, "", "example.net", Fail, "no DKIM key for example.net").Remedy = Remedy{
			Title: "Make a DKIM key for example.net", Who: "you", Setting: `dkim = ["k1"]`, Under: "the [[domain]] named example.net", Steps: []string{"relay dkim new example.net"},
		}
		s.add("EGRESS-PUBLIC", ScopeSource, Mandatory, "wan4", "", Fail, "100.64.3.9 is shared address space (RFC 6598)").Remedy = Remedy{
			Title: "Get a public address for wan4", Who: "the provider of the connection", Steps: []string{"Ask for a static public address."},
		}
		return s
	},
	"silent-zone": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		for _, of := range []struct {
			id  string
			sc  Scope
			dig string
		}{{"SPF-SENDER-PRESENT", ScopeSender, "txt"}, {"SENDER-RESOLVES", ScopeSender, "mx"}} {
			s.add(of.id, of.sc, Mandatory, "", "example.net", Unknown, "example.net. "+of.dig+": SERVFAIL").Remedy = Remedy{
				Title: "Find out why DNS has no answer to what is asked", Steps: []string{"dig example.net " + of.dig},
			}
		}
		return s
	},
	"no-ptr-refuse": func() *scene {
		s := noPTRScene()
		s.plan.SmartHosts, s.plan.Policy = nil, Policy{}.Defaults(false)
		return s
	},
	"one-remedy-for-three": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		s.add("PTR-FORWARD-CONFIRMED", ScopeSource, Mandatory, "wan4", "", Fail, "mail.example.net is 192.0.2.99").Remedy = addrRemedy
		s.add("EHLO-ADDR", ScopeSource, Mandatory, "wan4", "", Fail, "mail.example.net is 192.0.2.99").Remedy = addrRemedy
		s.add("SPF-HELO-PASS", ScopeSource, Mandatory, "wan4", "", Fail, "fail: only -all matches").Remedy = addrRemedy
		return s
	},
	"ipv6-off": func() *scene {
		s := sceneOf([]string{"wan4", "wan6"}, "example.net")
		s.add("PTR-EXISTS", ScopeSource, Mandatory, "wan6", "", Fail, "2001:db8::25 has no name (NXDOMAIN)").Remedy = Remedy{
			Title:   "Give 2001:db8::25 its name",
			Records: []Record{{Do: Add, Owner: "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", TTL: time.Hour, Type: "PTR", Data: "mail.example.net."}},
		}
		s.add("IPV6-SOURCE", ScopeSource, Informational, "wan6", "", Fail, "IPv6 off: PTR-EXISTS")
		s.add("SPF-SENDER-PASS", ScopePair, Mandatory, "wan6", "example.net", Fail, "fail: 2001:db8::25 matches no term before -all").Remedy = Remedy{
			Title:   "Correct the SPF record of example.net",
			Records: []Record{{Do: Replace, Owner: "example.net", TTL: time.Hour, Type: "TXT", Data: `"v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all"`}},
		}
		return s
	},
	"two-sources": func() *scene {
		s := sceneOf([]string{"wan4", "wan6"}, "example.net")
		s.add("PTR-EXISTS", ScopeSource, Mandatory, "wan6", "", Fail, "2001:db8::25 has no name (NXDOMAIN)").Remedy = Remedy{Title: "Give 2001:db8::25 its name"}
		s.add("EHLO-ADDR", ScopeSource, Mandatory, "wan6", "", Fail, "no AAAA record").Remedy = Remedy{Title: "Point mail.example.net to 2001:db8::25"}
		s.add("PTR-EXISTS", ScopeSource, Mandatory, "wan4", "", Fail, "192.0.2.25 has no name (NXDOMAIN)").Remedy = ptrRemedy
		return s
	},
	"contradicted": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		f := s.add("PTR-EXISTS", ScopeSource, Recommended, "wan4", "", Pass, "192.0.2.25 is mail.example.net")
		f.ContradictedBy, f.Remedy = []string{"Gmail 550 5.7.25 09:12", "dest.example 554 5.7.1 09:13"}, lookFurther
		return s
	},
	"silence": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		s.add("DNS-REACHABLE", ScopeHost, Mandatory, "", "", Unknown, "none of 10.0.0.2:53, 10.0.0.3:53 answered").Remedy = Remedy{
			Setting: ownResolver, Steps: []string{"dig . ns"},
		}
		s.waits("PTR-EXISTS", "wan4", "DNS-REACHABLE")
		s.next = 5 * time.Second
		return s
	},
	"smart-host-only": func() *scene {
		s := noPTRScene()
		s.plan.SmartHostOnly = true
		for i := range s.fs {
			if s.fs[i].Check.Scope != ScopeSmartHost {
				s.fs[i].Result = Result{Status: Skip, Because: "smart host"}
				s.fs[i].WaitsFor = ""
			}
		}
		return s
	},
	"long-text": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		s.add("DKIM-MATCHES-KEY", ScopeSender, Recommended, "", "example.net", Fail, "k1: the key in DNS (sha256 ab12cd34) is another than that on disk (sha256 ef56ab78), so that every signature is a broken one").Remedy = Remedy{
			Title:   "Publish the DKIM key of example.net",
			Records: []Record{{Do: Replace, Owner: "k1._domainkey.example.net", TTL: time.Hour, Type: "TXT", Data: `"v=DKIM1; k=rsa; p=` + strings.Repeat("A", 237) + `" "` + strings.Repeat("B", 155) + `"`}},
		}
		return s
	},
	"hostile": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net")
		s.add("PTR-NAME-VALID", ScopeSource, Mandatory, "wan4", "", Fail, "the name is \x1b[2J\r\n\u202eevil\xff").Remedy = Remedy{Title: "Correct \x07it", Message: "a\x00b"}
		return s
	},
	"senders": func() *scene {
		s := sceneOf([]string{"wan4"}, "example.net", "shop.example")
		s.smartHost()
		s.plan.Policy.OnSenderFail = ActReject
		s.add("SPF-SENDER-PRESENT", ScopeSender, Mandatory, "", "shop.example", Fail, "no v=spf1 TXT (NODATA)").Remedy = Remedy{
			Title:   "Publish an SPF record for shop.example",
			Records: []Record{{Do: Add, Owner: "shop.example", TTL: time.Hour, Type: "TXT", Data: `"v=spf1 ip4:192.0.2.25 ~all"`}},
			Steps:   []string{"add your other senders before you use -all", "relay dkim new shop.example"},
		}
		s.add("MX-PRESENT", ScopeSender, Informational, "", "shop.example", Fail, "no MX; the address record serves")
		s.add("SPF-SENDER-PASS", ScopePair, Mandatory, "wan4", "shop.example", Skip, "").WaitsFor = "SPF-SENDER-PRESENT"
		s.add("PTR-SINGLE", ScopeSource, Recommended, "wan4", "", Fail, "2 names").Remedy = Remedy{
			Title:   "Leave 192.0.2.25 one name",
			Records: []Record{{Do: Remove, Owner: "25.2.0.192.in-addr.arpa", TTL: time.Hour, Type: "PTR", Data: "former.example.org."}},
		}
		return s
	},
}

func TestReports(t *testing.T) {
	for name, make := range scenes {
		t.Run(name, func(t *testing.T) {
			s := make()
			var b bytes.Buffer
			if err := WriteText(&b, s.report(), s.o); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "report", name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s(go test ./preflight -run Reports -update rewrites it)", b.String(), want)
			}
			shape(t, s, b.String())
		})
	}
}

// However many are in order, the first fault stands near the top, and a report
// printed by another command ends with the code of that one.
func TestLongReports(t *testing.T) {
	var sources, domains []string
	for i := range 15 {
		sources, domains = append(sources, fmt.Sprintf("wan%d", i)), append(domains, fmt.Sprintf("d%d.example", i))
	}
	s := sceneOf(sources, domains...)
	s.smartHost()
	s.o.Exit = 78
	s.add("SMARTHOST-AUTH", ScopeSmartHost, Mandatory, "smtp.isp.example:587", "", Fail, "535 no")
	var b bytes.Buffer
	if err := WriteText(&b, s.report(), s.o); err != nil {
		t.Fatal(err)
	}
	shape(t, s, b.String())
	if n := strings.Count(b.String(), "\n"); n > 30 {
		t.Errorf("%d lines for one fault:\n%s", n, b.String())
	}
	if !strings.Contains(b.String(), " exit 78\n") {
		t.Errorf("ends with\n%s", b.String()[b.Len()-80:])
	}
}

// Long names cost a line more, and no column.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("very-long-", 5) + "name.example"
	s := sceneOf([]string{"a-source-with-a-very-long-name-of-its-own"}, long, "d.example")
	s.plan.Sources[0].EHLO = "mail." + long
	s.add("SPF-SENDER-PRESENT", ScopeSender, Mandatory, "", long, Fail, "no v=spf1 TXT (NODATA)").Remedy = Remedy{Title: "Publish an SPF record"}
	var b bytes.Buffer
	if err := WriteText(&b, s.report(), s.o); err != nil {
		t.Fatal(err)
	}
	shape(t, s, b.String())
	for _, want := range []string{" FAIL      " + long, "SPF missing   DKIM k1 ok", "a-source-with-a-very-long-name-of-its-own"} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

// shape holds what is true of every report.
func shape(t *testing.T, s *scene, out string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	first := -1
	for i, l := range lines {
		if first < 0 && strings.ContainsAny(l, "✗?!") || strings.HasPrefix(l, " FAIL ") {
			first = i
		}
		if n := width(l); n > 80 && !strings.Contains(l, " IN ") {
			t.Errorf("line %d has %d columns: %q", i+1, n, l)
		}
		if strings.TrimRight(l, " ") != l {
			t.Errorf("line %d ends in a space", i+1)
		}
	}
	if first > 12 || len(s.plan.Sources) > 12 && first < 0 {
		t.Errorf("%d lines before the first problem", first)
	}
	if strings.Contains(out, "\n\n\n") {
		t.Error("two empty lines in a row")
	}
	if s.plan.SmartHostOnly {
		return
	}
	for _, f := range s.fs {
		for _, r := range f.Remedy.Records {
			if n := strings.Count(out, "       "+r.String()+"\n"); n != 1 {
				t.Errorf("%s stands %d times alone on its line", r, n)
			}
		}
	}
}

func TestWriteJSON(t *testing.T) {
	s := noPTRScene()
	var b bytes.Buffer
	if err := WriteJSON(&b, s.report()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema, Exit    int
		Overall, Action string
		At, Next        time.Time
		Sources         []struct {
			Name, Addr, EHLO, Verdict string
			Because                   []string
			Findings                  []struct {
				ID, Status, Severity, Message string
				Waits                         string `json:"waits_for"`
				Refs, Steps                   []string
				Records                       []struct {
					Owner, Type, Data string
					TTL               int
					Zone              string `json:"zone_file"`
				}
			}
		}
		Senders []struct{ Domain, Verdict string }
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || got.Exit != 2 || got.Overall != "fail" || got.Action != "smarthost" || !got.At.Equal(noon) || !got.Next.Equal(noon.Add(time.Minute)) {
		t.Errorf("head: %+v", got)
	}
	src := got.Sources[0]
	if src.Name != "wan4" || src.Addr != "192.0.2.25" || src.EHLO != "mail.example.net" || src.Verdict != "fail" || len(src.Because) != 1 {
		t.Errorf("source: %+v", src)
	}
	for _, f := range src.Findings {
		switch f.ID {
		case "PTR-EXISTS":
			if len(f.Records) != 1 || f.Records[0].Zone != "25.2.0.192.in-addr.arpa. 3600 IN PTR mail.example.net." || f.Records[0].TTL != 3600 || f.Records[0].Owner != "25.2.0.192.in-addr.arpa." || f.Message == "" || len(f.Steps) != 2 {
				t.Errorf("remedy: %+v", f)
			}
		case "EHLO-MATCHES-PTR":
			if f.Status != "skip" || f.Waits != "PTR-EXISTS" {
				t.Errorf("waiting: %+v", f)
			}
		}
	}
	if len(got.Senders) != 2 || got.Senders[1].Verdict != "degraded" {
		t.Errorf("senders: %+v", got.Senders)
	}
}

package preflight_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"smtprelay/preflight"
)

var (
	mendSeed   = flag.Uint64("mendseed", 0, "repeat the wrong worlds of this seed; 0: others every time")
	mendWorlds = flag.Int("mendworlds", 40, "how many wrong worlds are made")
)

// wrongs are what can be wrong, by whose record it is: of each list one line at
// most stands in a world. They are steps of a case, over the baseline of cases.txt;
// PTR4, PTR6 stand for the reverse names.
var wrongs = map[string][]string{
	"PTR": {
		"- PTR4 PTR",
		"- PTR4 PTR ; + PTR4. TXT x",
		"+ PTR4. PTR old.example.net.",
		"+ PTR4. PTR gw.isp.example.org. ; + gw.isp.example.org. A 192.0.2.25 ; + PTR4. PTR third.example.org.",
		"+ (replace) PTR4. PTR gone.example.net.",
		"+ (replace) PTR4. PTR gw.isp.example.org. ; + gw.isp.example.org. A 192.0.2.25",
		"+ (replace) PTR4. PTR gw.isp.example.org. ; + gw.isp.example.org. A 192.0.2.77",
		"+ (replace) PTR4. PTR alias.example.net. ; + alias.example.net. CNAME mail.example.net.",
		"+ PTR4. PTR alias.example.net. ; + alias.example.net. CNAME mail.example.net.",
		"+ (replace) PTR4. PTR alias.example.net. ; + PTR4. PTR alias2.example.net. ; + alias.example.net. CNAME mail.example.net. ; + alias2.example.net. CNAME alias.example.net.",
		"+ (replace) PTR4. PTR alias.example.net. ; + alias.example.net. CNAME nowhere.example.org.",
		"+ (replace) PTR4. PTR 192-0-2-25.dyn.isp.example.org. ; + 192-0-2-25.dyn.isp.example.org. A 192.0.2.25",
		"+ (replace) PTR4. PTR mail.corp.local.",
		"+ (replace) PTR4. PTR mail_out.example.net.",
		"+ (replace) PTR4. PTR 192.0.2.25.",
		"- PTR4 PTR ; + PTR4. CNAME 25.0/26.2.0.192.in-addr.arpa.",
		"- PTR4 PTR ; + PTR4. CNAME 25.0/26.2.0.192.in-addr.arpa. ; + 25.0/26.2.0.192.in-addr.arpa. PTR old.example.net.",
		"- PTR4 PTR ; + PTR4. CNAME a.2.0.192.in-addr.arpa. ; + a.2.0.192.in-addr.arpa. CNAME PTR4.",
	},
	"EHLO": {
		"- mail.example.net A",
		"- mail.example.net A AAAA",
		"- mail.example.net A AAAA TXT",
		"+ (replace) mail.example.net. A 192.0.2.99",
		"+ mail.example.net. A 192.0.2.99",
		"+ mail.example.net. A 10.0.0.5",
		"+ (replace) mail.example.net. A 10.0.0.5",
		"- mail.example.net A AAAA TXT ; + mail.example.net. CNAME srv1.example.net. ; + srv1.example.net. A 192.0.2.25",
		`- mail.example.net A AAAA TXT ; + mail.example.net. CNAME srv1.example.net. ; + srv1.example.net. A 192.0.2.25 ; + srv1.example.net. TXT "v=spf1 a -all"`,
		"- mail.example.net A AAAA TXT ; + mail.example.net. CNAME srv1.example.net. ; + srv1.example.net. A 192.0.2.99 ; + srv1.example.net. AAAA 2001:db8::99",
		"- mail.example.net A AAAA TXT ; + mail.example.net. CNAME nowhere.example.org.",
		"- mail.example.net A AAAA TXT ; + mail.example.net. CNAME loop.example.net. ; + loop.example.net. CNAME mail.example.net.",
	},
	"EHLO over IPv6": {
		"- mail.example.net AAAA",
		"+ (replace) mail.example.net. AAAA 2001:db8::99",
		"+ mail.example.net. AAAA fd00::5",
	},
	"IPv6": {
		"@ + source wan6 2001:db8::25",
		"@ + source wan6 2001:db8::25 with its PTR",
		"@ + source wan6 2001:db8::25 with its PTR ; + PTR6. PTR old.example.net.",
		"@ + source wan6 2001:db8::25 ; + PTR6. PTR gone.example.net.",
		"@ + source wan6 2001:db8::25 ; + PTR6. PTR six.example.net. ; + six.example.net. AAAA 2001:db8::25",
		"@ + source wan6 2001:db8::25 ; + PTR6. PTR alias6.example.net. ; + alias6.example.net. CNAME mail.example.net.",
	},
	"EHLO SPF": {
		"- mail.example.net TXT",
		`+ (replace) mail.example.net. TXT "v=spf1 -all"`,
		`+ (replace) mail.example.net. TXT "v=spf1 ~all"`,
		`+ (replace) mail.example.net. TXT "v=spf1 ipv4:192.0.2.25 -all"`,
		`+ mail.example.net. TXT "v=spf1 mx -all"`,
	},
	"MX": {
		"- example.net MX",
		"- example.net MX ; + example.net. A 192.0.2.80",
		"+ (replace) example.net. MX 0 .",
		"+ example.net. MX 0 .",
		"- mx.example.net A",
		"+ example.net. MX 20 mx2.example.net.",
		"+ example.net. MX 20 mx2.example.net. ; + mx2.example.net. A 10.0.0.7",
		"+ (replace) example.net. MX 10 192.0.2.10.",
		"+ example.net. MX 20 192.0.2.11.",
		"+ (replace) mx.example.net. A 10.0.0.7",
		"- mx.example.net A ; + mx.example.net. CNAME in.isp.example.org. ; + in.isp.example.org. A 192.0.2.10",
		"+ example.net. MX 20 mx2.example.net. ; + mx2.example.net. CNAME in.isp.example.org. ; + in.isp.example.org. A 192.0.2.10",
		"- mx.example.net A ; + mx.example.net. CNAME nowhere.example.org.",
		"- mx.example.net A ; + mx.example.net. CNAME in.isp.example.org. ; + in.isp.example.org. A 192.0.2.10 ; + example.net. MX 20 mx2.example.net. ; + mx2.example.net. CNAME in.isp.example.org.",
		"- mx.example.net A ; + mx.example.net. CNAME loop2.example.net. ; + loop2.example.net. CNAME mx.example.net.",
	},
	"SPF": {
		"- example.net TXT",
		`+ (replace) example.net. TXT "v=spf1 ip4:198.51.100.0/24 ~all"`,
		`+ (replace) example.net. TXT "v=spf1 ip4:198.51.100.0/24"`,
		`+ example.net. TXT "v=spf1 a mx -all"`,
		`+ (replace) example.net. TXT "v=spf1 ip4:198.51.100.7 -all" ; + example.net. TXT "v=spf1 redirect=_spf.example.org" ; + _spf.example.org. TXT "v=spf1 ip4:198.51.100.8 -all"`,
		`+ (replace) example.net. TXT "v=spf1 +all"`,
		`+ (replace) example.net. TXT "v=spf1 ipv4:192.0.2.25 a=mail.example.net -all."`,
		`+ (replace) example.net. TXT "v=spf1 ptr ip4:198.0.0.0/8 -all"`,
		`+ (replace) example.net. TXT "v=spf1 include:nospf.example.org ip4:192.0.2.25 -all"`,
		`+ (replace) example.net. TXT "v=spf1 ip4:192.0.2.25 include:nospf.example.org -all"`,
		`+ (replace) example.net. TXT "v=spf1 redirect=nospf.example.org"`,
		`+ (replace) example.net. TXT "v=spf1 include:example.net ip4:192.0.2.25 -all"`,
		`+ (replace) example.net. TXT "v=spf1 include:_spf.example.org -all" ; + _spf.example.org. TXT "v=spf1 include:example.net ip4:198.51.100.8 -all"`,
		`+ (replace) example.net. TXT "v=spf1 include:_spf.example.org -all" ; + _spf.example.org. TXT "v=spf1 a:d1.example.org a:d2.example.org a:d3.example.org ip4:198.51.100.8 -all"`,
		`+ (replace) example.net. TXT "v=spf1 a:d1.example.org mx:d2.example.org exists:d3.example.org ip4:198.51.100.8 -all"`,
		`+ (replace) example.net. TXT "v=spf1 a:d1.example.org a:d2.example.org a mx:d3.example.org ip4:198.51.100.8 ?all"`,
		`+ (replace) example.net. TXT "MANY"`,
		`+ (replace) example.net. TXT "v=spf1 a mx a:mx.example.net mx:example.net a:mail.example.net include:i1.example.org include:i2.example.org include:i3.example.org a:d1.example.org a:d2.example.org mx:d3.example.org -all" ; ` +
			`+ i1.example.org. TXT "v=spf1 ip4:198.51.100.1 -all" ; + i2.example.org. TXT "v=spf1 ip4:198.51.100.2 -all" ; + i3.example.org. TXT "v=spf1 -all"`,
		`+ (replace) example.net. TXT "v=spf1 include:i1.example.org ~all" ; + i1.example.org. TXT "v=spf1 a:h1.example.org a:h2.example.org a:h3.example.org a:h4.example.org a:h5.example.org a:h6.example.org a:h7.example.org a:h8.example.org a:h9.example.org a:h10.example.org -all" ; HOSTS`,
		`+ example.net. TXT "spf2.0/pra ip4:192.0.2.25 -all"`,
		`+ (replace) example.net. TXT "v = spf1 ip4:192.0.2.25 -all"`,
	},
	"DKIM": {
		"- k1._domainkey.example.net TXT",
		"- k1._domainkey.example.net TXT ; + x.k1._domainkey.example.net. TXT x",
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM1; k=rsa; p=<other>"`,
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM1; k=rsa; p=MIIB*broken"`,
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM1; k=rsa; p="`,
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM1; k=rsa; t=y; p=<match>"`,
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM1; k=rsa; h=sha1; p=<match>"`,
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM1; s=tlsrpt; p=<match>"`,
		`+ (replace) k1._domainkey.example.net. TXT "k=rsa; t=y; p=<match>"`,
		`+ (replace) k1._domainkey.example.net. TXT "k=rsa; v=DKIM1; p=<match>"`,
		`+ (replace) k1._domainkey.example.net. TXT "v=DKIM2; p=<match>"`,
		`+ (replace) k1._domainkey.example.net. TXT "p=<other>"`,
		`+ (replace) k1._domainkey.example.net. TXT "nonsense"`,
		`+ (replace) k1._domainkey.example.net. TXT "<ed25519>"`,
		`+ k1._domainkey.example.net. TXT "v=DKIM1; k=rsa; p=<other>"`,
		`+ k1._domainkey.example.net. TXT "site-verification=1"`,
		"- k1._domainkey.example.net TXT ; + k1._domainkey.example.net. CNAME k1.dkim.example.org.",
		`- k1._domainkey.example.net TXT ; + k1._domainkey.example.net. CNAME k1.dkim.example.org. ; + k1.dkim.example.org. TXT "v=DKIM1; p=<other>"`,
		`@ dkim k2 rsa2048`,
		"@ no dkim",
	},
	"DMARC": {
		"- _dmarc.example.net TXT",
		`+ _dmarc.example.net. TXT "v=DMARC1; p=reject"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=reject" ; + _dmarc.example.net. TXT "v=DMARC1;p=quarantine" ; + _dmarc.example.net. TXT "v=DMARC1"`,
		`+ (replace) _dmarc.example.net. TXT "p=none; v=DMARC1"`,
		`+ (replace) _dmarc.example.net. TXT "V=DMARC1; p=none"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1 p=none"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=non"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=quarantine; sp=rejekt"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=none; p=reject"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=none; rua=d@example.net"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=none; rua=mailto:d@reports.example.org"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=reject; adkim=strict; fo=2; nonsense"`,
		`+ (replace) _dmarc.example.net. TXT "v=DMARC1; p=reject"`,
		"- _dmarc.example.net TXT ; + _dmarc.example.net. CNAME dmarc.example.org.",
		`- _dmarc.example.net TXT ; + _dmarc.example.net. CNAME dmarc.example.org. ; + dmarc.example.org. TXT "v=DMARC1; p=non"`,
		"- _dmarc.example.net TXT ; + _dmarc.example.net. CNAME loop3.example.net. ; + loop3.example.net. CNAME _dmarc.example.net.",
	},
	"envelope": {
		`@ envelope=bounces.example.net`,
		`@ envelope=bounces.example.net ; + bounces.example.net. MX 10 mx.example.net.`,
		`@ envelope=bounces.example.org ; + bounces.example.org. TXT "v=spf1 -all" ; + bounces.example.org. A 192.0.2.81`,
		`@ envelope=bounces.example.net ; + bounces.example.net. CNAME list.example.org. ; + list.example.org. A 192.0.2.77`,
	},
	"policy": {"@ spf=warn", "@ ehlo_match=forward", "@ ehlo_match=org", "@ ehlo=mail", "@ ehlo=", "@ ehlo=mail.corp.local", "@ ehlo=gw.isp.example.org"},
}

// wordless are the findings that fail and print no record, known by what they say,
// and why no record could be right. All else that fails prints one.
var wordless = []struct{ id, says, why string }{
	{"DKIM-CONFIGURED", "relay dkim new", "the key is to be made first"},
	{"DKIM-STRENGTH", "relay dkim new", "likewise"},
	{"AUTH-ALIGNED", "relay dkim new", "likewise"},
	{"IPV6-SOURCE", "Repair what", "another finding says what"},
	{"PTR-DELEGATION", "", "it says who; what to publish stands beside it"},
	{"EHLO-SET", "ehlo =", "a line of the configuration"},
	{"EHLO-FQDN", "ehlo =", "likewise"},
	{"EHLO-PUBLIC-NAME", "ehlo =", "likewise"},
	{"MX-RESOLVES", "Give the exchangers address records", "only who runs them knows their addresses, and none is left to keep"},
	{"SPF-TARGETS", "Until it is repaired", "the record is a third party's, and lets somebody in"},
	{"SPF-VOID", "Until that is done", "likewise"},
	{"SPF-LOOKUPS", "Drop includes of services", "all of it lets somebody in: who still sends, only the sender knows"},
	{"SPF-LOOKUPS", "Name their networks", "likewise"},
	{"SPF-SIZE", "Drop what no longer sends", "likewise"},
	{"SPF-SIZE", "delete the tokens", "which token is still needed, only its owner knows"},
}

// forgiven are the findings that may pass before and fail after, and why.
var forgiven = map[string]string{
	"SPF-SIZE": "our addresses may be what a record has no room for, and to be allowed matters more",
}

func mayBeWordless(f preflight.Finding) bool {
	return slices.ContainsFunc(wordless, func(w struct{ id, says, why string }) bool {
		return w.id == f.Check.ID && strings.Contains(wording(f), w.says)
	})
}

// wrongWorld composes a world in which some things are wrong.
func wrongWorld(t *testing.T, base baseline, r *rand.Rand) (w *world, chosen []string) {
	areas := make([]string, 0, len(wrongs))
	for area := range wrongs {
		areas = append(areas, area)
	}
	slices.Sort(areas)
	for {
		c := &testCase{}
		chosen = nil
		for _, area := range areas {
			if r.IntN(3) > 0 {
				continue
			}
			line := wrongs[area][r.IntN(len(wrongs[area]))]
			chosen = append(chosen, line)
			c.line(longhand(line))
		}
		if w = build(t, base, c.steps); len(chosen) > 0 && w.beside() == "" {
			return w, chosen
		}
	}
}

func longhand(line string) string {
	var many, hosts []string
	for i := range 24 {
		many = append(many, fmt.Sprintf("ip4:198.51.100.%d", 2*i+1))
	}
	for i := range 10 {
		hosts = append(hosts, fmt.Sprintf("+ h%d.example.org. A 198.51.100.%d", i+1, i+1))
	}
	return strings.NewReplacer(
		"PTR4", "25.2.0.192.in-addr.arpa",
		"PTR6", "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
		"MANY", "v=spf1 "+strings.Join(many, " ")+" -all",
		"HOSTS", strings.Join(hosts, " ; ")).Replace(line)
}

// beside is a name that has records beside an alias, which no server loads (RFC
// 1034 section 3.6.2); "" if there is none.
func (w *world) beside() string {
	for _, r := range w.records {
		if r.kind == "CNAME" && slices.ContainsFunc(w.records, func(o zoneRecord) bool { return o.owner == r.owner && o != r }) {
			return r.owner
		}
	}
	return ""
}

// Over worlds nobody thought of: whatever is printed to be published turns its own
// finding to pass; with all of it published nothing fails that passed; what shows then
// is mended likewise, until nothing is left but what words alone can mend.
func TestRemediesOverWorlds(t *testing.T) {
	own, err := readCases("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	seed := *mendSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	mended, without := map[string]int{}, map[string]int{}
	for i := range *mendWorlds {
		w, chosen := wrongWorld(t, own.base, rand.New(rand.NewPCG(seed, uint64(i))))
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, world %d:\n%s", seed, i, strings.Join(chosen, "\n"))
				}
			}()
			w.mend(t, mended, without)
		})
	}
	t.Logf("mended by records: %v", mended)
	t.Logf("by words alone: %v", without)
}

const mostRounds = 4 // of a report and what it says being done

func (w *world) mend(t *testing.T, mended, without map[string]int) {
	fs, _ := judged(t, w)
	for round := range mostRounds {
		todo := treatable(fs)
		if len(todo) == 0 {
			break
		}
		if round == mostRounds-1 {
			t.Errorf("still to be published after %d rounds: %v", round, todo[0].Remedy.Records)
		}
		var all []preflight.Record
		for _, f := range todo {
			again := w.treated(t, f.Remedy.Records)
			if now := same(again, f); !healed(f, now) {
				t.Errorf("%s\ntold to publish %v\nthen %s", show(f), f.Remedy.Records, show(now))
			}
			all = append(all, f.Remedy.Records...)
			mended[f.Check.ID]++
		}
		next := w.fixed(t, all)
		_, out := next.start(t)
		again, _ := preflight.Run(context.Background(), &next.plan, out)
		for _, f := range fs {
			now := same(again, f)
			if now.Status == preflight.Fail && f.Status == preflight.Pass && forgiven[f.Check.ID] == "" || slices.ContainsFunc(todo, func(o preflight.Finding) bool { return about(o, f) }) && !healed(f, now) {
				t.Errorf("%s\nall told to publish %v\nthen %s", show(f), all, show(now))
			}
		}
		w, fs = next, again
	}
	for _, f := range fs {
		if f.Status != preflight.Fail || len(f.Remedy.Records) > 0 {
			continue
		}
		without[f.Check.ID]++
		if !mayBeWordless(f) {
			t.Errorf("%s\nprints no record: %+v", show(f), f.Remedy)
		}
		if f.Remedy.Who == "" || f.Remedy.Setting == "" && len(f.Remedy.Steps) == 0 {
			t.Errorf("%s\ndoes not say who is to do what: %+v", show(f), f.Remedy)
		}
	}
}

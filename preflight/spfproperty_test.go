package preflight

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"blitiri.com.ar/go/spf"

	"smtprelay/preflight/dns/dnstest"
)

var spfSeed = flag.Uint64("spfseed", 0, "repeat the SPF worlds of this seed; 0: others every time")

// Over SPF worlds nobody thought of: the record that is printed lets our sources
// pass, turns every finding that prints it to pass, and whoever could send by the
// old record, or by what its author meant, still can.
func TestSPFRemedyOverWorlds(t *testing.T) {
	seed := *spfSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	server, err := dnstest.Start(". SOA ns.invalid. root.invalid. 1 2 3 4 5\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	worlds, kept := 0, 0
	for began := time.Now(); worlds < 10 || time.Since(began) < 3*time.Second && worlds < 300; worlds++ {
		w := newSPFWorld(rand.New(rand.NewPCG(seed, uint64(worlds))), server)
		kept += w.check(t)
		if t.Failed() {
			t.Fatalf("seed %d, world %d: %q", seed, worlds, w.records)
		}
	}
	t.Logf("seed %d: %d worlds, %d senders kept", seed, worlds, kept)
	if kept == 0 {
		t.Errorf("seed %d: nobody could send before", seed)
	}
}

// spfWorld is a zone with SPF records that do not know us.
type spfWorld struct {
	r       *rand.Rand
	server  *dnstest.Server
	zone    strings.Builder
	records []string // as published
	meant   []string // as their author meant them, those that mean anything
	addrs   []netip.Addr
	plan    Plan
	several bool
	exists  bool   // a term of that kind is there
	budget  int    // look-ups that may still be asked for
	cost    [3]int // of what can be included
}

func newSPFWorld(r *rand.Rand, server *dnstest.Server) *spfWorld {
	w := &spfWorld{r: r, server: server, several: r.IntN(4) == 0}
	w.plan = Plan{Senders: []Sender{{Domain: "example.net"}}, Special: Special{Prefixes: []SpecialPrefix{}, Names: []string{}}}
	w.plan.Sources = []Source{{Name: "wan4", Bind: "192.0.2.25", EHLO: "mail.example.net"}}
	if r.IntN(2) == 0 {
		w.plan.Sources = append(w.plan.Sources, Source{Name: "wan6", Bind: "2001:db8::25", EHLO: "mail.example.net"})
	}
	w.zone.WriteString(". 60 IN SOA ns.invalid. root.invalid. 1 2 3 4 5\nexample.net. MX 10 mx.example.net.\n")
	for _, host := range []string{"example.net", "mx.example.net", "h0.example.net", "h1.example.net", "h2.example.net",
		"inc0.example.org", "inc1.example.org", "inc2.example.org"} {
		fmt.Fprintf(&w.zone, "%s. A %s\n", host, w.addr(false))
		if w.several || r.IntN(4) > 0 { // several records share the two void look-ups that are allowed
			fmt.Fprintf(&w.zone, "%s. AAAA %s\n", host, w.addr(true))
		}
	}
	fmt.Fprintf(&w.zone, "%s.list.example.org. A 127.0.0.2\n", w.addr(false))
	for i := range 3 { // what is included includes only what comes before it
		w.budget = 3
		text, _ := w.record(i)
		w.cost[i] = 3 - w.budget
		fmt.Fprintf(&w.zone, "inc%d.example.org. TXT %s\ninc%d.example.org. MX 10 mx.example.net.\n", i, Quote(text), i)
	}
	w.budget = spfLookups
	for range 1 + r.IntN(3)*b2i(w.several) {
		meant, published := w.record(3)
		w.meant, w.records = append(w.meant, meant), append(w.records, published)
	}
	if r.IntN(12) == 0 {
		w.meant, w.records = nil, nil
	}
	return w
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// addr makes up an address of another sender.
func (w *spfWorld) addr(six bool) netip.Addr {
	a := netip.AddrFrom4([4]byte{198, 51, 100, byte(w.r.IntN(256))})
	if six {
		a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 15: byte(w.r.IntN(256))})
	}
	w.addrs = append(w.addrs, a)
	return a
}

// record makes up a record that may include the first incs domains: as it was meant
// and, for the sender's own, with slips of the pen.
func (w *spfWorld) record(incs int) (meant, published string) {
	m, p := []string{"v=spf1"}, []string{"v=spf1"}
	for range w.r.IntN(5) {
		term := w.sign() + w.term(incs)
		m = append(m, term)
		if incs == 3 {
			p = append(p, w.slip(term))
		}
	}
	if incs == 3 { // terms that let nobody in; those that stay cost a look-up
		for range w.r.IntN(3) {
			if !w.afford(1) {
				break
			}
			dead := []string{"a:dead0.example.net", "mx:dead1.example.net", "include:nospf.example.org", "bogus:foo", "exists:dead2.example.net", "x-unknown=1"}
			p = slices.Insert(p, 1+w.r.IntN(len(p)), dead[w.r.IntN(len(dead))])
		}
	}
	end := []string{"-all", "~all", "?all", ""}[w.r.IntN(4)]
	if i := w.r.IntN(12); i < incs && w.afford(1+w.cost[i]) {
		end = fmt.Sprintf("redirect=inc%d.example.org", i)
	}
	if end != "" {
		m, p = append(m, end), append(p, end)
		if w.r.IntN(8) == 0 {
			p[len(p)-1] = strings.Replace(strings.Replace(end, "redirect=", "redirect:", 1), "all", "all.", 1)
		}
	}
	return strings.Join(m, " "), strings.Join(p, " ")
}

// sign is mostly none. Of several records one cannot take back what another allows.
func (w *spfWorld) sign() string {
	if w.several {
		return ""
	}
	return []string{"", "", "", "", "+", "-", "~", "?"}[w.r.IntN(8)]
}

func (w *spfWorld) term(incs int) string {
	asks := []string{"a", "mx", "a:h0.example.net", "a:h1.example.net/28", "mx:example.net//120", "a:h2.example.net//64"}
	if !w.exists { // void for nearly everybody: more than two would be too many in any record
		asks = append(asks, "exists:%{i}.list.example.org")
	}
	for i := range incs {
		asks = append(asks, fmt.Sprintf("include:inc%d.example.org", i))
	}
	n := w.r.IntN(len(asks) + 6)
	cost := 1
	if i := n - (len(asks) - incs); i >= 0 && i < incs {
		cost += w.cost[i]
	}
	if n < len(asks) && w.afford(cost) {
		w.exists = w.exists || strings.HasPrefix(asks[n], "exists:")
		return asks[n]
	}
	if w.r.IntN(3) == 0 {
		return fmt.Sprintf("ip6:%s/%d", w.addr(true), 120+w.r.IntN(9))
	}
	if w.r.IntN(2) == 0 {
		return "ip4:" + w.addr(false).String()
	}
	return fmt.Sprintf("ip4:%s/%d", w.addr(false), 27+w.r.IntN(6))
}

// afford takes look-ups from the budget if they are there: with more than ten
// nobody could send.
func (w *spfWorld) afford(n int) bool {
	if n > w.budget {
		return false
	}
	w.budget -= n
	return true
}

// slip writes a term as people do. What was meant can be told from it.
func (w *spfWorld) slip(term string) string {
	if w.r.IntN(5) != 0 {
		return term
	}
	plain := term[0] != '-' && term[0] != '~' && term[0] != '?' && term[0] != '+'
	switch {
	case strings.Contains(term, "ip4:"):
		return strings.Replace(term, "ip4:", []string{"ipv4:", "ip:", "ip4="}[w.r.IntN(2+b2i(plain))], 1)
	case strings.Contains(term, "ip6:"):
		return strings.Replace(term, "ip6:", []string{"ipv6:", "ip4:"}[w.r.IntN(2)], 1)
	case plain && !strings.Contains(term, "%"):
		return strings.Replace(term, ":", "=", 1)
	}
	return term
}

// publish puts records at the sender's domain, and looks at them afresh.
func (w *spfWorld) publish(t *testing.T, records []string) *Probe {
	t.Helper()
	text := w.zone.String()
	for _, r := range records {
		text += "example.net. TXT " + Quote(r) + "\n"
	}
	if err := w.server.Set(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r := newRun(&w.plan, Outside{DNS: w.server.Client()})
	return &Probe{Plan: &w.plan, run: r, dns: r.dns}
}

func (w *spfWorld) allowed(t *testing.T, p *Probe) (all []netip.Addr) {
	n := p.spfTree(context.Background(), "example.net")
	for _, a := range w.addrs {
		res := p.evaluate(context.Background(), a, "mail.example.org", "example.net", false)
		if res.Result == spf.Pass {
			all = append(all, a)
		}
		// The term that we say made it so is one that makes it so.
		path, sign, sure := p.match(context.Background(), n, a)
		said := map[byte]spf.Result{'+': spf.Pass, '-': spf.Fail, '~': spf.SoftFail, '?': spf.Neutral}[sign]
		if sure && said != res.Result && res.Result != spf.PermError {
			t.Errorf("%s with %q: we say %s by %q, the evaluator %+v", a, n.Records, said, path, res)
		}
	}
	return all
}

// findings of the sender's SPF.
func (w *spfWorld) findings() (fs []Finding) {
	all, _ := Run(context.Background(), &w.plan, Outside{DNS: w.server.Client(), Bind: func(netip.Addr) error { return nil }})
	for _, f := range all {
		if strings.HasPrefix(f.Check.ID, "SPF-") && f.Sender != "" {
			fs = append(fs, f)
		}
	}
	return fs
}

var txtString = regexp.MustCompile(`"([^"]*)"`)

// check returns how many senders were kept.
func (w *spfWorld) check(t *testing.T) int {
	var meant []netip.Addr
	for _, m := range w.meant {
		meant = append(meant, w.allowed(t, w.publish(t, []string{m}))...)
	}
	before := w.allowed(t, w.publish(t, w.records))
	// What was meant may be more than a record has room for: then what stands counts.
	if !slices.ContainsFunc(before, func(a netip.Addr) bool { return !slices.Contains(meant, a) }) {
		before = append(before, meant...)
	}
	printed, failed := "", []Finding{}
	for _, f := range w.findings() {
		if f.Status != Fail || len(f.Remedy.Records) == 0 {
			continue
		}
		failed = append(failed, f)
		text := ""
		for _, m := range txtString.FindAllStringSubmatch(f.Remedy.Records[0].Data, -1) {
			text += m[1]
		}
		if len(f.Remedy.Records) != 1 || printed != "" && text != printed {
			t.Errorf("%s prints %v, others %q", f.Check.ID, f.Remedy.Records, printed)
		}
		printed = text
	}
	if printed == "" {
		t.Error("nothing is printed to publish")
		return 0
	}
	after := w.publish(t, []string{printed})
	now := w.findings()
	for _, f := range failed {
		i := slices.IndexFunc(now, func(o Finding) bool { return o.key() == f.key() })
		if now[i].Status != Pass {
			t.Errorf("%s (%s): told to publish %q, then %s: %s", f.Check.ID, f.Found, printed, now[i].Status, now[i].Found)
		}
	}
	for _, f := range now {
		if f.Check == spfSenderPass && f.Status != Pass {
			t.Errorf("%s with %q: %s %s", f.Source, printed, f.Status, f.Found)
		}
	}
	left := w.allowed(t, after)
	for _, a := range before {
		if !slices.Contains(left, a) {
			res := after.evaluate(context.Background(), a, "mail.example.org", "example.net", false)
			t.Errorf("%s could send, and cannot with %q: %+v\n%s", a, printed, res, w.zone.String())
		}
	}
	return len(before)
}

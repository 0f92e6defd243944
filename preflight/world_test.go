package preflight_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

// world is the small internet of one case: zones, how they misbehave, and the plan.
type world struct {
	zones   []string
	records []zoneRecord
	behave  map[string]string
	plan    preflight.Plan
	bad     map[netip.Addr]bool // addresses that cannot be bound
	trial   preflight.Trial
	odd                                   // views_test.go
	script                                // looks_test.go
	greets  map[string]preflight.Greeting // what the mail servers of a domain say, where not the usual
	seen    *preflight.Observations
	clock   preflight.Clock
	private map[netip.Addr]bool // IPv6 privacy addresses
}

// zoneRecord is a line of a zone file that can be found again.
type zoneRecord struct{ owner, kind, data string }

func (r zoneRecord) String() string { return r.owner + ". 300 IN " + r.kind + " " + r.data }

// testKeys are two RSA keys: ours, and one that is not.
var testKeys = sync.OnceValue(func() (keys [2]string) {
	for i := range keys {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
		if err != nil {
			panic(err)
		}
		keys[i] = base64.StdEncoding.EncodeToString(der)
	}
	return keys
})

// oddKeys are keys that receivers like less: name in a case -> record.
var oddKeys = sync.OnceValue(func() map[string]string {
	short := new(big.Int).Lsh(big.NewInt(1), 511)
	short.SetBit(short, 0, 1) // no product of primes, but nobody signs with it
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	spki := func(k any) string {
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			panic(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
	return map[string]string{
		"rsa2048": "v=DKIM1; k=rsa; p=" + testKeys()[0],
		"rsa1024": "v=DKIM1; k=rsa; p=" + spki(&weak.PublicKey),
		"rsa512":  "v=DKIM1; k=rsa; p=" + spki(&rsa.PublicKey{N: short, E: 65537}),
		"ed25519": "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edwards),
	}
})

// ordinary takes what the cases are made of out of the special-purpose lists.
func ordinary() preflight.Special {
	s := preflight.Registries()
	s.Prefixes = slices.DeleteFunc(slices.Clone(s.Prefixes), func(p preflight.SpecialPrefix) bool {
		return strings.HasPrefix(p.What, "documentation")
	})
	s.Names = slices.DeleteFunc(slices.Clone(s.Names), func(n string) bool { return strings.HasPrefix(n, "example") })
	return s
}

func newWorld(b baseline) (*world, error) {
	w := &world{zones: b.zones, behave: map[string]string{}, bad: map[netip.Addr]bool{}}
	w.usual()
	w.plan.Special = ordinary()
	w.trial = preflight.Trial{Connected: true, TLS: "TLS1.3", Verified: true, Authed: true}
	for _, r := range b.records {
		if err := w.add(r); err != nil {
			return nil, err
		}
	}
	for _, c := range b.config {
		if err := w.configure(settings(c)); err != nil && !errors.Is(err, errCannot) { // else it is prose
			return nil, err
		}
	}
	return w, nil
}

var recordParts = regexp.MustCompile(`^(\S+)\s+(?:\d+\s+)?(?:IN\s+)?([A-Z]+)\s+(.*)$`)

// add puts one record in. What is left out of it follows from its text.
func (w *world) add(line string) error {
	line, replace := strings.CutPrefix(strings.TrimSpace(line), "(replace)")
	line = strings.TrimSpace(line)
	line = strings.NewReplacer("<match>", testKeys()[0], "<other>", testKeys()[1]).Replace(line)
	for name, key := range oddKeys() {
		line = strings.ReplaceAll(line, "<"+name+">", key)
	}
	if strings.HasPrefix(line, "p=") {
		line = `"v=DKIM1; k=rsa; ` + line + `"`
	}
	domain := "example.net"
	if len(w.plan.Senders) > 0 {
		domain = w.plan.Senders[0].Domain
	}
	for tag, owner := range map[string]string{`"v=DMARC1`: "_dmarc." + domain, `"v=spf1`: domain, `"v=DKIM1`: "k1._domainkey." + domain} {
		if strings.HasPrefix(line, tag) {
			line = owner + ". TXT " + line
		}
	}
	if rest, ok := strings.CutPrefix(line, "_dmarc "); ok {
		line = "_dmarc." + domain + ". TXT " + strings.TrimPrefix(strings.TrimSpace(rest), "TXT ")
	}
	m := recordParts.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("%q is no record", line)
	}
	r := zoneRecord{strings.ToLower(strings.TrimSuffix(m[1], ".")), m[2], strings.TrimSpace(m[3])}
	if r.kind == "TXT" || r.kind == "SPF" {
		r.data = preflight.Quote(strings.Join(quoted(r.data), ""))
	}
	if replace {
		w.drop(r.owner, r.kind)
	}
	w.records = append(w.records, r)
	return nil
}

func (w *world) drop(owner, kind string) {
	owner = strings.ToLower(strings.TrimSuffix(owner, "."))
	w.records = slices.DeleteFunc(w.records, func(r zoneRecord) bool {
		return r.owner == owner && (kind == "" || r.kind == kind)
	})
}

func (w *world) step(s step) error {
	switch s.kind {
	case '+':
		return w.add(s.text)
	case '-':
		f := strings.Fields(s.text)
		if len(f) == 0 {
			return errors.New("- what?")
		}
		if len(f) == 1 {
			f = append(f, "")
		}
		for _, kind := range f[1:] {
			w.drop(f[0], strings.Trim(kind, ","))
		}
		return nil
	case '~':
		return w.misbehave(s.text)
	}
	return w.configure(s.text)
}

func (w *world) misbehave(text string) error {
	if ours, err := w.misbehaves(text); ours {
		return err
	}
	f := strings.Fields(strings.TrimPrefix(text, "zone "))
	if len(f) < 2 {
		return fmt.Errorf("~ %s: who does what?", text)
	}
	zone, how := strings.TrimSuffix(f[0], ".")+".", strings.ToLower(strings.Trim(f[1], ",;"))
	if f[0] == "all" {
		zone = "."
	}
	if !slices.Contains(dnstest.Behaviours, how) {
		return fmt.Errorf("~ %s: the test server cannot do that", text)
	}
	w.behave[zone] = how
	return nil
}

var (
	newSource   = regexp.MustCompile(`^\+?\s*source (\w+)(?: +=)? +([0-9a-fA-F.:]+)`)
	sourceEHLO  = regexp.MustCompile(`\behlo[ =](\S+)`)
	senderWords = regexp.MustCompile(`\bsenders\s*=\s*([^\s(;]+(?:,\s*[^\s(;]+)*)`)
	keyWord     = regexp.MustCompile(`^dkim (\w+)(?: (rsa\d+|ed25519))?`)
)

// configure takes one step, or one comment of a baseline.
func (w *world) configure(text string) error {
	text = strings.TrimSpace(dropParens(text))
	if ours, err := w.script.read(text); ours {
		return err
	}
	if m := newSource.FindStringSubmatch(text); m != nil {
		s := preflight.Source{Name: m[1], Bind: m[2]}
		if e := sourceEHLO.FindStringSubmatch(text); e != nil {
			s.EHLO = strings.Trim(e[1], ",")
		} else if len(w.plan.Sources) > 0 {
			s.EHLO = w.plan.Sources[0].EHLO
		}
		w.plan.Sources = append(w.plan.Sources, s)
		if strings.Contains(text, "with its PTR") {
			addr, err := netip.ParseAddr(m[2])
			if err != nil {
				return err
			}
			return w.add(dns.Reverse(addr) + ". PTR " + s.EHLO + ".")
		}
		return nil
	}
	if m := senderWords.FindStringSubmatch(text); m != nil {
		w.senders(strings.Split(strings.ReplaceAll(m[1], " ", ""), ","))
		text = strings.Replace(text, m[0], "", 1)
	}
	if m := keyWord.FindStringSubmatch(text); m != nil && len(w.plan.Senders) > 0 {
		s := &w.plan.Senders[0]
		s.Keys = append(s.Keys, preflight.Key{Selector: m[1], Record: oddKeys()[cmp.Or(m[2], "rsa2048")]})
		return nil
	}
	if strings.HasPrefix(text, "no dkim") {
		for i := range w.plan.Senders {
			w.plan.Senders[i].Keys = nil
		}
		return nil
	}
	if strings.HasPrefix(text, "no ") || strings.HasPrefix(text, "baseline") {
		return nil
	}
	for _, word := range strings.Fields(text) {
		if err := w.set(strings.Trim(word, ",")); err != nil {
			return err
		}
	}
	return nil
}

// settings are what of a comment can be one: the rest is prose.
func settings(note string) string {
	if newSource.MatchString(note) || senderWords.MatchString(note) || keyWord.MatchString(note) {
		return note
	}
	words := strings.Fields(note)
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return !strings.Contains(w, "=") }), " ")
}

// senders sets the sender domains; those there already keep their keys.
func (w *world) senders(domains []string) {
	old := w.plan.Senders
	w.plan.Senders = nil
	for _, d := range domains {
		s := preflight.Sender{Domain: d}
		if i := slices.IndexFunc(old, func(o preflight.Sender) bool { return o.Domain == d }); i >= 0 {
			s = old[i]
		}
		w.plan.Senders = append(w.plan.Senders, s)
	}
}

var checkID = regexp.MustCompile(`^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$`)

var errCannot = errors.New("the runner cannot do that")

func (w *world) set(word string) error {
	key, value, _ := strings.Cut(word, "=")
	pol := &w.plan.Policy
	if len(w.plan.Sources) == 0 && slices.Contains([]string{"ehlo", "bind", "public"}, key) {
		return fmt.Errorf("@ %s: there is no source", word)
	}
	if len(w.plan.Senders) == 0 && key == "envelope" {
		return fmt.Errorf("@ %s: there is no sender", word)
	}
	var err error
	switch key {
	case "", "source":
	case "ehlo":
		w.plan.Sources[0].EHLO = value
	case "bind":
		w.plan.Sources[0].Bind = value
	case "public":
		w.plan.Sources[0].Public = value
	case "envelope":
		w.plan.Senders[0].Envelope = value
	case "ehlo_match":
		pol.EHLOMatch = value
	case "spf":
		pol.SPF = value
	case "on_fail":
		pol.OnFail = preflight.Action(value)
	case "on_unknown":
		pol.OnUnknown = preflight.Action(value)
	case "on_sender_fail":
		pol.OnSenderFail = preflight.Action(value)
	case "private":
		pol.Private = value != "false"
	case "dnsbl":
		for zone := range strings.SplitSeq(value, ",") {
			pol.DNSBL = append(pol.DNSBL, preflight.BlockList(zone))
		}
	case "grace":
		pol.Grace, err = time.ParseDuration(value)
	case "route":
		w.plan.SmartHostOnly = value == "smarthost"
		w.smartHost()
	case "smarthost":
		w.smartHost()
	case "unbindable":
		a, e := netip.ParseAddr(value)
		w.bad[a], err = true, e
	case "trial":
		return w.try(value)
	default:
		if done, err := w.setEgress(key, value); done {
			return err
		}
		if pol.Severity == nil {
			pol.Severity = map[string]preflight.Severity{}
		}
		if !checkID.MatchString(key) {
			return fmt.Errorf("@ %s: %w", word, errCannot)
		}
		pol.Severity[key] = preflight.Severity(value)
		err = preflight.MayChange(key, pol.Severity[key])
	}
	return err
}

func (w *world) smartHost() {
	if len(w.plan.SmartHosts) == 0 {
		w.plan.SmartHosts = []preflight.SmartHost{{Name: "192.0.2.200:587", Host: "192.0.2.200", Port: 587, TLS: "required", User: "relay"}}
	}
}

// try says how far the smart host lets us.
func (w *world) try(how string) error {
	w.smartHost()
	switch how {
	case "down":
		w.trial = preflight.Trial{Err: "connect: no route to host"}
	case "busy":
		w.trial = preflight.Trial{Err: "421 4.3.2 try later", Connected: true, Temporary: true}
	case "selfsigned":
		w.trial = preflight.Trial{Connected: true, TLS: "TLS1.3", TLSErr: "self-signed certificate"}
	case "refused":
		w.trial.Authed, w.trial.Refused, w.trial.AuthErr = false, true, "535 5.7.8 no"
	case "unsure":
		w.trial.Authed, w.trial.AuthErr = false, "454 4.7.0 later"
	case "self":
		h := w.plan.SmartHosts[0]
		w.plan.Listeners = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(h.Host), h.Port)}
	default:
		return fmt.Errorf("@ trial=%s: no such trial", how)
	}
	return nil
}

// Try makes a world a preflight.Trier.
func (w *world) Try(context.Context, preflight.SmartHost) preflight.Trial { return w.trial }

// text is the world as zone files. The root denies what no zone has.
func (w *world) text() string {
	var b strings.Builder
	for _, z := range append([]string{""}, w.zones...) {
		fmt.Fprintf(&b, "%s. 3600 IN SOA ns.dnstest.invalid. hostmaster.%s. 1 7200 900 1209600 900\n", z, orInvalid(z))
	}
	for _, r := range w.records {
		b.WriteString(r.String() + "\n")
	}
	b.WriteString(w.servers())
	return b.String()
}

// texts are the world with what is outside of it.
func (w *world) texts() []string { return append([]string{w.text()}, w.outer()...) }

func orInvalid(z string) string {
	if z == "" {
		return "invalid"
	}
	return z
}

// start serves the world and says how to reach it.
func (w *world) start(t testing.TB) (*dnstest.Server, preflight.Outside) {
	t.Helper()
	s, err := dnstest.Start(w.texts()...)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.text())
	}
	t.Cleanup(func() { s.Close() })
	for zone, how := range w.behave {
		if err := s.Behave(zone, how); err != nil {
			t.Fatal(err)
		}
	}
	c := s.Client()
	out := preflight.Outside{
		DNS: c, Asker: c, AuthorityPort: s.Addr().Port(), Try: w,
		Bind: func(a netip.Addr) error {
			if w.bad[a] {
				return errors.New("not on any interface")
			}
			return nil
		},
		Addrs: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.25")} },
		Probe: w, Observed: w.seen,
		Clock:     func() preflight.Clock { return w.clock },
		Temporary: func(a netip.Addr) bool { return w.private[a] },
	}
	w.odd.start(t, w, s, &out)
	return s, out
}

package preflight

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

func TestKeysGoLive(t *testing.T) {
	w := newGateWorld(t)
	w.plan.Policy.RecheckMin, w.plan.Policy.RecheckMax = time.Millisecond, time.Millisecond
	const name = "k1._domainkey.example.net"
	record := w.plan.Senders[0].Keys[0].Record
	w.dns.Remove(name, "TXT")
	m := FileMemory(filepath.Join(t.TempDir(), "preflight.json"))
	g := w.gate(t, m)
	at := time.Now()
	live := func(what string, want bool) {
		t.Helper()
		at = at.Add(time.Hour)
		g.keys.look(t.Context(), at, startAtOnce, g.out)
		if g.Live("example.net", "k1") != want {
			t.Errorf("%s: live %t, want %t", what, !want, want)
		}
	}
	live("no record", false)
	other := strings.Replace(record, "p=1", "p=2", 1)
	for _, step := range []struct {
		what, text string
		want       bool
	}{{"another key", other, false}, {"published", record, true}, {"replaced", other, false}, {"again, p= folded", strings.Replace(record, "p=1", "p=1 ", 1), true}} {
		w.dns.Remove(name, "TXT")
		if err := w.dns.Add(name + ". 1 IN TXT " + Quote(step.text)); err != nil {
			t.Fatal(err)
		}
		live(step.what, step.want)
	}
	g.save(t.Context(), true)
	if err := w.dns.Behave("example.net", "servfail"); err != nil {
		t.Fatal(err)
	}
	live("silence", true)
	if g = w.gate(t, m); !g.Live("example.net", "k1") {
		t.Error("a restart in silence forgot the key")
	}
	w.log = syncBuffer{}
	if g = w.gate(t, nil); !g.Live("example.net", "k1") || !strings.Contains(w.log.String(), "could not be looked for and signs what waits") {
		t.Errorf("silence from the first keeps a key from signing:\n%s", w.log.String())
	}
	_ = w.dns.Behave("example.net", "")
	w.dns.Remove(name, "TXT")
	live("no record after silence", false)
	g.memory = m
	g.save(t.Context(), true)
	_ = w.dns.Behave("example.net", "servfail")
	if g = w.gate(t, m); g.Live("example.net", "k1") {
		t.Error("a restart in silence forgot that the key is not published")
	}
	_ = w.dns.Behave("example.net", "")
	_ = w.dns.Behave("_domainkey.example.net", "servfail")
	if g = w.gate(t, nil); g.Live("example.net", "k1") {
		t.Error("a key never seen signs mail that does not wait")
	}
	_ = w.dns.Behave("_domainkey.example.net", "")
	if err := w.dns.Add(name + ". 1 IN TXT " + Quote(record)); err != nil {
		t.Fatal(err)
	}
	w.out.AuthorityPort = 1 // nobody listens there
	w.log = syncBuffer{}
	if g = w.gate(t, nil); !g.Live("example.net", "k1") || !strings.Contains(w.log.String(), "resolver only") {
		t.Errorf("the resolver's own answer was not taken:\n%s", w.log.String())
	}
}

// strayed answers wrongly at one address.
type strayed struct {
	dns.Asker
	at   string
	text string
}

func (s strayed) Ask(ctx context.Context, server netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	if server.Addr().String() != s.at {
		return s.Asker.Ask(ctx, server, name, t)
	}
	rr := dns.RR{Name: name, Type: t, Text: s.text}
	return &dns.Answer{Question: name, Name: name, Type: t, Outcome: dns.Present, Auth: true, Records: []dns.RR{rr}}, nil
}

// The resolver is no way round authoritative servers that do not agree.
func TestKeyThatOneServerLacks(t *testing.T) {
	w := newGateWorld(t)
	if err := w.dns.Add("ns1.example.net. 1 IN A 127.0.0.2"); err != nil {
		t.Fatal(err)
	}
	w.out.Asker = strayed{w.out.Asker, "127.0.0.2", "v=DKIM1; k=ed25519; p=AAAA"}
	if g := w.gate(t, nil); g.Live("example.net", "k1") {
		t.Error("a key that half of the servers do not have signs")
	}
}

// What receivers would verify by is compared, not the text: a record without k=
// is one of RSA.
func TestKeyIsComparedAsReceiversDo(t *testing.T) {
	const ours = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	for text, want := range map[string]bool{
		ours: true,
		strings.Replace(ours, "p=11q", "h=sha256; p=11q", 1): true,
		strings.Replace(ours, "k=ed25519; ", "", 1):          false,
		strings.Replace(ours, "DKIM1", "DKIM2", 1):           false,
		"v=DKIM1; k=ed25519; p=":                             false,
	} {
		if got := sameKey(text, ours); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}

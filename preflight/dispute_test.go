package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"smtprelay/preflight/dns"
)

// replies are what a resolver and the three servers of a zone say of the EHLO name.
type replies struct {
	resolver reply
	servers  [3]reply
	mute     [3]bool
}

type reply byte

const (
	right reply = iota
	wrong
	noName
	noData
)

const replyLife = 15 * time.Minute // in the resolver's cache

func (w reply) answer(name string, t dns.Type) (*dns.Answer, error) {
	a := &dns.Answer{Question: name, Name: name, Type: t, Rcode: "NOERROR", Outcome: dns.Present, TTL: replyLife, Auth: true}
	switch w {
	case right:
		a.Records = []dns.RR{{Name: name, Type: t, TTL: replyLife, Addr: netip.MustParseAddr("192.0.2.25")}}
		return a, nil
	case wrong:
		a.Records = []dns.RR{{Name: name, Type: t, TTL: replyLife, Addr: netip.MustParseAddr("192.0.2.99")}}
		return a, nil
	case noName:
		a.Outcome, a.Rcode = dns.NoName, "NXDOMAIN"
	case noData:
		a.Outcome = dns.NoData
	}
	a.TTL, a.NegTTL, a.Zone = 0, replyLife, "example.net"
	return a, &dns.Error{Name: name, Type: t, Outcome: a.Outcome}
}

func (w replies) Query(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	a := &dns.Answer{Question: name, Name: name, Type: t, Rcode: "NOERROR", Outcome: dns.Present, TTL: time.Hour}
	switch {
	case t == dns.TypeSOA:
		a.Records = []dns.RR{{Name: "example.net", Type: t, Host: "ns0.example.org"}}
	case t == dns.TypeNS:
		for i := range w.servers {
			a.Records = append(a.Records, dns.RR{Name: name, Type: t, Host: fmt.Sprintf("ns%d.example.org", i)})
		}
	case t == dns.TypeA && name == "mail.example.net":
		return w.resolver.answer(name, t)
	case t == dns.TypeA:
		a.Records = []dns.RR{{Name: name, Type: t, Addr: netip.AddrFrom4([4]byte{198, 51, 100, name[2] - '0'})}}
	default:
		return noData.answer(name, t)
	}
	return a, nil
}

func (w replies) Ask(_ context.Context, at netip.AddrPort, name string, t dns.Type) (*dns.Answer, error) {
	i := at.Addr().As4()[3]
	if w.mute[i] {
		return &dns.Answer{Question: name, Name: name, Type: t, Rcode: "REFUSED"}, &dns.Error{Name: name, Type: t}
	}
	a, err := w.servers[i].answer(name, t)
	a.Server = at.String()
	return a, err
}

// look at EHLO-ADDR, as one run does.
func (w replies) look(t *testing.T, p *Plan, d *disputes) Finding {
	r := newRun(p, Outside{DNS: w, Asker: w, disputes: d})
	x := r.index[subject{ehloAddr, 0, -1, -1}]
	x.finding.Result = r.look(t.Context(), x)
	x.finding.Severity = Mandatory
	return x.finding
}

func repliesPlan() *Plan {
	p := planOf([]string{"wan4"}, "example.net")
	p.Policy.Private = true // no landmarks
	return p
}

func (w replies) spoken() replies {
	w.mute = [3]bool{}
	return w
}

func (w replies) silent() bool { return w.mute == [3]bool{true, true, true} }

// Whatever a resolver and three servers say: those of them that are mute never turn
// the failure that all would make into a pass, nor the pass into a failure.
func TestMuteServersDecideNothing(t *testing.T) {
	p := repliesPlan()
	const mixes = 4 * 4 * 4 * 4 * 7 // seven ways of not all being mute
	open := 0
	for n := range mixes {
		w := replies{resolver: reply(n) % 4}
		for i := range w.servers {
			n /= 4
			w.servers[i] = reply(n) % 4
		}
		n /= 4
		for i := range w.mute {
			w.mute[i] = n>>i&1 == 1
		}
		now, all := w.look(t, p, newDisputes()), w.spoken().look(t, p, newDisputes())
		if now.Status != all.Status && now.Status != Unknown {
			t.Errorf("%+v: %s (%s), and %s if all spoke", w, now.Status, now.Found, all.Status)
		}
		if now.Status == Unknown {
			open++
		}
	}
	if open == 0 || open > mixes/3 {
		t.Errorf("%d are open", open)
	}
}

// A zone with servers that are dead for ever: a denial that only the resolver sees is
// open while it may be old, then fails after as many looks as any other.
func TestALastingDisputeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, d, began := repliesPlan(), newDisputes(), time.Now()
		w := replies{mute: [3]bool{false, true, true}}
		h, _ := observe(History{}, p, []Finding{w.look(t, p, d)}, time.Now(), true)
		w.resolver = noName
		var open, failed time.Duration
		for failed == 0 && time.Since(began) < time.Hour {
			f := w.look(t, p, d)
			var hs []held
			h, hs = observe(h, p, []Finding{f}, time.Now(), false)
			switch since := time.Since(began); {
			case f.Status == Unknown:
				open = since
				if want := "mail.example.net. A: ns1.example.org, ns2.example.org did not answer; ns0.example.org says 192.0.2.25, the resolver NXDOMAIN"; f.Found != want {
					t.Fatalf("%q", f.Found)
				}
			case hs[0].Status == Fail:
				failed = since
			}
			if want := failed == 0; (hs[0].Status == Pass) != want {
				t.Errorf("after %s %s is believed of %s", time.Since(began), hs[0].Status, f.Status)
			}
			time.Sleep(time.Minute)
		}
		if open != replyLife-time.Minute || failed != replyLife+10*time.Minute {
			t.Errorf("open for %s, failed after %s", open, failed)
		}
		w.resolver = right
		f := w.look(t, p, d)
		if _, hs := observe(h, p, []Finding{f}, time.Now(), false); hs[0].Status != Pass {
			t.Errorf("then %s", hs[0].Status)
		}
		w.resolver = noName // and another time
		if f := w.look(t, p, d); f.Status != Unknown {
			t.Errorf("an old dispute decides a new one: %s %s", f.Status, f.Found)
		}
	})
}

// FuzzMuteServers: over looks at whatever is said, a mute server never turns what is
// believed from pass to fail or back at a look at which all servers together would
// not, unless the resolver's reply has outlived its cache.
func FuzzMuteServers(f *testing.F) {
	f.Add([]byte{0x00, 0, 1, 0xaa, 3, 1, 0x02, 5, 1, 0x02, 6, 20, 0x02, 6, 20, 0x02, 6, 20})
	f.Add([]byte{0x02, 0, 1, 0x02, 1, 1, 0xaa, 3, 200})
	f.Fuzz(func(t *testing.T, looks []byte) {
		synctest.Test(t, func(t *testing.T) {
			p, d := repliesPlan(), newDisputes()
			var h History
			was := Status("")
			for i := 0; i+3 <= min(len(looks), 96); i += 3 {
				said, muted := looks[i], looks[i+1]
				w := replies{resolver: reply(said & 3), servers: [3]reply{reply(said >> 2 & 3), reply(said >> 4 & 3), reply(said >> 6)}}
				for k := range w.mute {
					w.mute[k] = muted>>k&1 == 1
				}
				now, all := w.look(t, p, d), w.spoken().look(t, p, newDisputes())
				next, hs := observe(h, p, []Finding{now}, time.Now(), i == 0)
				is, settled := hs[0].Status, len(d.by) > 0
				if (was == Pass && is == Fail || was == Fail && is == Pass) && all.Status != is && !settled && !w.silent() {
					t.Fatalf("look %d, %+v: %s became %s, and all servers would say %s", i/3, w, was, is, all.Status)
				}
				h, was = next, is
				time.Sleep(time.Duration(looks[i+2]) * time.Minute)
			}
		})
	})
}

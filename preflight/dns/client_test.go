package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

func start(t *testing.T, zones ...string) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start(zones...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func client(servers ...netip.AddrPort) *dns.Client { return dns.NewClient(servers) }

func TestForeignPacketsArePassedOver(t *testing.T) {
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		good := reply(q, 0, "a.test. 60 A 192.0.2.1")
		id, name, typ, echo := good.Copy(), good.Copy(), good.Copy(), q.Copy()
		id.Id++
		id.Answer[0].(*mdns.A).A[3] = 66
		name.Question[0].Name = "b.test."
		typ.Question[0].Qtype = mdns.TypeAAAA
		none := reply(q, 0)
		none.Question = nil
		return [][]byte{{}, {1, 2, 3}, []byte(strings.Repeat("\xff", 600)), pack(id), pack(name), pack(typ), pack(echo), pack(none), pack(good)}
	})
	a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA)
	if err != nil || len(a.Records) != 1 || a.Records[0].Addr.String() != "192.0.2.1" || a.TCP {
		t.Fatalf("%+v %v", a, err)
	}
	if len(e.questions()) != 1 {
		t.Errorf("asked %d times", len(e.questions()))
	}
}

func TestQuestionsAskForAD(t *testing.T) {
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		m := reply(q, 0, "a.test. 60 A 192.0.2.1")
		m.AuthenticatedData, m.Authoritative = true, true
		return [][]byte{pack(m)}
	})
	a, _ := client(e.addr).Query(t.Context(), "A.test.", dns.TypeA)
	b, _ := client().Ask(t.Context(), e.addr, "a.test", dns.TypeA)
	if !a.Secure || b.Secure || !b.Auth {
		t.Errorf("AD of a loopback resolver %v, of a server without recursion %v", a.Secure, b.Secure)
	}
	q := e.questions()
	for i, recurse := range []bool{true, false} {
		opt := q[i].IsEdns0()
		if opt == nil || opt.UDPSize() != 1232 || opt.Do() != recurse || q[i].AuthenticatedData != recurse || q[i].RecursionDesired != recurse {
			t.Errorf("question %d:\n%s", i, q[i])
		}
	}
	if q[0].Id == q[1].Id {
		t.Error("one id for two questions")
	}
}

func TestADFromAfarIsNotBelieved(t *testing.T) {
	if dns.Trusted(netip.MustParseAddr("192.0.2.53")) || dns.Trusted(netip.MustParseAddr("::ffff:10.0.0.1")) {
		t.Error("a resolver outside this host is trusted")
	}
	for _, s := range []string{"127.0.0.53", "::1", "::ffff:127.0.0.1"} {
		if !dns.Trusted(netip.MustParseAddr(s)) {
			t.Errorf("%s is not trusted", s)
		}
	}
}

func TestOutcomes(t *testing.T) {
	soa := func(zone string, ttl, minimum int) mdns.RR {
		rr, _ := mdns.NewRR(fmt.Sprintf("%s %d SOA ns.test. root.test. 1 2 3 4 %d", zone, ttl, minimum))
		return rr
	}
	denied := func(zone string, rcode int, answer ...string) func(*mdns.Msg) *mdns.Msg {
		return func(q *mdns.Msg) *mdns.Msg {
			m := reply(q, rcode, answer...)
			m.Ns = append(m.Ns, soa(zone, 600, 60))
			return m
		}
	}
	plain := func(rcode int, answer ...string) func(*mdns.Msg) *mdns.Msg {
		return func(q *mdns.Msg) *mdns.Msg { return reply(q, rcode, answer...) }
	}
	for _, c := range []struct {
		title string
		say   func(*mdns.Msg) *mdns.Msg
		want  dns.Outcome
		text  string // of the error
	}{
		{"data", plain(0, "a.test. A 192.0.2.1", "a.test. A 192.0.2.1"), dns.Present, ""},
		{"denied type", denied("test.", 0), dns.NoData, "A a.test: NODATA"},
		{"denied name", denied("test.", 3), dns.NoName, "A a.test: NXDOMAIN"},
		{"denied name without SOA", plain(3), dns.NoName, "A a.test: NXDOMAIN"},
		{"SOA of another zone", denied("other.", 0), dns.Temp, "A a.test: neither data nor a proper denial"},
		{"SOA below the name", denied("b.a.test.", 0), dns.Temp, "A a.test: neither data nor a proper denial"},
		{"empty", plain(0), dns.Temp, "A a.test: neither data nor a proper denial"},
		{"data of another name", plain(0, "b.test. A 192.0.2.1"), dns.Temp, "A a.test: neither data nor a proper denial"},
		{"data of another type", plain(0, "a.test. TXT x"), dns.Temp, "A a.test: neither data nor a proper denial"},
		{"data and NXDOMAIN", plain(3, "a.test. A 192.0.2.1"), dns.Temp, "A a.test: the answer contradicts itself: data for a name that does not exist"},
		{"SERVFAIL", plain(2), dns.Temp, "A a.test: SERVFAIL"},
		{"REFUSED", plain(5), dns.Temp, "A a.test: REFUSED"},
		{"unheard-of RCODE", plain(13), dns.Temp, "A a.test: RCODE13"},
		{"referral", func(q *mdns.Msg) *mdns.Msg {
			m := reply(q, 0)
			rr, _ := mdns.NewRR("test. NS ns.test.")
			m.Ns = append(m.Ns, rr)
			return m
		}, dns.Temp, "A a.test: lame: a referral instead of an answer"},
		{"EDE", func(q *mdns.Msg) *mdns.Msg {
			m := reply(q, 2)
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &mdns.EDNS0_EDE{InfoCode: 6, ExtraText: "key \x1b[31mlost"})
			return m
		}, dns.Temp, `A a.test: SERVFAIL: DNSSEC Bogus (key \027[31mlost), DNSSEC validation failed: validating receivers see nothing either`},
		{"bare header", func(q *mdns.Msg) *mdns.Msg {
			m := reply(q, 5)
			m.Question = nil
			return m
		}, dns.Temp, "A a.test: REFUSED"},
		{"alias to data", plain(0, "b.test. A 192.0.2.1", "a.test. CNAME B.TEST."), dns.Present, ""},
		{"alias to denied type", denied("test.", 0, "a.test. CNAME b.test."), dns.NoData, "A a.test: NODATA"},
		{"alias to denied name", denied("test.", 3, "a.test. CNAME b.test."), dns.NoName, "A a.test: NXDOMAIN"},
		{"loop", plain(0, "a.test. CNAME b.test.", "b.test. CNAME a.test."), dns.Broken, "A a.test: CNAME loop at a.test"},
		{"loop of one", plain(0, "a.test. CNAME a.test."), dns.Broken, "A a.test: CNAME loop at a.test"},
		{"A without an address", func(q *mdns.Msg) *mdns.Msg {
			m := reply(q, 0)
			m.Answer = append(m.Answer, &mdns.ANY{Hdr: mdns.RR_Header{Name: "a.test.", Rrtype: mdns.TypeA, Class: 1}})
			return m
		}, dns.Broken, "A a.test: A record without data"},
		{"DNAME that makes too long a name", plain(0, "test. DNAME "+strings.Repeat(strings.Repeat("x", 49)+".", 4)+strings.Repeat("y", 52)+"."), dns.Broken,
			"A a.test: DNAME at test makes the name too long"},
	} {
		e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return [][]byte{pack(c.say(q))} })
		a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA)
		if a.Outcome != c.want {
			t.Errorf("%s: outcome %s, want %s", c.title, a.Outcome, c.want)
		}
		if text := fmt.Sprint(err); err != nil && text != c.text || err == nil && c.text != "" {
			t.Errorf("%s: error %q, want %q", c.title, text, c.text)
		}
		kind := map[dns.Outcome]error{dns.NoData: dns.ErrNotFound, dns.NoName: dns.ErrNotFound, dns.Broken: dns.ErrBroken, dns.Temp: dns.ErrTemporary}[c.want]
		if !errors.Is(err, kind) {
			t.Errorf("%s: %v is not %v", c.title, err, kind)
		}
		if c.want == dns.Present && len(a.Records) != 1 {
			t.Errorf("%s: %d records", c.title, len(a.Records))
		}
		if strings.HasPrefix(c.title, "denied type") && (a.Zone != "test" || a.NegTTL != time.Minute) {
			t.Errorf("%s: zone %q, negative TTL %s", c.title, a.Zone, a.NegTTL)
		}
	}
}

// TestChains asks for names of which a server tells one link at a time.
func TestChains(t *testing.T) {
	link := func(n int) string { return fmt.Sprintf("l%d.test.", n) }
	for links, want := range map[int]dns.Outcome{1: dns.Present, 8: dns.Present, 9: dns.Broken, 20: dns.Broken} {
		for _, whole := range []bool{true, false} {
			e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
				var n int
				fmt.Sscanf(q.Question[0].Name, "l%d.test.", &n)
				m := reply(q, 0)
				for ; n < links; n++ {
					m.Answer = append(m.Answer, reply(q, 0, fmt.Sprintf("%s %d CNAME %s", link(n), 100-n, link(n+1))).Answer...)
					if !whole {
						return [][]byte{pack(m)}
					}
				}
				m.Answer = append(m.Answer, reply(q, 0, link(links)+" 200 A 192.0.2.1").Answer...)
				return [][]byte{pack(m)}
			})
			a, err := client(e.addr).Query(t.Context(), "l0.test", dns.TypeA)
			if a.Outcome != want {
				t.Errorf("%d links, whole %v: %s, %v", links, whole, a.Outcome, err)
			}
			if want == dns.Present && (len(a.Chain) != links || a.Name != fmt.Sprintf("l%d.test", links) || a.TTL != time.Duration(101-links)*time.Second) {
				t.Errorf("%d links, whole %v: chain %q to %s, TTL %s", links, whole, a.Chain, a.Name, a.TTL)
			}
		}
	}
}

func TestLoopOverQuestions(t *testing.T) {
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		to := map[string]string{"a.test.": "b.test.", "b.test.": "c.test.", "c.test.": "b.test."}[q.Question[0].Name]
		return [][]byte{pack(reply(q, 0, q.Question[0].Name+" CNAME "+to))}
	})
	if _, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA); !errors.Is(err, dns.ErrBroken) {
		t.Error(err)
	}
}

func TestTTLs(t *testing.T) {
	for given, want := range map[uint32]time.Duration{0: 0, 300: 5 * time.Minute, 1<<31 - 1: (1<<31 - 1) * time.Second, 1 << 31: 0, 1<<32 - 1: 0} {
		e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
			return [][]byte{pack(reply(q, 0, fmt.Sprintf("a.test. %d A 192.0.2.1", given)))}
		})
		a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA)
		if err != nil || a.TTL != want || a.Records[0].TTL != want {
			t.Errorf("TTL %d: %s, %v", given, a.TTL, err)
		}
	}
}

func TestTruncationGoesToTCP(t *testing.T) {
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		m := reply(q, 0)
		if m.Truncated = !tcp; tcp {
			for i := range 250 { // 64 KiB nearly
				rr := &mdns.TXT{Hdr: mdns.RR_Header{Name: "a.test.", Rrtype: mdns.TypeTXT, Class: 1}, Txt: []string{strings.Repeat("x", 240), fmt.Sprint(i)}}
				m.Answer = append(m.Answer, rr)
			}
		}
		return [][]byte{pack(m)}
	})
	a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeTXT)
	if err != nil || !a.TCP || len(a.Records) != 250 || !strings.HasSuffix(a.Records[249].Text, "x249") {
		t.Errorf("%v, TCP %v, %d records", err, a.TCP, len(a.Records))
	}
}

// Half an answer is none, and over TCP there is no other half to fetch.
func TestTruncatedOverTCP(t *testing.T) {
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		m := reply(q, 0, "a.test. 60 A 192.0.2.1")
		m.Truncated = true
		return [][]byte{pack(m)}
	})
	if a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA); !errors.Is(err, dns.ErrTemporary) || len(a.Records) > 0 {
		t.Errorf("%+v %v", a, err)
	}
}

func TestMangledPackets(t *testing.T) {
	mangled := func(q *mdns.Msg, tcp bool) []byte {
		b := pack(reply(q, 0, "a.test. A 192.0.2.1"))
		return b[:len(b)-2]
	}
	short := func(q *mdns.Msg, tcp bool) []byte { // ends between two records, without TC
		b := pack(reply(q, 0, "a.test. A 192.0.2.1"))
		b[7] = 2
		return b
	}
	loop := func(q *mdns.Msg, tcp bool) []byte { // a name that points at itself
		b := pack(reply(q, 0, "a.test. A 192.0.2.1"))
		at := len(b) - 16
		b[at], b[at+1] = 0xc0, byte(at)
		return b
	}
	for i, bad := range []func(*mdns.Msg, bool) []byte{mangled, short, loop} {
		e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return [][]byte{bad(q, tcp)} })
		if a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA); !errors.Is(err, dns.ErrBroken) || !a.TCP {
			t.Errorf("packet %d: %v", i, err)
		}
		e = startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
			if tcp {
				return [][]byte{pack(reply(q, 0, "a.test. A 192.0.2.1"))}
			}
			return [][]byte{bad(q, tcp)}
		})
		if _, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA); err != nil {
			t.Errorf("packet %d mangled over UDP only: %v", i, err)
		}
	}
}

func TestWithoutEDNS(t *testing.T) {
	for _, rcode := range []int{mdns.RcodeFormatError, mdns.RcodeNotImplemented, mdns.RcodeBadVers} {
		e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
			if q.IsEdns0() == nil {
				return [][]byte{pack(reply(q, 0, "a.test. A 192.0.2.1"))}
			}
			m := reply(q, rcode&15)
			if rcode > 15 {
				m.SetEdns0(1232, false)
				m.IsEdns0().SetExtendedRcode(uint16(rcode))
				m.Rcode = rcode
			}
			return [][]byte{pack(m)}
		})
		if _, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA); err != nil || len(e.questions()) != 2 {
			t.Errorf("%s: %v after %d questions", mdns.RcodeToString[rcode], err, len(e.questions()))
		}
	}
}

func TestServersInTurn(t *testing.T) {
	silent := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return nil })
	refusing := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return [][]byte{pack(reply(q, mdns.RcodeRefused))} })
	good := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return [][]byte{pack(reply(q, 0, "a.test. A 192.0.2.1"))} })
	c := client(silent.addr, refusing.addr, good.addr)
	for range 3 {
		a, err := c.Query(t.Context(), "a.test", dns.TypeA)
		if err != nil || a.Server != good.addr.String() {
			t.Fatalf("%s: %v", a.Server, err)
		}
	}
	if s, g := len(silent.questions()), len(good.questions()); s != 1 || g != 3 {
		t.Errorf("the silent server was asked %d times, the good one %d times", s, g)
	}
	if n := len(refusing.questions()); n != 1 {
		t.Errorf("the refusing server was asked %d times", n)
	}
	_, err := client(refusing.addr).Query(t.Context(), "a.test", dns.TypeA)
	if err == nil || err.Error() != "A a.test: REFUSED" || len(refusing.questions()) != 3 {
		t.Errorf("%v after %d questions", err, len(refusing.questions()))
	}
}

func TestSilence(t *testing.T) {
	silent := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return nil })
	stalls := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		m := reply(q, 0)
		m.Truncated = true
		if tcp {
			return nil
		}
		return [][]byte{pack(m)}
	})
	for _, e := range []*evil{silent, stalls} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			a, err := client(e.addr).Query(t.Context(), "a.test", dns.TypeA)
			if !errors.Is(err, dns.ErrTemporary) || a.Detail != "timeout" || a.Rcode != "" {
				t.Errorf("%v, detail %q", err, a.Detail)
			}
			if d := time.Since(began); d > 9*time.Second || len(e.questions()) < 2 {
				t.Errorf("gave up after %s and %d questions", d, len(e.questions()))
			}
		})
	}
}

func TestContextEndsAQuestion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { cancel(); return nil })
	began := time.Now()
	a, err := client(e.addr).Query(ctx, "a.test", dns.TypeA)
	if !errors.Is(err, dns.ErrTemporary) || a.Detail != "given up" || time.Since(began) > time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestNobodyToAsk(t *testing.T) {
	a, err := client().Query(t.Context(), "a.test", dns.TypeA)
	if !errors.Is(err, dns.ErrTemporary) || a.Detail != "no server to ask" {
		t.Error(err)
	}
	gone := start(t)
	gone.Close()
	a, err = client(gone.Addr()).Query(t.Context(), "a.test", dns.TypeA)
	if !errors.Is(err, dns.ErrTemporary) || a.Detail != "connection refused" {
		t.Error(err)
	}
	a, err = client(gone.Addr()).Query(t.Context(), strings.Repeat("x", 64)+".test", dns.TypeA)
	if !errors.Is(err, dns.ErrBroken) || a.Outcome != dns.Broken {
		t.Error(err)
	}
}

func TestAskOneServer(t *testing.T) {
	s := start(t, "$ORIGIN a.test.\n@ A 192.0.2.1\nout CNAME x.b.test.\n", "$ORIGIN b.test.\nx A 192.0.2.2\n")
	a, err := client().Ask(t.Context(), s.Addr(), "a.test", dns.TypeA)
	if err != nil || !a.Auth {
		t.Error(err)
	}
	a, err = client().Ask(t.Context(), s.Addr(), "out.a.test", dns.TypeA)
	if !errors.Is(err, dns.ErrTemporary) || a.Name != "x.b.test" || !slices.Equal(a.Chain, []string{"x.b.test"}) {
		t.Errorf("%+v", a)
	}
	lame := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte { return [][]byte{pack(reply(q, 0, "a.test. A 192.0.2.1"))} })
	a, err = client().Ask(t.Context(), lame.addr, "a.test", dns.TypeA)
	if !errors.Is(err, dns.ErrTemporary) || len(a.Records) > 0 || !strings.Contains(err.Error(), "lame") {
		t.Errorf("a server without authority: %v", err)
	}
}

// A client has so many questions out and no more, together with those made of it, and
// who waits for a place waits no longer than it wants to.
func TestAtOnce(t *testing.T) {
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	e := startEvil(t, func(q *mdns.Msg, tcp bool) [][]byte {
		arrived <- struct{}{}
		<-release
		return [][]byte{pack(reply(q, 0, "a.test. 60 A 127.0.0.1"))}
	})
	c := client(e.addr).AtOnce(1)
	first := make(chan error, 1)
	go func() {
		_, err := c.Query(t.Context(), "a.test", dns.TypeA)
		first <- err
	}()
	<-arrived
	for name, other := range map[string]*dns.Client{"itself": c, "from": c.From(netip.MustParseAddr("127.0.0.1")), "to": c.To(e.addr)} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		a, err := other.Query(ctx, "a.test", dns.TypeA)
		cancel()
		if !errors.Is(err, dns.ErrTemporary) || a.Detail != "timeout" {
			t.Errorf("%s: %v", name, err)
		}
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := c.Query(t.Context(), "a.test", dns.TypeA); err != nil {
		t.Errorf("once there is a place: %v", err)
	}
	if n := len(e.questions()); n != 2 { // those before it would have come before it
		t.Errorf("%d questions were sent", n)
	}
}

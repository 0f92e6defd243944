package dns

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer reads any packet as the answer to a question.
func FuzzAnswer(f *testing.F) {
	for _, rrs := range []string{
		"a.test. 60 A 192.0.2.1",
		"a.test. CNAME b.test.\nb.test. AAAA 2001:db8::1",
		"a.test. CNAME a.test.",
		"test. DNAME a.a.test.",
		"a.test. MX 0 .\na.test. MX 10 mx\\.1.test.",
		`a.test. TXT "v=spf1" "\"\000\255\\"`,
		"test. SOA ns.test. root.test. 1 2 3 4 4294967295",
		"a.test. TLSA 3 1 1 00ff",
		"test. NS ns.test.\ntest. NS b\\.c.test.\nns.test. A 192.0.2.1",
	} {
		for _, t := range []Type{TypeA, TypeMX, TypeTXT, TypeSOA, 52} {
			f.Add(seed(rrs, t), uint16(t))
		}
	}
	f.Add([]byte{0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1}, uint16(TypeA)) // a name that is itself
	f.Fuzz(func(t *testing.T, b []byte, qtype uint16) {
		a, _ := blank("a.test", Type(qtype))
		q := ask(a.Name, a.Type, true)
		if len(b) > 2 { // else nearly all would be strangers
			q.Id = binary.BigEndian.Uint16(b)
		}
		m, ours, err := match(q, b)
		if !ours || err != nil {
			return
		}
		next, open := a.read(m)
		done, err := next.finish()
		if (err == nil) != (done.Outcome == Present) || (len(done.Records) > 0) != (done.Outcome == Present) {
			t.Errorf("outcome %s, %d records, error %v", done.Outcome, len(done.Records), err)
		}
		if open && len(done.Chain) == 0 || len(done.Chain) > maxLinks+1 || done.TTL < 0 || done.NegTTL < 0 {
			t.Errorf("%+v", done)
		}
		for _, rr := range done.Records {
			safe(t, rr.Text, rr.Host, rr.Mailbox, rr.Name)
		}
		safe(t, done.Name, done.Detail, done.Zone)
		safe(t, done.Chain...)
		if z := done.Referral; z != nil {
			if done.Outcome != Temp || !within(done.Name, z.Name) || len(z.Servers) == 0 || len(z.Servers) > maxNameServers {
				t.Errorf("referral of %s: %+v", done.Name, z)
			}
			for _, s := range z.Servers {
				if safe(t, z.Name, s.Host); len(s.Addrs) > maxServerAddrs {
					t.Errorf("%s: %v", s.Host, s.Addrs)
				}
			}
		}
	})
}

func safe(t *testing.T, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Errorf("%q is not safe to print", s)
		}
	}
}

// seed is an answer with records in every section.
func seed(rrs string, t Type) []byte {
	m := new(dns.Msg)
	m.SetReply(ask("a.test", t, true))
	for line := range strings.Lines(rrs) {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		m.Answer, m.Ns, m.Extra = append(m.Answer, rr), append(m.Ns, rr), append(m.Extra, rr)
	}
	m.SetEdns0(1232, true)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: 9, ExtraText: "\x1b[0m"})
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzText: whatever strings a TXT has, the text can be printed.
func FuzzText(f *testing.F) {
	for _, s := range []string{`\`, `\1`, `\12`, `\123`, `\999`, `\"`, "\x1b", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { safe(t, text([]string{s, s})) })
}

package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

const secretKey = "abcdefghijklmnopqrstuvwx23"

func TestKeysAreHidden(t *testing.T) {
	for zone, want := range map[BlockList]string{
		"zen.spamhaus.org":                         "zen.spamhaus.org",
		secretKey + ".zen.dq.spamhaus.net":         "(key).zen.dq.spamhaus.net",
		"short.zen.dq.spamhaus.net":                "(key).zen.dq.spamhaus.net",
		"zen.dq.spamhaus.net":                      "zen.dq.spamhaus.net",
		secretKey + ".combined.mail.abusix.zone":   "(key).combined.mail.abusix.zone",
		"b." + secretKey + ".example.org":          "b.(key).example.org",
		"a-list-with-a-long-name.example.org":      "a-list-with-a-long-name.example.org",
		"dnsbl-1.uceprotect.net":                   "dnsbl-1.uceprotect.net",
		"12345678901234567890.numbers.example.org": "12345678901234567890.numbers.example.org",
		"xn--abcdefghijklmnop-q5r.example.org":     "(key).example.org", // better one too many
	} {
		doc, err := json.Marshal(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []string{zone.String(), fmt.Sprintf("%v", Policy{DNSBL: []BlockList{zone}}.DNSBL[0]), fmt.Sprintf("%#v", zone), strings.Trim(string(doc), `"`)} {
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
}

// counting is a resolver that says what it is told and counts.
type counting struct {
	answer dns.Answer
	n      int
}

func (c *counting) Query(_ context.Context, name string, t dns.Type) (*dns.Answer, error) {
	c.n++
	a := c.answer
	a.Question, a.Type = name, t
	return &a, nil
}

// What a list said holds for six hours; when it is silent, what it said before stands
// for a day, and it is asked again every five minutes and not at every look.
func TestListsAreAskedSeldom(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	l := newListings()
	l.now = func() time.Time { return now }
	c := &counting{answer: dns.Answer{Outcome: dns.Present}}
	for _, s := range []struct {
		after   time.Duration
		says    dns.Outcome
		want    dns.Outcome
		asked   int
		because string
	}{
		{0, dns.Present, dns.Present, 1, "nothing is known"},
		{time.Minute, dns.NoName, dns.Present, 1, "it was asked a minute ago"},
		{6 * time.Hour, dns.NoName, dns.NoName, 2, "six hours have passed"},
		{6 * time.Hour, dns.Temp, dns.NoName, 3, "it is silent, and spoke before"},
		{time.Minute, dns.Present, dns.NoName, 3, "it was silent a minute ago"},
		{5 * time.Minute, dns.Temp, dns.NoName, 4, "it is asked again"},
		{18 * time.Hour, dns.Temp, dns.Temp, 5, "a day has passed"},
		{5 * time.Minute, dns.Present, dns.Present, 6, "it is back"},
	} {
		now = now.Add(s.after)
		c.answer.Outcome = s.says
		if a := l.ask(t.Context(), c, "25.2.0.192.zen.spamhaus.org", dns.TypeA); a.Outcome != s.want || c.n != s.asked {
			t.Errorf("%s: %s after %d questions, want %s after %d", s.because, a.Outcome, c.n, s.want, s.asked)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(6 * time.Hour)
	c.answer.Outcome = dns.Temp
	l.ask(gone, c, "25.2.0.192.zen.spamhaus.org", dns.TypeA)
	c.answer.Outcome = dns.NoName
	if a := l.ask(t.Context(), c, "25.2.0.192.zen.spamhaus.org", dns.TypeA); a.Outcome != dns.NoName {
		t.Errorf("a run that was cut short counts as silence: %s", a.Outcome)
	}
}

func TestSpamhausCodes(t *testing.T) {
	b := BlockList(secretKey + ".zen.dq.spamhaus.net")
	for addr, want := range map[string]string{
		"127.0.0.2": "SBL (127.0.0.2)|", "127.0.0.3": "CSS (127.0.0.3)|", "127.0.0.4": "XBL (127.0.0.4)|", "127.0.0.7": "XBL (127.0.0.7)|",
		"127.0.0.9": "DROP (127.0.0.9)|", "127.0.0.11": "PBL (127.0.0.11)|", "127.0.0.20": "AuthBL (127.0.0.20)|", "127.0.0.30": "BCL (127.0.0.30)|",
		"127.0.0.8": "|", "127.0.1.2": "|",
		"127.255.255.252": "|refuses: there is no such list (127.255.255.252)",
		"127.255.255.250": "|refuses: an error of its own (127.255.255.250)",
		"192.0.2.1":       "|is dead: it answers 192.0.2.1",
		"2001:db8::1":     "|is dead: it answers 2001:db8::1",
	} {
		if listing, trouble := b.read(netip.MustParseAddr(addr)); listing+"|"+trouble != want {
			t.Errorf("%s: %s|%s, want %s", addr, listing, trouble, want)
		}
	}
}

// FuzzBlockList: no key of any list is in what is shown of an answer of it, and no
// address is a listing and a refusal at once.
func FuzzBlockList(f *testing.F) {
	f.Add(secretKey+".zen.dq.spamhaus.net", secretKey+" refuses", []byte{127, 0, 0, 10})
	f.Add("bl.spamcop.net", "", []byte{1})
	f.Fuzz(func(t *testing.T, zone, text string, ip []byte) {
		b := BlockList(zone)
		a, _ := netip.AddrFromSlice(ip)
		if listing, trouble := b.read(a); listing != "" && trouble != "" {
			t.Errorf("%s: %s and %s", a, listing, trouble)
		}
		m := b.masked(&dns.Answer{Question: b.entry(a), Detail: text, Records: []dns.RR{{Text: text}}})
		for _, k := range b.keys() {
			if k == "" || strings.Contains(hiddenKey, k) {
				continue
			}
			if all := m.Question + m.Detail + m.Records[0].Text + b.String(); len(k) > 5 && strings.Contains(all, k) {
				t.Errorf("%q is in %q", k, all)
			}
		}
	})
}

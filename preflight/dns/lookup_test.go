package dns_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

func TestLookups(t *testing.T) {
	s := start(t, `; answers: secure
$ORIGIN a.test.
$TTL 300
@     MX 20 MX2.a.test.
@     MX 10 mx1
@     TXT "v=spf1 " "-all"
@     TXT "q\"b\\ \127\233	t"
mx1   A 192.0.2.1
mx1   A 192.0.2.2
mx1   AAAA 2001:db8::1
alias 60 CNAME mx1
null  MX 0 .
odd   MX 10 a\.b.a.test.
`, "25.2.0.192.in-addr.arpa. PTR Mail.a.test.\n25.2.0.192.in-addr.arpa. PTR x\\032y.a.test.")
	ctx, c := t.Context(), s.Client()

	mx, err := dns.LookupMX(ctx, c, "a.test")
	slices.SortFunc(mx.Records, func(a, b dns.MX) int { return int(a.Pref) - int(b.Pref) })
	if err != nil || !slices.Equal(mx.Records, []dns.MX{{Pref: 10, Host: "mx1.a.test"}, {Pref: 20, Host: "mx2.a.test"}}) || !mx.Secure || mx.TTL != 5*time.Minute {
		t.Errorf("%+v %v", mx, err)
	}
	if mx, err := dns.LookupMX(ctx, c, "null.a.test"); err != nil || !slices.Equal(mx.Records, []dns.MX{{}}) {
		t.Errorf("null MX: %+v %v", mx, err)
	}
	if mx, _ := dns.LookupMX(ctx, c, "odd.a.test"); len(mx.Records) != 1 || mx.Records[0].Host != `a\.b.a.test` {
		t.Errorf("escaped dot: %+v", mx)
	}
	if mx, err := dns.LookupMX(ctx, c, "mx1.a.test"); !errors.Is(err, dns.ErrNotFound) || mx.Zone != "a.test" || mx.NegTTL != 15*time.Minute || !mx.Secure {
		t.Errorf("%+v %v", mx, err)
	}
	txt, err := dns.LookupTXT(ctx, c, "a.test")
	slices.Sort(txt.Records)
	if err != nil || !slices.Equal(txt.Records, []string{"q\"b\\ \\127\\233\tt", "v=spf1 -all"}) {
		t.Errorf("%q %v", txt.Records, err)
	}
	four, err := dns.LookupAddrs(ctx, c, "ALIAS.a.test.", false)
	if err != nil || len(four.Records) != 2 || four.Name != "mx1.a.test" || !slices.Equal(four.Chain, []string{"mx1.a.test"}) || four.TTL != time.Minute {
		t.Errorf("%+v %v", four, err)
	}
	if six, err := dns.LookupAddrs(ctx, c, "mx1.a.test", true); err != nil || !slices.Equal(six.Records, []netip.Addr{netip.MustParseAddr("2001:db8::1")}) {
		t.Errorf("%+v %v", six, err)
	}
	_, err = dns.LookupTXT(ctx, c, "gone.a.test")
	if err == nil || err.Error() != "TXT gone.a.test: NXDOMAIN" {
		t.Error(err)
	}
}

package dns_test

import (
	"testing"

	"smtprelay/preflight/dns"
	"smtprelay/preflight/dns/dnstest"
)

// BenchmarkQuery is one question and its answer, the server's work included.
func BenchmarkQuery(b *testing.B) {
	s, err := dnstest.Start("$ORIGIN a.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n@ MX 10 mx\nmx A 127.0.0.1\n")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := s.Client()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Query(b.Context(), "mx.a.test", dns.TypeA); err != nil {
			b.Fatal(err)
		}
	}
}

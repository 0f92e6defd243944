package preflight

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

// tracesByHand have every kind of step, and names as long as they come.
func tracesByHand() []Trace {
	six := netip.MustParseAddr("2001:db8::25")
	name, zone := dns.Reverse(six), "8.b.d.0.1.0.0.2.ip6.arpa"
	step := func(zone, host string, k dns.Kind, a dns.Answer) dns.Step {
		if a.Question == "" {
			a.Question = name
		}
		a.Type, a.RTT = dns.TypePTR, 12*time.Millisecond
		if k != dns.Silent {
			a.Server = "192.0.2.53:53"
		}
		return dns.Step{Zone: zone, Host: host, Kind: k, Answer: &a}
	}
	far := name[:40] + zone
	steps := []dns.Step{
		step("", "a.root-servers.net", dns.Silent, dns.Answer{Detail: "timeout"}),
		step("", "b.root-servers.net", dns.Referred, dns.Answer{Rcode: "NOERROR", Referral: &dns.Zone{Name: "ip6.arpa"}}),
		step("ip6.arpa", "a.ip6-servers.arpa", dns.Referred, dns.Answer{Rcode: "NOERROR", Referral: &dns.Zone{Name: zone, Servers: []dns.NameServer{{Host: "ns1.isp.example"}}}}),
		step("ip6.arpa", "b.ip6-servers.arpa", dns.Lame, dns.Answer{Rcode: "REFUSED"}),
		step(zone, "a-name-server-with-a-name.of-sixty-and-more.columns.isp.example", dns.Failed, dns.Answer{Rcode: "SERVFAIL", Detail: "No Reachable Authority\x1b[31m"}),
		step(zone, "ns1.isp.example", dns.Aliased, dns.Answer{Rcode: "NOERROR", Chain: []string{far}}),
		step(zone, "ns1.isp.example", dns.Answered, dns.Answer{Question: far, Rcode: "NOERROR", Outcome: dns.Present, Records: []dns.RR{{Type: dns.TypePTR, Host: "mail.example.net"}}}),
	}
	return []Trace{{"wan6", six, dns.Trace{Name: name, Type: dns.TypePTR, Steps: steps, Zone: dns.Zone{Name: zone}, Answer: steps[6].Answer}}}
}

// A source whose address nobody knows has no way to go, and that is said.
func TestTraceOfNoAddress(t *testing.T) {
	p := &Plan{Sources: []Source{{Name: "wan4", Bind: "10.0.0.5"}}, Special: Registries()}
	traces := Walks(t.Context(), p, Outside{})
	var b bytes.Buffer
	if err := WriteTraces(&b, traces, TextOptions{}); err != nil || !strings.Contains(b.String(), "the address is not known") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if got := jsonTraces(traces); len(got) > 0 {
		t.Errorf("in JSON %+v", got)
	}
}

func TestTraceGolden(t *testing.T) {
	for file, o := range map[string]TextOptions{"trace.txt": {}, "trace-ascii.txt": {ASCII: true}} {
		var b bytes.Buffer
		if err := WriteTraces(&b, tracesByHand(), o); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "trace", file)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Errorf("%s differs: go test ./preflight -run Trace -update\n%s", path, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if n := width(strings.TrimRight(line, "\n")); n > 80 && !strings.Contains(line, "dig ") {
				t.Errorf("%s: %d columns: %s", file, n, line)
			}
		}
	}
}

func TestTraceJSON(t *testing.T) {
	var b bytes.Buffer
	r := Judge(planOf([]string{"wan6"}), nil, noon)
	r.Traces = tracesByHand()
	if err := WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var got struct{ Trace []jsonTrace }
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	tr := got.Trace[0]
	if tr.Source != "wan6" || tr.Addr != "2001:db8::25" || len(tr.Steps) != 7 || tr.Zone != "8.b.d.0.1.0.0.2.ip6.arpa." || tr.Answer != "mail.example.net." {
		t.Errorf("%+v", tr)
	}
	if s := tr.Steps[2]; s.Result != "referral" || s.To != tr.Zone || s.ToNS[0] != "ns1.isp.example." || s.MS != 12 || s.Zone != "ip6.arpa." {
		t.Errorf("%+v", s)
	}
}

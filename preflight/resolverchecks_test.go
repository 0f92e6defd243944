package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"smtprelay/preflight/dns"
)

func TestReadHosts(t *testing.T) {
	const file = `# 192.0.2.1 mail.example.net
127.0.0.1	localhost
127.0.1.1	Mail.Example.NET mail # ours
::ffff:192.0.2.7 mail.example.net.
not-an-address mail.example.net
192.0.2.9
`
	got := ""
	for _, h := range readHosts(strings.NewReader(file), []string{"mail.example.net"}) {
		got += fmt.Sprintf("%d: %s is %s\n", h.line, h.name, h.addr)
	}
	if want := "3: mail.example.net is 127.0.1.1\n4: mail.example.net is 192.0.2.7\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzReadHosts(f *testing.F) {
	f.Add("127.0.1.1 mail.example.net # x\n::1%lo mail.example.net")
	f.Fuzz(func(t *testing.T, text string) {
		for _, h := range readHosts(strings.NewReader(text), []string{"mail.example.net"}) {
			if h.name != "mail.example.net" || !h.addr.IsValid() || h.addr.Zone() != "" || h.line < 1 || h.line > strings.Count(text, "\n")+1 {
				t.Errorf("%q: %+v", text, h)
			}
		}
	})
}

// What a resolver on another machine says of its validation may have been changed
// on the way; a TCP connection that nobody answers may only be slow.
func TestFarResolver(t *testing.T) {
	far := resolverFunc(func(_ context.Context, name string, q dns.Type) (*dns.Answer, error) {
		a := &dns.Answer{Question: name, Name: name, Type: q, Outcome: dns.Present, Rcode: "NOERROR", Server: "192.0.2.53:53"}
		if name == "dnssec-failed.org" {
			a.Outcome, a.Rcode = dns.Temp, "SERVFAIL"
		}
		return a, nil
	})
	lines := func(context.Context) []dns.Line {
		return []dns.Line{{Server: netip.MustParseAddrPort("192.0.2.53:53"), Err: "timeout"}, {Server: netip.MustParseAddrPort("192.0.2.54:53")}}
	}
	fs, _ := Run(t.Context(), &Plan{}, Outside{DNS: far, Lines: lines})
	for _, f := range fs {
		switch {
		case f.Check == dnsValidates && (f.Status != Fail || !strings.Contains(f.Found, "comes over the network")):
			t.Errorf("%s: %q", f.Status, f.Found)
		case f.Check == dnsTCP && (f.Status != Unknown || f.Found != "TCP to 192.0.2.53:53: timeout"):
			t.Errorf("%s: %q", f.Status, f.Found)
		}
	}
}

// Whoever looks for a resolver that does not answer is told which was asked.
func TestSilentResolversAreNamed(t *testing.T) {
	silent := resolverFunc(func(_ context.Context, name string, q dns.Type) (*dns.Answer, error) {
		return &dns.Answer{Question: name, Name: name, Type: q, Outcome: dns.Temp, Detail: "timeout"}, dns.ErrTemporary
	})
	for servers, want := range map[string]string{
		"":                                 "no resolver answered (timeout)",
		"192.0.2.53:53":                    "192.0.2.53 gave no answer (timeout)",
		"192.0.2.53:53 [2001:db8::1]:5300": "none of 192.0.2.53, [2001:db8::1]:5300 gave an answer (timeout)",
	} {
		var all []netip.AddrPort
		for _, s := range strings.Fields(servers) {
			all = append(all, netip.MustParseAddrPort(s))
		}
		fs, _ := Run(t.Context(), &Plan{}, Outside{DNS: silent, Resolvers: func() []netip.AddrPort { return all }})
		if i := slices.IndexFunc(fs, func(f Finding) bool { return f.Check == dnsReachable }); fs[i].Status != Unknown || fs[i].Found != want {
			t.Errorf("%s: %q, want %q", fs[i].Status, fs[i].Found, want)
		}
	}
}

// The name made up to try the resolver is another one each time: it is not shown.
func TestMadeUpNamesAreNotShown(t *testing.T) {
	var made []string
	var mu sync.Mutex
	silent := resolverFunc(func(_ context.Context, name string, q dns.Type) (*dns.Answer, error) {
		a := &dns.Answer{Question: name, Name: name, Type: q, Outcome: dns.Present, Rcode: "NOERROR", Server: "127.0.0.1:53"}
		if label, up, _ := strings.Cut(name, "."); len(label) > 20 && (up == "com" || up == "arpa") {
			mu.Lock()
			made = append(made, label)
			mu.Unlock()
			a.Outcome, a.Rcode, a.Detail = dns.Temp, "", "timeout"
			return a, &dns.Error{Name: name, Type: q, Outcome: dns.Temp, Detail: a.Detail}
		}
		return a, nil
	})
	fs, _ := Run(t.Context(), &Plan{}, Outside{DNS: silent})
	for _, f := range fs {
		if f.Check != dnsHonest {
			continue
		}
		said := f.Found + f.Remedy.Title + strings.Join(f.Remedy.Steps, " ")
		if f.Status != Unknown || len(made) == 0 || strings.Contains(said, made[0]) || !strings.Contains(said, "timeout") {
			t.Errorf("%s: %s", f.Status, said)
		}
	}
}

func TestPublicResolver(t *testing.T) {
	for addr, want := range map[string]string{
		"8.8.8.8": "Google", "2a00:1450:400c::1": "Google", "172.70.1.1": "Cloudflare",
		"208.67.222.222": "Cisco OpenDNS", "2620:fe::fe": "Quad9", "192.0.2.53": "", "2001:db8::53": "",
		"34.64.2.1": "Google", "34.64.3.1": "", "74.80.65.1": "Quad9", "155.190.17.1": "Cisco OpenDNS",
	} {
		if got := publicResolver(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

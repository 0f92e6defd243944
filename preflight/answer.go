package preflight

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"smtprelay/preflight/dns"
)

// family is the type of the records that hold an address.
func family(a netip.Addr) dns.Type {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "A"
	}
	return "AAAA"
}

// holds tells whether an answer has an address among its records.
func holds(a *dns.Answer, addr netip.Addr) bool {
	for _, r := range a.Records {
		if r.Addr == addr {
			return true
		}
	}
	return false
}

func addrs(a *dns.Answer) []netip.Addr {
	var all []netip.Addr
	for _, r := range a.Records {
		all = append(all, r.Addr)
	}
	return all
}

func hosts(a *dns.Answer) []string {
	var all []string
	for _, r := range a.Records {
		all = append(all, r.Host)
	}
	return all
}

func list[T any](all []T) string {
	var b strings.Builder
	for i, v := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, v)
	}
	return b.String()
}

func definite(a *dns.Answer) bool { return a.Outcome != dns.Temp }

// absent is a denial, one way or the other.
func absent(a *dns.Answer) bool { return a.Outcome == dns.NoData || a.Outcome == dns.NoName }

func question(a *dns.Answer) string { return a.Question + ". " + typeName(a.Type) }

// outcome is an answer in a few words: its data, or why there are none.
func outcome(a *dns.Answer) string {
	switch a.Outcome {
	case dns.Present:
		var all []string
		for _, r := range a.Records {
			all = append(all, data(r))
		}
		return list(all)
	case dns.NoName:
		return "NXDOMAIN"
	case dns.NoData:
		return "NODATA"
	case dns.Broken:
		return "broken: " + cmp.Or(a.Detail, "an alias leads nowhere")
	}
	if a.Rcode == "" || a.Rcode == "NOERROR" || a.Rcode == "NXDOMAIN" {
		return cmp.Or(a.Detail, "no answer")
	}
	if a.Detail == "" || strings.Contains(a.Detail, a.Rcode) {
		return cmp.Or(a.Detail, a.Rcode)
	}
	return a.Rcode + ": " + a.Detail
}

// data is a record's data in presentation form, names absolute.
func data(r dns.RR) string {
	switch r.Type {
	case dns.TypeA, dns.TypeAAAA:
		return r.Addr.String()
	case dns.TypeTXT, dns.TypeSPF:
		return Quote(r.Text)
	case dns.TypeMX:
		return fmt.Sprintf("%d %s.", r.Pref, r.Host)
	}
	return r.Host + "."
}

func typeName(t dns.Type) string {
	switch t {
	case dns.TypeA:
		return "A"
	case dns.TypeNS:
		return "NS"
	case dns.TypeCNAME:
		return "CNAME"
	case dns.TypeSOA:
		return "SOA"
	case dns.TypePTR:
		return "PTR"
	case dns.TypeMX:
		return "MX"
	case dns.TypeTXT:
		return "TXT"
	case dns.TypeAAAA:
		return "AAAA"
	case dns.TypeSPF:
		return "SPF"
	}
	return fmt.Sprintf("TYPE%d", t)
}

// Results, the short way.

func pass(format string, a ...any) Result {
	return Result{Status: Pass, Found: fmt.Sprintf(format, a...)}
}

func fail(r Remedy, expected, format string, a ...any) Result {
	return Result{Status: Fail, Found: fmt.Sprintf(format, a...), Expected: expected, Remedy: r}
}

// unknown is the result when an answer that matters did not come.
func unknown(expected string, a *dns.Answer) Result {
	r := Result{Status: Unknown, Found: question(a) + ": " + outcome(a), Expected: expected}
	if addr, ok := unreversed(a.Question); ok && addr.Is6() { // 72 characters say no more
		r.Found = "the name of " + addr.String() + ": " + outcome(a)
	}
	r.Remedy = Remedy{
		Title: "Find out why DNS has no answer to what is asked", // one remedy for all such questions
		Steps: []string{fmt.Sprintf("dig %s %s", a.Question, strings.ToLower(typeName(a.Type)))},
	}
	return r
}

// unreversed is the address that a whole name of the reverse tree stands for.
func unreversed(name string) (netip.Addr, bool) {
	for _, tree := range []struct {
		top    string
		labels int
	}{{".in-addr.arpa", 4}, {".ip6.arpa", 32}} {
		digits, ok := strings.CutSuffix(name, tree.top)
		if !ok || strings.Count(digits, ".") != tree.labels-1 {
			continue
		}
		labels := strings.Split(digits, ".")
		slices.Reverse(labels)
		text := strings.Join(labels, ".")
		if tree.labels == 32 {
			text = ""
			for four := range slices.Chunk(labels, 4) {
				text += ":" + strings.Join(four, "")
			}
			text = text[1:]
		}
		a, err := netip.ParseAddr(text)
		return a, err == nil
	}
	return netip.Addr{}, false
}

func skip(because string) Result { return Result{Status: Skip, Because: because} }

// awaits skips until another check passes. The run turns the id into WaitsFor.
func awaits(id string) Result { return Result{Status: Skip, Because: id} }

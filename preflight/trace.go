package preflight

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"smtprelay/preflight/dns"
)

// Trace is the way from the root of DNS to the name of a source's address.
type Trace struct {
	Source string
	Addr   netip.Addr
	dns.Trace
}

// Walks goes to the reverse name of each source, all at the same time; the Trace of
// one whose address is not known has none. It takes 20 s at most.
func Walks(ctx context.Context, p *Plan, o Outside) []Trace {
	var traces []Trace
	for i := range p.Sources {
		traces = append(traces, Trace{Source: p.Sources[i].Name, Addr: p.egress(&p.Sources[i])})
	}
	memo := dns.NewMemo(o.DNS) // sources mostly share their roots
	var all sync.WaitGroup
	for i := range traces {
		t := &traces[i]
		if !t.Addr.IsValid() || o.Asker == nil {
			continue
		}
		all.Go(func() { t.Trace = dns.Walk(ctx, memo, o.Asker, o.AuthorityPort, dns.Reverse(t.Addr), dns.TypePTR) })
	}
	all.Wait()
	return traces
}

// WriteTraces prints them for people: each zone on the way, what each of its servers
// said, and where the way ends.
func WriteTraces(w io.Writer, traces []Trace, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	t := &text{o: o}
	for _, tr := range traces {
		t.gap()
		if !tr.Addr.IsValid() {
			t.right(" From the root to no name: the address is not known", tr.Source)
			continue
		}
		t.right(fmt.Sprintf(" From the root to %s", tr.Addr), tr.Source)
		t.para(3, tr.Name+" "+typeName(tr.Type))
		t.trace(tr)
	}
	_, err := w.Write(t.b.Bytes())
	return err
}

func (t *text) trace(tr Trace) {
	zone, name, widest := "", "", 0
	for _, s := range tr.Steps {
		widest = max(widest, min(len(s.Host), 28))
	}
	for i, s := range tr.Steps {
		if i == 0 || s.Zone != zone || s.Answer.Question != name {
			t.gap()
			if s.Answer.Question != name && i > 0 {
				t.para(3, "and on to "+s.Answer.Question)
				t.gap()
			}
			zone, name = s.Zone, s.Answer.Question
			t.para(3, cmp.Or(zone, "the root"))
		}
		t.hop(s, widest)
	}
	t.gap()
	t.para(3, "The way ends at "+cmp.Or(tr.Zone.Name, "the root")+": "+outcome(tr.Answer))
	t.steps([]string{fmt.Sprintf("dig %s ptr +trace", tr.Name)})
}

// hop is a server and what it said, side by side where both fit.
func (t *text) hop(s dns.Step, widest int) {
	mark := map[dns.Kind]string{dns.Silent: "?", dns.Lame: "✗", dns.Failed: "?", dns.Referred: "✓", dns.Aliased: "✓", dns.Answered: "✓"}[s.Kind]
	if t.o.ASCII {
		mark = fmt.Sprintf("%-4s", map[string]string{"?": "??", "✗": "FAIL", "✓": "ok"}[mark])
	}
	lead := fmt.Sprintf("     %s %-*s  ", mark, widest, clean(s.Host, t.o.ASCII))
	what := clean(said(s), t.o.ASCII)
	if s.Answer.Server != "" {
		what += fmt.Sprintf(", %d ms", s.Answer.RTT.Milliseconds())
	}
	beside := width(lead)+width(what) <= t.o.Width
	painted := strings.Replace(lead, mark, t.paintMark(mark), 1)
	if beside {
		t.line(painted + what)
		return
	}
	t.line(painted)
	indent := 9
	if width(what) > t.o.Width-indent {
		indent = 5 // names of IPv6 addresses have 72 columns
	}
	t.para(indent, what)
}

type jsonTrace struct {
	Source string     `json:"source"`
	Addr   string     `json:"addr"`
	Q      string     `json:"q"`
	Zone   string     `json:"zone"` // where the way ends
	Answer string     `json:"answer"`
	Rcode  string     `json:"rcode,omitempty"`
	Steps  []jsonStep `json:"steps"`
}

type jsonStep struct {
	Zone   string   `json:"zone"`
	NS     string   `json:"ns"`
	Server string   `json:"server,omitempty"`
	Q      string   `json:"q"`
	Result string   `json:"result"` // referral, alias, answer, lame, failed, silent
	Said   string   `json:"said"`
	Rcode  string   `json:"rcode,omitempty"`
	To     string   `json:"to,omitempty"` // the zone referred to
	ToNS   []string `json:"to_ns,omitempty"`
	MS     int64    `json:"ms"`
}

func jsonTraces(traces []Trace) (all []jsonTrace) {
	for _, t := range traces {
		if !t.Addr.IsValid() {
			continue
		}
		j := jsonTrace{t.Source, t.Addr.String(), t.Name + ". " + typeName(t.Type), t.Zone.Name + ".", outcome(t.Answer), t.Answer.Rcode, []jsonStep{}}
		for _, s := range t.Steps {
			a := s.Answer
			step := jsonStep{Zone: s.Zone + ".", NS: s.Host + ".", Server: a.Server, Q: question(a), Result: s.Kind.String(), Said: said(s), Rcode: a.Rcode, MS: a.RTT.Milliseconds()}
			if s.Kind == dns.Referred {
				step.To = absolute(a.Referral.Name)
				for _, host := range (delegation{Zone: *a.Referral}).hosts() {
					step.ToNS = append(step.ToNS, absolute(host))
				}
			}
			j.Steps = append(j.Steps, step)
		}
		all = append(all, j)
	}
	return all
}

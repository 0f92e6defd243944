package preflight

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// The report for programs. Its fields are only ever added to; a change that
// older readers would misread raises the schema.

const jsonSchema = 1

type jsonReport struct {
	Schema     int             `json:"schema"`
	Run        string          `json:"run,omitempty"`
	At         time.Time       `json:"at"`
	Host       string          `json:"host"`
	Took       int64           `json:"ms"`
	Overall    Status          `json:"overall"`
	Exit       int             `json:"exit"`
	Action     string          `json:"action"`
	Sources    []jsonSource    `json:"sources"`
	Senders    []jsonSender    `json:"senders"`
	SmartHosts []jsonSmartHost `json:"smarthosts"`
	Resolver   jsonResolver    `json:"resolver"`
	Next       time.Time       `json:"next,omitzero"`
	Trace      []jsonTrace     `json:"trace,omitempty"` // where it was asked for
	Supposed   []string        `json:"supposed,omitempty"`
}

type jsonVerdict struct {
	Verdict  Status        `json:"verdict"`
	Because  []string      `json:"because"`
	Stale    bool          `json:"stale"`
	Action   string        `json:"action"`
	Findings []jsonFinding `json:"findings"`
}

type jsonSource struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
	EHLO string `json:"ehlo"`
	jsonVerdict
}

type jsonSender struct {
	Domain   string `json:"domain"`
	Envelope string `json:"envelope"`
	jsonVerdict
}

type jsonSmartHost struct {
	Name string `json:"name"`
	jsonVerdict
}

type jsonResolver struct {
	Questions int           `json:"questions"`
	Findings  []jsonFinding `json:"findings"`
}

type jsonFinding struct {
	ID        string       `json:"id"`
	Title     string       `json:"title"`
	Status    Status       `json:"status"`
	Severity  Severity     `json:"severity"`
	Base      Severity     `json:"base_severity"` // the check's own
	Varies    string       `json:"varies,omitempty"`
	Source    string       `json:"source,omitempty"`
	Addr      string       `json:"addr,omitempty"`
	EHLO      string       `json:"ehlo,omitempty"`
	Domain    string       `json:"domain,omitempty"`
	SmartHost string       `json:"smarthost,omitempty"`
	Found     string       `json:"found"`
	Expected  string       `json:"expected"`
	WaitsFor  string       `json:"waits_for,omitempty"`
	Because   string       `json:"because,omitempty"`
	Why       string       `json:"why"`
	Refs      []string     `json:"refs"`
	Remedy    string       `json:"remedy,omitempty"` // the first record, else the setting or the title
	Who       string       `json:"who,omitempty"`
	OwnerZone string       `json:"owner_zone,omitempty"` // where the records stand
	OwnerNS   []string     `json:"owner_ns,omitempty"`
	Records   []jsonRecord `json:"records"`
	Message   string       `json:"message,omitempty"`
	Setting   string       `json:"setting,omitempty"`
	Under     string       `json:"setting_under,omitempty"`
	Instead   string       `json:"setting_if,omitempty"`
	Steps     []string     `json:"steps"`
	DNS       *jsonDNS     `json:"dns,omitempty"` // the last of the questions it rests on
	Evidence  []jsonDNS    `json:"evidence"`
	Since     time.Time    `json:"since,omitzero"`

	ContradictedBy []string `json:"contradicted_by,omitempty"`
}

type jsonRecord struct {
	Do       Change `json:"do"`
	Owner    string `json:"owner"`
	TTL      int64  `json:"ttl"`
	Type     string `json:"type"`
	Data     string `json:"data"`
	ZoneFile string `json:"zone_file"`
}

type jsonDNS struct {
	Q      string `json:"q"`
	Answer string `json:"answer"`
	Rcode  string `json:"rcode,omitempty"`
	NegTTL int64  `json:"neg_ttl,omitempty"`
	Server string `json:"server,omitempty"`
	MS     int64  `json:"ms"`
	Second string `json:"second_opinion,omitempty"` // what the authoritative servers said
}

// WriteJSON prints the report as one JSON object.
func WriteJSON(w io.Writer, r *Report) error {
	out := jsonReport{
		Schema: jsonSchema, Run: r.Run, At: r.At.UTC(), Host: r.Host, Took: r.Took.Milliseconds(),
		Overall: r.Overall, Exit: r.Exit(), Action: r.Action, Next: r.Next, Supposed: r.Supposed, Trace: jsonTraces(r.Traces),
		Sources: []jsonSource{}, Senders: []jsonSender{}, SmartHosts: []jsonSmartHost{},
		Resolver: jsonResolver{Questions: r.Questions, Findings: r.jsonFindings(r.HostFindings)},
	}
	if !out.Next.IsZero() {
		out.Next = out.Next.UTC()
	}
	// A verdict stands at the place of its subject in the plan.
	for i, v := range r.Sources {
		s := &r.Plan.Sources[i]
		out.Sources = append(out.Sources, jsonSource{v.Name, s.shown(), s.EHLO, r.jsonVerdict(v)})
	}
	for i, v := range r.Senders {
		s := &r.Plan.Senders[i]
		out.Senders = append(out.Senders, jsonSender{v.Name, s.envelope(), r.jsonVerdict(v)})
	}
	for _, v := range r.SmartHosts {
		out.SmartHosts = append(out.SmartHosts, jsonSmartHost{v.Name, r.jsonVerdict(v)})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		return fmt.Errorf("print the preflight report: %w", err)
	}
	return nil
}

func (r *Report) jsonVerdict(v Verdict) jsonVerdict {
	return jsonVerdict{v.Status, append([]string{}, v.Because...), v.Stale, v.Action, r.jsonFindings(v.Findings)}
}

func (r *Report) jsonFindings(fs []Finding) []jsonFinding {
	out := make([]jsonFinding, 0, len(fs))
	for _, f := range fs {
		j := jsonFinding{
			ID: f.Check.ID, Title: f.Check.Title, Status: f.Status, Severity: f.Severity, Base: f.Check.Severity, Varies: f.Check.Varies,
			Source: f.Source, Domain: f.Sender, SmartHost: f.SmartHost,
			Found: f.Found, Expected: f.Expected, WaitsFor: f.WaitsFor, Because: f.Because,
			Why: f.Check.Why, Refs: append([]string{}, refs(f.Check.Ref)...),
			Remedy: f.Remedy.line(), Who: f.Remedy.Who, Message: f.Remedy.Message, Setting: f.Remedy.Setting, Under: f.Remedy.Under, Instead: f.Remedy.Instead,
			Steps: append([]string{}, f.Remedy.Steps...), Records: []jsonRecord{}, Evidence: []jsonDNS{},
			Since: f.Since.UTC(), ContradictedBy: f.ContradictedBy,
		}
		j.OwnerZone, j.OwnerNS = f.Remedy.owner()
		for i := range r.Plan.Sources {
			if s := &r.Plan.Sources[i]; s.Name == f.Source {
				j.Addr, j.EHLO = s.shown(), s.EHLO
			}
		}
		for _, rec := range f.Remedy.Records {
			j.Records = append(j.Records, jsonRecord{rec.Do, rec.Owner + ".", int64(rec.TTL / time.Second), rec.Type, rec.Data, rec.String()})
		}
		for _, e := range f.Evidence {
			j.Evidence = append(j.Evidence, jsonDNS{e.Question, e.Answer, e.Rcode, int64(e.NegTTL / time.Second), e.Server, e.Took.Milliseconds(), e.Second})
		}
		if n := len(j.Evidence); n > 0 {
			j.DNS = &j.Evidence[n-1]
		}
		out = append(out, j)
	}
	return out
}

// refs takes a list of references apart.
func refs(ref string) (all []string) {
	for part := range strings.SplitSeq(ref, ";") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

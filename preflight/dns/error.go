package dns

import "fmt"

var outcomes = map[Outcome]string{Temp: "temporary", Present: "present", NoData: "NODATA", NoName: "NXDOMAIN", Broken: "broken"}

func (o Outcome) String() string { return outcomes[o] }

// Definite tells whether asking again at once would bring the same.
func (o Outcome) Definite() bool { return o != Temp }

var types = map[Type]string{TypeA: "A", TypeNS: "NS", TypeCNAME: "CNAME", TypeSOA: "SOA", TypePTR: "PTR", TypeMX: "MX", TypeTXT: "TXT", TypeAAAA: "AAAA"}

// String is the type as zone files write it; TYPE52 for one that has no name here (RFC 3597 section 5).
func (t Type) String() string {
	if s, ok := types[t]; ok {
		return s
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}

// Error is one line: "PTR 25.2.0.192.in-addr.arpa: NXDOMAIN".
func (e *Error) Error() string {
	name := e.Name
	if name == "" {
		name = "."
	}
	detail := e.Detail
	if detail == "" {
		detail = e.Outcome.String()
	}
	return fmt.Sprintf("%s %s: %s", e.Type, name, detail)
}

// Is makes errors.Is tell what kind of failure it was.
func (e *Error) Is(target error) bool {
	switch e.Outcome {
	case NoData, NoName:
		return target == ErrNotFound
	case Broken:
		return target == ErrBroken
	default:
		return target == ErrTemporary
	}
}

// failure is the error of an answer: nil exactly when there is data.
func (a *Answer) failure() error {
	if a.Outcome == Present {
		return nil
	}
	return &Error{Name: a.Question, Type: a.Type, Outcome: a.Outcome, Detail: a.why()}
}

// why says in a word or a line why there is no data.
func (a *Answer) why() string {
	switch {
	case a.Outcome == NoData || a.Outcome == NoName:
		return a.Outcome.String()
	case a.Outcome == Temp && a.Rcode != "" && a.Rcode != "NOERROR" && a.Rcode != "NXDOMAIN":
		return join(a.Rcode, a.Detail)
	}
	return a.Detail
}

package dns

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Overlay answers as if edits of the zones had been made: what is set stands
// there, what is taken away does not, and all else is asked for.
type Overlay struct {
	r     Resolver
	a     Asker
	edits []Edit
}

// NewOverlay puts edits before a resolver and an asker; the asker may be nil
// if nobody asks it.
func NewOverlay(r Resolver, a Asker, edits []Edit) *Overlay { return &Overlay{r, a, edits} }

// supposedTTL is the life of records that nobody has published.
const supposedTTL = 5 * time.Minute

// Query answers like a resolver that sees the edited zones.
func (o *Overlay) Query(ctx context.Context, name string, t Type) (*Answer, error) {
	a, open := blank(name, t)
	for open {
		below, _ := o.r.Query(ctx, a.Name, t)
		a, open = o.step(a, below)
	}
	return a.finish()
}

// Ask answers like an authoritative server of the edited zones: an alias that
// an edit makes, or that leads to a name with an edit, is not followed.
func (o *Overlay) Ask(ctx context.Context, server netip.AddrPort, name string, t Type) (*Answer, error) {
	below, err := o.a.Ask(ctx, server, name, t)
	if !o.edited(below.Question) && !slices.ContainsFunc(below.Chain, o.edited) && (below.Outcome != NoName || !o.holdsBelow(below.Question)) {
		return below, err
	}
	a, _ := blank(name, t)
	a, open := o.step(a, below)
	if open {
		a.Outcome, a.Detail = Temp, "alias of "+a.Name
	}
	a.Secure, a.Auth = false, below.Auth || below.Outcome.Definite()
	return a.finish()
}

// step takes an answer on by what stands below, which was asked for its name.
// It returns true when an alias leads to a name that is to be asked for.
func (o *Overlay) step(a Answer, below *Answer) (Answer, bool) {
	a.Rcode, a.Detail, a.Server, a.RTT, a.TCP, a.Auth = below.Rcode, below.Detail, below.Server, a.RTT+below.RTT, below.TCP, below.Auth
	if !o.edited(a.Name) {
		for _, to := range below.Chain {
			if a.TTL = min(a.TTL, max(below.TTL, 0)); !a.follow(to) {
				return a, false
			}
			if o.edited(to) {
				return a, true
			}
		}
		a.Outcome, a.Records, a.TTL = below.Outcome, below.Records, min(a.TTL, below.TTL)
		a.Zone, a.NegTTL, a.Secure = below.Zone, below.NegTTL, a.Secure && below.Secure
		if a.Outcome == NoName && o.holdsBelow(a.Name) {
			a.Outcome, a.Rcode = NoData, "NOERROR"
		}
		return a, false
	}
	a.Secure = false
	if to, ok := o.alias(a, below); ok {
		return a, a.follow(to)
	}
	return o.at(a, below), false
}

// alias tells where the name of an answer leads, if it is an alias: one that is
// set, or one that stands and that no edit takes away or takes the place of.
func (o *Overlay) alias(a Answer, below *Answer) (to string, ok bool) {
	if a.Type == TypeCNAME {
		return "", false
	}
	if len(below.Chain) > 0 {
		to, ok = below.Chain[0], true
	}
	for _, e := range o.edits {
		switch {
		case e.RR.Name != a.Name:
		case e.Do == Away:
			if e.RR.Type == TypeCNAME && (e.Bare || e.RR.Host == to) {
				ok = false
			}
		default: // a record stands beside no alias (RFC 1034 section 3.6.2)
			to, ok = e.RR.Host, e.RR.Type == TypeCNAME
		}
	}
	return to, ok
}

// at is the answer at a name that has edits and is no alias.
func (o *Overlay) at(a Answer, below *Answer) Answer {
	a.Zone, a.NegTTL, a.Outcome = below.Zone, below.NegTTL, below.Outcome
	stood := below.Outcome == Present && len(below.Chain) == 0
	a.Records = nil
	exists := below.Outcome != NoName || len(below.Chain) > 0
	if stood {
		a.TTL = min(a.TTL, below.TTL)
		a.Records = slices.DeleteFunc(slices.Clone(below.Records), func(rr RR) bool { return o.gone(a.Name, rr) })
	}
	for _, e := range o.edits {
		if e.Do == Away || e.RR.Name != a.Name {
			continue
		}
		exists = true
		if rr := e.RR; rr.Type == a.Type && !slices.ContainsFunc(a.Records, func(r RR) bool { return alike(r, rr) }) {
			rr.TTL, a.TTL = supposedTTL, min(a.TTL, supposedTTL)
			a.Records = append(a.Records, rr)
		}
	}
	switch {
	case len(a.Records) > 0:
		a.Outcome, a.Rcode, a.Detail, a.Zone, a.NegTTL = Present, "NOERROR", "", "", 0
	case below.Outcome == Temp && len(below.Chain) == 0:
	case exists || o.holdsBelow(a.Name):
		a.Outcome, a.Rcode, a.Detail = NoData, "NOERROR", ""
	default:
		a.Outcome, a.Rcode, a.Detail = NoName, "NXDOMAIN", ""
	}
	return a
}

// gone tells whether an edit takes a record away, or its place.
func (o *Overlay) gone(name string, rr RR) bool {
	return slices.ContainsFunc(o.edits, func(e Edit) bool {
		switch {
		case e.RR.Name != name:
			return false
		case e.RR.Type != rr.Type: // nothing stands beside an alias
			return e.Do != Away && (e.RR.Type == TypeCNAME || rr.Type == TypeCNAME)
		case e.Do == Beside:
			return false
		case e.Do == Away:
			return e.Bare || alike(e.RR, rr)
		case rr.Type == TypeTXT: // a name has texts of several kinds
			return kind(e.RR.Text) == kind(rr.Text)
		}
		return true
	})
}

// kind of a text is its first word: "v=spf1", "v=dmarc1".
func kind(text string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(text), ";", " "), " ")
	return strings.ToLower(first)
}

func alike(a, b RR) bool {
	a.TTL, b.TTL = 0, 0
	return a == b
}

func (o *Overlay) edited(name string) bool {
	return slices.ContainsFunc(o.edits, func(e Edit) bool { return e.RR.Name == name })
}

// holdsBelow tells whether a record is set below a name, which exists then.
func (o *Overlay) holdsBelow(name string) bool {
	return slices.ContainsFunc(o.edits, func(e Edit) bool {
		return e.Do != Away && e.RR.Name != name && within(e.RR.Name, name)
	})
}

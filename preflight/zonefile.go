package preflight

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"smtprelay/preflight/dns"
)

// Write prints the zone as a zone file that can be loaded: records that are to
// stand are records, all else is comment. SOA and NS are those that stand, and
// where they are not known they are made up, and say so.
func (z *Zone) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "; %s\n; only what mail needs of the zone, not the whole of it\n", z.summary())
	if z.Guess != "" {
		fmt.Fprintf(&b, "; its name is a guess, for it was not found: %s\n", clean(z.Guess, true))
	}
	fmt.Fprintf(&b, "$ORIGIN %s\n$TTL %d\n", absolute(z.Name), seconds(RecordTTL))
	z.head(&b)
	b.WriteString("\n")
	for _, note := range z.Notes {
		fmt.Fprintf(&b, "; %s\n", clean(note, true))
	}
	owner := ""
	for _, r := range z.Records {
		if owner != "" && owner != r.Owner {
			b.WriteString("\n")
		}
		owner = r.Owner
		b.WriteString(r.line() + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line of a zone file.
func (r ZoneRecord) line() string {
	switch r.Is {
	case Missing:
		return r.String() + " ; missing: to be added"
	case Differs:
		return r.String() + " ; missing: something else stands there"
	case Goes:
		return "; to be deleted: " + r.String()
	}
	return r.String() + " ; stands"
}

// summary is the zone in a line.
func (z *Zone) summary() string {
	count := map[RecordState]int{}
	for _, r := range z.Records {
		count[r.Is]++
	}
	var said []string
	for _, s := range []struct {
		is   RecordState
		word string
	}{{Stands, "stand"}, {Missing, "to be added"}, {Differs, "to be put in place of others"}, {Goes, "to be deleted"}} {
		if n := count[s.is]; n > 0 {
			said = append(said, fmt.Sprintf("%d %s", n, s.word))
		}
	}
	what := strings.Join(said, ", ")
	if what == "" {
		what = "no record of it is known, none is asked for"
		if z.Guess != "" {
			what = "it does not answer, so what stands there is not known"
		}
	}
	return "zone " + cmp.Or(z.Name, "the root") + ": " + what
}

// head is what every zone has at its top, and the addresses of name servers
// inside it, without which it cannot be loaded.
func (z *Zone) head(b *strings.Builder) {
	if z.soa != nil {
		s := z.soa
		fmt.Fprintf(b, "%s %d IN SOA %s %s %d %d %d %d %d\n", absolute(z.Name), seconds(s.TTL), absolute(s.Host), absolute(s.Mailbox),
			s.Serial, seconds(s.Refresh), seconds(s.Retry), seconds(s.Expire), seconds(s.Minimum))
	} else {
		fmt.Fprintf(b, "%s 3600 IN SOA ns.invalid. hostmaster.invalid. 1 7200 900 1209600 900 ; made up: the real one is not known\n", absolute(z.Name))
	}
	lame := func(s dns.NameServer) bool { return z.holds(s.Host) && len(s.Addrs) == 0 }
	if !slices.ContainsFunc(z.servers, func(s dns.NameServer) bool { return !lame(s) }) {
		fmt.Fprintf(b, "%s 3600 IN NS ns.invalid. ; made up: the real ones are not known\n", absolute(z.Name))
	}
	for _, s := range z.servers {
		ns := fmt.Sprintf("%s %d IN NS %s", absolute(z.Name), seconds(z.life(z.Name, "NS")), absolute(s.Host))
		if lame(s) {
			fmt.Fprintf(b, "; has no address: %s\n", ns)
		} else {
			fmt.Fprintf(b, "%s ; stands\n", ns)
		}
	}
	for _, s := range z.servers {
		z.glue(b, s)
	}
}

// life of the records at its top.
func (z *Zone) life(owner, kind string) time.Duration {
	return cmp.Or(z.ttl[owner+" "+kind], RecordTTL)
}

// holds tells whether a name is inside the zone.
func (z *Zone) holds(name string) bool {
	return z.Name == "" || name == z.Name || strings.HasSuffix(name, "."+z.Name)
}

func (z *Zone) glue(b *strings.Builder, s dns.NameServer) {
	if !z.holds(s.Host) {
		return
	}
	for _, a := range s.Addrs {
		rec := Record{Owner: s.Host, TTL: z.life(s.Host, familyName(a)), Type: familyName(a), Data: a.String()}
		same := func(r ZoneRecord) bool {
			return r.Owner == rec.Owner && r.Type == rec.Type && r.Data == rec.Data && r.Is != Goes
		}
		if !slices.ContainsFunc(z.Records, same) {
			fmt.Fprintf(b, "%s ; stands\n", rec)
		}
	}
}

// WriteZones prints all zones, one after the other, each to be cut out.
func WriteZones(w io.Writer, all []*Zone) error {
	for i, z := range all {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := z.Write(w); err != nil {
			return fmt.Errorf("print zone %s: %w", cmp.Or(z.Name, "."), err)
		}
	}
	return nil
}

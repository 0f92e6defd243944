package preflight

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// String is the record as a line of a zone file, names absolute, long texts in
// several strings. It is never wrapped: it is there to be copied.
func (r Record) String() string {
	return fmt.Sprintf("%s. %d IN %s %s", r.Owner, int64(r.TTL/time.Second), r.Type, r.Data)
}

// line is the first thing to do, for a log line.
func (r Remedy) line() string {
	if len(r.Records) > 0 {
		rec := r.Records[0]
		if rec.Do == Remove {
			return "remove " + rec.String()
		}
		return rec.String()
	}
	return cmp.Or(strings.ReplaceAll(r.Setting, "\n", " "), r.Title)
}

// owner is the zone of the records and its name servers, names absolute.
func (r Remedy) owner() (zone string, servers []string) {
	if r.Zone != "" {
		zone = absolute(r.Zone)
	}
	for _, s := range r.Servers {
		servers = append(servers, absolute(s))
	}
	return zone, servers
}

// shown is the address that stands for a source in reports.
func (s *Source) shown() string { return cmp.Or(s.Public, s.Bind) }

// v6 tells whether a source sends over IPv6.
func (s *Source) v6() bool {
	a, err := netip.ParseAddr(s.shown())
	return err == nil && a.Is6() && !a.Is4In6()
}

func (s *Sender) envelope() string {
	if s.null() {
		return s.Domain
	}
	return cmp.Or(s.Envelope, s.Domain)
}

// nullSender stands for MAIL FROM:<>.
const nullSender = "<>"

func (s *Sender) null() bool { return s.Envelope == nullSender }

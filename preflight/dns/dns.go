// Package dns says what DNS says, and how surely. Client asks recursive resolvers and
// single servers; typed lookups and the search for the zone behind a name work over any
// Resolver. An answer is data, a denial, broken, or temporary: whatever is neither data
// nor a proper denial is temporary, and never a reason to fail anybody. Names are
// canonical everywhere: lower case, A-labels, no final dot.
package dns

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Type of a resource record, as on the wire.
type Type uint16

const (
	TypeA     Type = 1
	TypeNS    Type = 2
	TypeCNAME Type = 5
	TypeSOA   Type = 6
	TypePTR   Type = 12
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSPF   Type = 99 // of old, RFC 7208 section 3.1
)

// Outcome of a question. All but Temp are definite.
type Outcome int

const (
	Temp    Outcome = iota // SERVFAIL, REFUSED, no answer, or an answer that is neither data nor a proper denial
	Present                // the type exists at the end of the chain
	NoData                 // the name exists, the type does not
	NoName                 // NXDOMAIN, of the last name of the chain (RFC 6604)
	Broken                 // CNAME loop, more than 8 links, or data that cannot be parsed
)

// RR is one record. Which fields are set depends on Type.
type RR struct {
	Name    string // owner, canonical
	Type    Type
	TTL     time.Duration
	Addr    netip.Addr    // A, AAAA
	Host    string        // PTR, CNAME, NS, MX: target, canonical; "" is the root. SOA: primary server
	Mailbox string        // SOA: RNAME as a domain name
	Pref    uint16        // MX
	Text    string        // TXT, SPF: strings joined without space (RFC 7208 section 3.3)
	Minimum time.Duration // SOA
	Serial  uint32        // SOA, and the next three
	Refresh time.Duration
	Retry   time.Duration
	Expire  time.Duration
}

// Answer is what came back, evidence included.
type Answer struct {
	Question string // canonical name asked
	Type     Type
	Outcome  Outcome
	Records  []RR          // of Type at the end of the chain
	Name     string        // end of the CNAME chain; Question when there is none
	Chain    []string      // targets of the CNAMEs followed, in order
	Under    string        // owner of the DNAME that the first of them comes from; "" if it stands in the zone itself
	TTL      time.Duration // least TTL of chain and records
	NegTTL   time.Duration // NoData, NoName: min(SOA TTL, SOA MINIMUM) (RFC 2308)
	Zone     string        // NoData, NoName: owner of the SOA in the authority section
	Rcode    string        // "NOERROR", "NXDOMAIN", "SERVFAIL", ... "" when nothing came
	Detail   string        // what else is known: EDE text, "timeout", "connection refused"
	Secure   bool          // AD was set by a resolver that is trusted to set it
	Auth     bool          // AA
	Server   string        // who answered
	RTT      time.Duration
	TCP      bool
	Mute     []string // of AskAuthority: name servers that the others had to speak for
	Referral *Zone    // Temp: the zone that the server refers to, with its servers and their glue; nil if it does not
}

var (
	// ErrNotFound: NXDOMAIN or NODATA; Error says which.
	ErrNotFound = errors.New("not found")
	// ErrBroken: the answer is definite and unusable (loop, chain too long, bad data).
	ErrBroken = errors.New("broken")
	// ErrTemporary: nothing is known; ask again later.
	ErrTemporary = errors.New("temporary")
)

// Error is the error of a question without data. errors.Is tells ErrNotFound,
// ErrBroken and ErrTemporary apart.
type Error struct {
	Name    string
	Type    Type
	Outcome Outcome
	Detail  string // "NXDOMAIN", "NODATA", "SERVFAIL: DNSSEC bogus", "timeout"
}

// Resolver asks. The Answer is never nil; the error is nil exactly when its
// Outcome is Present, and an *Error otherwise.
type Resolver interface {
	Query(ctx context.Context, name string, t Type) (*Answer, error)
}

// Asker asks one server, without recursion. Answer and error as for Resolver.
type Asker interface {
	Ask(ctx context.Context, server netip.AddrPort, name string, t Type) (*Answer, error)
}

// Set is a typed answer.
type Set[T any] struct {
	Records []T
	Name    string // end of the chain
	Chain   []string
	TTL     time.Duration
	NegTTL  time.Duration // of an error that is ErrNotFound
	Zone    string        // likewise
	Secure  bool
}

// MX is one mail exchanger. Host is "" for the null MX (RFC 7505).
type MX struct {
	Pref uint16
	Host string
}

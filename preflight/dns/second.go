package dns

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const perAuthority = 3 * time.Second // a name server, UDP and TCP together

// Voice is what one address of a zone's name servers said.
type Voice struct {
	Host string
	Addr netip.Addr
	*Answer
}

func (v Voice) String() string { return v.Host + " (" + v.Addr.String() + ")" }

// Why says in a word or a line why an answer has no data; "" if it has.
func (a *Answer) Why() string {
	if a.Outcome == Present {
		return ""
	}
	return cmp.Or(a.why(), "no answer")
}

// AskServers asks every address of every name server of the zone that a name itself
// stands in, all at once, and tells what each said, in the order of their names. The
// zone is found through r; the error is that of not finding it. Port 0 is 53.
func AskServers(ctx context.Context, r Resolver, a Asker, port uint16, name string, t Type) (Zone, []Voice, error) {
	z, err := ownZone(ctx, r, name)
	if err != nil {
		return z, nil, err
	}
	return z, askAll(ctx, a, z, cmp.Or(port, 53), name, t), nil
}

// AskAuthority asks every authoritative server of a name's zone, past all caches. The
// answer is Present when all servers that answer give equal data; a definite denial by
// one of them prevails, for a receiver may meet that one. When they differ otherwise,
// or none answers, it is ErrTemporary; Server, the name server and its address, is ""
// in the second case only. Mute names the servers that had nothing to say at any of
// their addresses (silent, SERVFAIL, REFUSED, lame) where others spoke: what these say
// may be the word of a few that are behind. An alias is followed into the zone it leads
// to. Port 0 is 53.
func AskAuthority(ctx context.Context, r Resolver, a Asker, port uint16, name string, t Type) (*Answer, error) {
	whole, open := blank(name, t)
	for open {
		whole, open = authorityStep(ctx, r, a, port, whole)
	}
	whole.Secure = false // nobody has validated
	return whole.finish()
}

func authorityStep(ctx context.Context, r Resolver, a Asker, port uint16, whole Answer) (Answer, bool) {
	z, voices, err := AskServers(ctx, r, a, port, whole.Name, whole.Type)
	if err != nil {
		whole.Outcome, whole.Server, whole.Detail = Temp, "", "find the zone: "+err.Error()
		return whole, false
	}
	one := agree(z, voices)
	whole.Outcome, whole.Rcode, whole.Detail, whole.Server = one.Outcome, one.Rcode, one.Detail, one.Server
	whole.Auth, whole.RTT, whole.TCP = one.Auth, max(whole.RTT, one.RTT), one.TCP
	whole.Mute = append(slices.Clip(whole.Mute), one.Mute...)
	if one.Outcome == Present || len(one.Chain) > 0 {
		whole.TTL = min(whole.TTL, one.TTL)
	}
	from := len(whole.Chain)
	if from == 0 {
		whole.Under = one.Under
	}
	for _, to := range one.Chain {
		if !within(whole.Name, z.Name) {
			break // what a server says of other zones is hearsay
		}
		if !whole.follow(to) {
			return whole, false
		}
	}
	home := whole.Name == one.Name && within(whole.Name, z.Name)
	if len(whole.Chain) > from && !(home && one.Outcome.Definite()) {
		return whole, true
	}
	whole.Records, whole.Zone, whole.NegTTL = one.Records, one.Zone, one.NegTTL
	return whole, false
}

// ownZone is the zone that a name itself stands in, even if it is an alias: that
// is the zone of the name above it then, for an alias heads no zone (RFC 2181 section 10.1).
func ownZone(ctx context.Context, r Resolver, name string) (Zone, error) {
	for {
		cut, aliased, err := cutOf(ctx, r, name)
		if err != nil {
			return Zone{}, err
		}
		if !aliased {
			return describe(ctx, r, cut)
		}
		name = parent(name)
	}
}

// askAll asks all addresses of all servers at once.
func askAll(ctx context.Context, a Asker, z Zone, port uint16, name string, t Type) []Voice {
	var heard []Voice
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, s := range z.Servers {
		for _, addr := range s.Addrs {
			all.Go(func() {
				answer, _ := a.Ask(ctx, netip.AddrPortFrom(addr, port), name, t)
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, Voice{s.Host, addr, answer})
			})
		}
	}
	all.Wait()
	slices.SortFunc(heard, func(a, b Voice) int { return strings.Compare(a.String(), b.String()) })
	return heard
}

// agree makes one answer of what the servers of a zone said.
func agree(z Zone, heard []Voice) Answer {
	var spoke []Voice
	var why []string
	for _, h := range heard {
		if h.spoke() {
			spoke = append(spoke, h)
		} else {
			why = append(why, h.String()+": "+h.Why())
		}
	}
	if len(spoke) == 0 {
		if len(why) == 0 {
			why = []string{"none of them has an address"}
		}
		return Answer{Outcome: Temp, Detail: fmt.Sprintf("no name server of %s answered: %s", z.Name, strings.Join(why, ", "))}
	}
	one := common(spoke)
	for _, s := range z.Servers { // over IPv6 many of us reach nobody: one of its addresses will do
		if !slices.ContainsFunc(spoke, func(v Voice) bool { return v.Host == s.Host }) {
			one.Mute = append(one.Mute, s.Host)
		}
	}
	return one
}

// spoke tells whether a server gave an answer with authority, if only that the name
// is an alias.
func (v Voice) spoke() bool { return v.Outcome.Definite() || v.Auth && len(v.Chain) > 0 }

// common is what all of them say, or a denial by one.
func common(spoke []Voice) Answer {
	for _, h := range spoke {
		if h.Outcome == NoData || h.Outcome == NoName {
			return h.answer()
		}
	}
	first := spoke[0].answer()
	for _, h := range spoke[1:] {
		if !h.Agrees(&first) {
			return Answer{Outcome: Temp, Server: first.Server, Detail: fmt.Sprintf("%s and %s differ", spoke[0], h)}
		}
		first.TTL = min(first.TTL, h.TTL)
	}
	return first
}

// answer says by name who gave it.
func (v Voice) answer() Answer {
	a := *v.Answer
	a.Server = v.String()
	return a
}

// Agrees tells whether two answers say the same, whatever their TTLs.
func (a *Answer) Agrees(b *Answer) bool {
	return a.Outcome == b.Outcome && slices.Equal(a.Chain, b.Chain) && slices.Equal(content(a.Records), content(b.Records))
}

// content is a record set in an order of its own, without TTLs.
func content(rrs []RR) []string {
	var s []string
	for _, rr := range rrs {
		rr.TTL, rr.Serial = 0, 0 // servers lag behind one another
		s = append(s, fmt.Sprintf("%+v", rr))
	}
	slices.Sort(s)
	return s
}

package dnstest

import (
	mdns "github.com/miekg/dns"
)

// flaw is what is wrong with the packets of an answer, whatever they say.
type flaw string

const (
	formerr   flaw = "formerr"   // FORMERR to a question with EDNS
	notimp    flaw = "notimp"    // NOTIMP likewise
	forged    flaw = "forged"    // over UDP, answers to other questions come first
	impostor  flaw = "impostor"  // nothing else comes
	oversized flaw = "oversized" // over UDP, more than the asker takes
	garbled   flaw = "garbled"   // over UDP, cut off in a record
	broken    flaw = "broken"    // likewise over TCP
	empty     flaw = "empty"     // neither data nor a denial
)

// send writes the reply to q.
func (r reply) send(w mdns.ResponseWriter, q *mdns.Msg, udp bool) {
	if r.flaw == forged && udp || r.flaw == impostor {
		for _, m := range forgeries(q) {
			w.WriteMsg(m)
		}
	}
	m := r.packet(q, udp)
	switch {
	case r.flaw == impostor:
	case r.flaw == garbled && udp, r.flaw == broken:
		if b, err := m.Pack(); err == nil {
			w.Write(b[:len(b)-max(1, len(b)/8)])
		}
	default:
		w.WriteMsg(m)
	}
}

// ignorant is the answer of a server that does not know EDNS, nil if it is not one.
func (r reply) ignorant(q *mdns.Msg) *mdns.Msg {
	rcode, ok := map[flaw]int{formerr: mdns.RcodeFormatError, notimp: mdns.RcodeNotImplemented}[r.flaw]
	if !ok || q.IsEdns0() == nil {
		return nil
	}
	return new(mdns.Msg).SetRcode(q, rcode)
}

// forgeries deny what is asked for, as somebody would who cannot see the question: with
// another id, name, type or class, or not as an answer at all (RFC 5452 section 9.1).
func forgeries(q *mdns.Msg) (all []*mdns.Msg) {
	for _, change := range []func(m *mdns.Msg){
		func(m *mdns.Msg) { m.Id++ },
		func(m *mdns.Msg) { m.Question[0].Name = "x." + m.Question[0].Name },
		func(m *mdns.Msg) { m.Question[0].Qtype ^= 1 },
		func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS },
		func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		func(m *mdns.Msg) { m.Question = nil },
		func(m *mdns.Msg) { m.Response = false },
		func(m *mdns.Msg) { m.Opcode = mdns.OpcodeNotify },
	} {
		m := new(mdns.Msg).SetRcode(q, mdns.RcodeNameError)
		m.Authoritative = true
		change(m)
		all = append(all, m)
	}
	return all
}

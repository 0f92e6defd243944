package deliver

import (
	"errors"
	"net"

	"smtprelay/preflight"
)

// met tells the gate how a connection to an exchanger went: what it says of us
// shows by which address we are seen. A smart host sees us another way.
func (v *voyage) met(h hop, s *session, err error, d dialogue) {
	if h.source == smartName {
		return
	}
	c := preflight.Contact{Source: h.source, Host: h.host, Addr: h.addr.Addr(), EHLO: h.ehlo, Envelope: d.envelope}
	said, answered := remote(err)
	var f *fault
	var ne net.Error
	switch {
	case err == nil:
		c.Said = s.said
	case answered:
		c.Said, c.Refused = said.text, true
	case errors.As(err, &f) && f.stage == "connect" && errors.As(err, &ne) && ne.Timeout() && v.ctx.Err() == nil:
		c.TimedOut = true
	default:
		return
	}
	v.gate.Met(c)
}

// refusedBy tells the gate of the first refusal of a transaction: they are alike.
func (v *voyage) refusedBy(s *session, ends []end, d dialogue) {
	for _, e := range ends {
		if _, answered := remote(e.err); answered {
			v.met(s.hop, s, e.err, d)
			return
		}
	}
}

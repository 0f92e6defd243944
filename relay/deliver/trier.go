package deliver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay/policy"
)

// trier tries smart hosts with the client that delivery uses.
type trier struct {
	c *client
	s *smart
}

// NewTrier is the preflight's way to a smart host. It sends no message.
func NewTrier(o Options, r dns.Resolver) preflight.Trier {
	return &trier{newClient(o), &smart{dns: r, ehlo: smartEHLO(o)}}
}

// Try connects to the addresses of s until one greets, and tells how far that
// one let us.
func (t *trier) Try(ctx context.Context, s preflight.SmartHost) preflight.Trial {
	hops, err := t.s.one(ctx, s)
	if err != nil {
		return preflight.Trial{Err: detail(err), Temporary: errors.Is(err, dns.ErrTemporary)}
	}
	var trial preflight.Trial
	for _, h := range hops {
		if trial = t.one(ctx, s, h); trial.Connected || ctx.Err() != nil {
			break
		}
	}
	return trial
}

func (t *trier) one(ctx context.Context, sh preflight.SmartHost, h hop) preflight.Trial {
	trial := preflight.Trial{Addr: h.addr}
	s, err := t.c.open(ctx, h)
	if err == nil {
		defer s.quit()
		trial.Connected, trial.TLS, trial.Authed = true, s.tlsName, s.login != nil
		if s.tlsName != "" {
			all, _ := asked(sh) // its error would have ended the try before
			err := policy.Verify(s.tls, all.Names, all.Roots)
			trial.Verified = err == nil
			if err != nil {
				trial.TLSErr = tlsWhy(err)
			}
		}
		return trial
	}
	var f *fault
	errors.As(err, &f)
	said, answered := remote(err)
	text := why(err)
	if answered {
		text = words(said)
	}
	switch f.stage {
	case "starttls":
		trial.Connected = true
		if h.need.Level >= policy.Verified {
			trial.TLSErr = text
		} else {
			trial.AuthErr = text // only the password asks for TLS
		}
	case "auth":
		trial.Connected, trial.AuthErr, trial.Refused = true, text, answered && said.code >= 500
		trial.TLS, trial.Verified = f.tls, h.need.Level >= policy.Verified
	default:
		trial.Err, trial.Temporary = text, !answered || said.code < 500
	}
	return trial
}

// words of a reply in one line: "535 5.7.8 authentication failed".
func words(r reply) string {
	q := apart(r)
	return strings.Join(strings.Fields(fmt.Sprint(q.Code, " ", q.Status, " ", q.Text)), " ")
}

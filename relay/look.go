package relay

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"smtprelay/preflight"
	"smtprelay/relay/admin"
)

// LookNow has the preflight look at once, and returns when it has: for an
// operator who has just mended something.
func (r *Relay) LookNow(ctx context.Context) error {
	_, err := r.gate.LookNow(ctx)
	return err
}

// look is LookNow for the administration socket.
func (r *Relay) look(ctx context.Context, f admin.Form) (admin.Look, error) {
	rep, err := r.gate.LookNow(ctx)
	if err != nil {
		return admin.Look{}, err
	}
	l := admin.Look{Overall: string(rep.Overall), Exit: rep.Exit()}
	if f.Strict && l.Exit == 1 {
		l.Exit = 2
	}
	var b bytes.Buffer
	switch f.As {
	case "json":
		err = preflight.WriteJSON(&b, rep)
	case "line":
		b.WriteString(StatusLine(rep) + "\n")
	default:
		err = preflight.WriteText(&b, rep, preflight.TextOptions{Colour: f.Colour, ASCII: f.ASCII, Exit: l.Exit})
	}
	l.Text = b.String()
	return l, err
}

// Vigil watches DNS for a person who is mending it. It knows nothing of a relay
// that runs.
func Vigil(o Options) *preflight.Vigil { return preflight.NewVigil(&o.Plan, outside(o, resolver(o))) }

// ErrSilence says that no resolver answered.
var ErrSilence = errors.New("DNS does not answer")

// Zones is what the configuration needs of each zone, beside what stands there.
func Zones(ctx context.Context, o Options) ([]*preflight.Zone, error) {
	all, fs := preflight.Zones(ctx, &o.Plan, outside(o, resolver(o)))
	silent := func(f preflight.Finding) bool {
		return f.Check.ID == "DNS-REACHABLE" && f.Status == preflight.Unknown
	}
	if slices.ContainsFunc(fs, silent) {
		return nil, ErrSilence
	}
	return all, ctx.Err()
}

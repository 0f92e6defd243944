package deliver

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/queue"
)

// way is the gate's word about one message: the sources that may send it, in
// the gate's order, and what it said when there was no further one.
type way struct {
	sources []preflight.Source
	final   preflight.Route
}

// maxSources bounds the questions to the gate.
const maxSources = 16

// ask the gate about a message. Sources that it was refused from are out; when
// they were the last, the checks that were named say where it goes instead.
func (d *Deliverer) ask(ctx context.Context, m *queue.Message, to string, refused, named []string) way {
	mail, tried := mailOf(m), slices.Clone(refused)
	var w way
	for range maxSources {
		r := d.gate.Route(ctx, mail, to, tried)
		if r.Source == nil {
			w.final = r
			break
		}
		if slices.Contains(tried, r.Source.Name) {
			break
		}
		w.sources = append(w.sources, *r.Source)
		tried = append(tried, r.Source.Name)
	}
	if len(refused) > 0 && !w.final.SmartHost {
		w.final = d.gate.Instead(named)
	}
	return w
}

// may tells whether the gate still lets a source send a message: hops were chosen
// some time ago, without the sources that it was refused from.
func (v *voyage) may(m *queue.Message, source string, refused []string) bool {
	return source == smartName || slices.ContainsFunc(v.ask(v.ctx, m, v.trip.Domain(), refused, nil).sources,
		func(s preflight.Source) bool { return s.Name == source })
}

// mailOf is what the gate is asked about.
func mailOf(m *queue.Message) preflight.Mail {
	mail := preflight.Mail{Author: m.Author}
	if _, domain := cut(m.Envelope.From); domain != "" {
		if mail.Envelope = strings.ToLower(domain); !strings.HasPrefix(domain, "[") {
			if c, err := dns.Canonical(domain); err == nil {
				mail.Envelope = c
			}
		}
	}
	return mail
}

// hops are the addresses to try for a job, best first, without the sources that
// it was refused from. The error is booked for every recipient.
func (v *voyage) hops(ctx context.Context, j queue.Job, refused, named []string) ([]hop, error) {
	w := v.ask(ctx, j.Message, v.trip.Domain(), refused, named)
	if len(w.sources) == 0 {
		return v.otherwise(ctx, w.final, "")
	}
	if time.Since(v.asked) > fresh {
		v.asked = time.Now()
		v.to, v.toErr = v.mx.exchangers(ctx, v.trip.Domain())
		if ctx.Err() != nil {
			v.asked = time.Time{} // cut short: the next job asks anew
		}
	}
	if v.toErr != nil {
		return nil, at("resolve", v.toErr)
	}
	senders, err := parseSources(w.sources)
	if err != nil {
		return nil, at("gate", err)
	}
	var hops []hop
	for _, x := range v.to {
		hops = append(hops, x.hops(senders)...)
	}
	if len(hops) == 0 {
		return v.otherwise(ctx, w.final, "no source for the addresses of "+v.to[0].host)
	}
	return hops, nil
}

// otherwise is the way of a message that no source can send: a smart host, or
// waiting until that changes. lack is why none can, when sources there are.
func (v *voyage) otherwise(ctx context.Context, r preflight.Route, lack string) ([]hop, error) {
	if r.SmartHost {
		return v.smart.hops(ctx)
	}
	reasons := slices.DeleteFunc([]string{lack, r.Why}, func(s string) bool { return s == "" })
	return nil, at("gate", &decision{why: cmp.Or(strings.Join(reasons, ": "), "no source may send"), wait: r.Wait, ours: true, awaits: r.Awaits})
}

// sender is a source, parsed.
type sender struct {
	preflight.Source
	bind   netip.Addr // zero: any
	v4, v6 bool       // families it can reach
}

// parseSources leaves out a source whose address is none: the preflight says so
// to the operator. It fails only when nothing is left.
func parseSources(srcs []preflight.Source) (ss []sender, err error) {
	for _, src := range srcs {
		s := sender{Source: src, v4: true, v6: true}
		if name, err := dns.Canonical(src.EHLO); err == nil && dns.IsHostname(name) {
			s.EHLO = name // as the preflight judged it
		}
		for _, text := range []string{src.Bind, src.Public} {
			if text == "" {
				continue
			}
			a, perr := netip.ParseAddr(text)
			if perr != nil {
				err = &decision{why: fmt.Sprintf("source %s: %q is not an address", src.Name, text), ours: true}
				s.v4, s.v6 = false, false
				break
			}
			a = a.Unmap()
			if text == src.Bind && !a.IsUnspecified() {
				s.bind = a
			}
			s.v4, s.v6 = a.Is4(), a.Is6()
			break
		}
		if s.v4 || s.v6 {
			ss = append(ss, s)
		}
	}
	if len(ss) > 0 {
		return ss, nil
	}
	return nil, err
}

// hops of one exchanger: at most maxAddrs, the families taking turns, beginning
// with that of the source that the gate prefers. Within a family any order is
// as good as another (RFC 5321 section 5.1).
func (x exchanger) hops(senders []sender) []hop {
	var four, six []hop
	for _, i := range rand.Perm(len(x.addrs)) {
		to := x.addrs[i]
		for _, s := range senders {
			is4 := to.Addr().Unmap().Is4()
			if is4 && !s.v4 || !is4 && !s.v6 {
				continue
			}
			h := hop{host: x.host, addr: to, source: s.Name, bind: s.bind, ehlo: s.EHLO}
			if is4 {
				four = append(four, h)
			} else {
				six = append(six, h)
			}
			break
		}
	}
	if senders[0].v6 && !senders[0].v4 {
		four, six = six, four
	}
	var all []hop
	for i := range max(len(four), len(six)) {
		all = append(all, four[min(i, len(four)):min(i+1, len(four))]...)
		all = append(all, six[min(i, len(six)):min(i+1, len(six))]...)
	}
	return all[:min(len(all), maxAddrs)]
}

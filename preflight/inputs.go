package preflight

import (
	"fmt"
	"hash/fnv"
)

// fingerprints of what the findings rest on in the configuration.
type fingerprints struct {
	sources, senders, smartHosts map[string]string
}

func inputs(p *Plan) fingerprints {
	in := fingerprints{map[string]string{}, map[string]string{}, map[string]string{}}
	for _, s := range p.Sources {
		in.sources[s.Name] = fmt.Sprintf("%s %s %s", s.Bind, s.Public, s.EHLO)
	}
	for _, s := range p.Senders {
		in.senders[s.Name()] = fmt.Sprintf("%s %s %v", s.Domain, s.Envelope, s.Keys)
	}
	for _, s := range p.SmartHosts {
		in.smartHosts[s.Name] = fmt.Sprintf("%s %d %t %s %s", s.Host, s.Port, s.Implicit, s.TLS, s.User)
	}
	return in
}

func (in fingerprints) of(f Finding) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %q", in.sources[f.Source], in.senders[f.Sender], in.smartHosts[f.SmartHost])
	return fmt.Sprintf("%016x", h.Sum64())
}

package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"smtprelay/config"
	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay"
)

// lookFlags say what relay preflight looks at, and how often.
type lookFlags struct {
	watch, daemon bool
	suppose       []string

	// A server that is not ours.
	ips, from, selectors []string
	ehlo, envelope       string

	edits []dns.Edit // suppose, read
}

// strangers are flags that do not go together: a watch ends, and a supposition
// does not come true by waiting; the running relay knows neither it nor other
// servers; the way from the root shows what stands, and needs room. To explain
// is to look at nothing.
var strangers = map[string][]string{
	"watch":   {"daemon", "json", "if", "trace"},
	"daemon":  {"if", "trace", "ip", "ehlo", "from", "envelope", "selector"},
	"quiet":   {"json", "trace"},
	"trace":   {"if"},
	"explain": {"watch", "daemon", "strict", "quiet", "trace", "if", "ip", "ehlo", "from", "envelope", "selector"},
}

// together refuses flags that are strangers.
func together(c *cobra.Command) error {
	fs := c.Flags()
	for _, one := range slices.Sorted(maps.Keys(strangers)) {
		for _, other := range strangers[one] {
			if fs.Changed(one) && fs.Changed(other) {
				return &fault{code: exitUsage, err: fmt.Errorf("--%s and --%s do not go together", one, other)}
			}
		}
	}
	return nil
}

func (f *lookFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.BoolVar(&f.watch, "watch", false, "look again and again until mail may go direct; with --strict until nothing is left to mend")
	fs.BoolVar(&f.daemon, "daemon", false, "have the running relay look now, and print what it then believes")
	fs.StringArrayVar(&f.suppose, "if", nil, "judge as if `'NAME TYPE DATA'` stood in DNS, in place of what has that name and type; '+ ...' stands beside it, '- NAME TYPE' takes it away (repeatable)")
	fs.StringArrayVar(&f.ips, "ip", nil, "judge a server at this `address` instead of ours; no configuration is read but one named by --config (repeatable)")
	fs.StringVar(&f.ehlo, "ehlo", "", "with --ip: the `name` that it greets with")
	fs.StringArrayVar(&f.from, "from", nil, "with --ip: a sender `domain` of its mail (repeatable)")
	fs.StringVar(&f.envelope, "envelope", "", "with --from: the `domain` of MAIL FROM, where it differs")
	fs.StringArrayVar(&f.selectors, "selector", nil, "with --from: a DKIM `selector` of its signatures (repeatable)")
	for _, name := range []string{"if", "ip", "ehlo", "from", "envelope", "selector"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// read makes sense of the flags, or is a matter of usage.
func (f *lookFlags) read() error {
	for _, line := range f.suppose {
		e, err := dns.ParseEdit(line)
		if err != nil {
			return &fault{code: exitUsage, err: fmt.Errorf("--if %q: %w", line, err), hint: `a line of a zone file: --if 'mail.example.net A 192.0.2.25', --if '- old.example.net TXT'`}
		}
		f.edits = append(f.edits, e)
	}
	switch {
	case len(f.ips) == 0 && (f.ehlo != "" || len(f.from) > 0):
		return &fault{code: exitUsage, err: errors.New("--ehlo and --from speak of a server at --ip"), hint: "--ip 192.0.2.25 --ehlo mail.example.net --from example.net"}
	case len(f.ips) > 0 && f.ehlo == "":
		return &fault{code: exitUsage, err: errors.New("--ip without --ehlo"), hint: "--ehlo NAME: the name that the server greets with"}
	case len(f.from) == 0 && (f.envelope != "" || len(f.selectors) > 0):
		return &fault{code: exitUsage, err: errors.New("--envelope and --selector speak of a sender domain, --from")}
	}
	return nil
}

// options are those of the configuration, or of the server that the flags name.
func (f *lookFlags) options(c *cobra.Command) (relay.Options, error) {
	if len(f.ips) == 0 {
		return config.Load(configPath(c))
	}
	var o relay.Options
	if c.Flags().Changed("config") {
		var err error
		if o, err = config.Load(configPath(c)); err != nil {
			return o, err
		}
	}
	p := preflight.Plan{Policy: o.Plan.Policy, Special: o.Plan.Special, Foreign: true}
	if err := f.sources(&p); err != nil {
		return o, err
	}
	if err := f.senders(&p); err != nil {
		return o, err
	}
	o.Plan = p
	return o, nil
}

// sources names each address by its family.
func (f *lookFlags) sources(p *preflight.Plan) error {
	count := map[string]int{}
	for _, text := range f.ips {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.IsUnspecified() {
			return &fault{code: exitUsage, err: fmt.Errorf("--ip %q: not an address", text), hint: "192.0.2.25, or 2001:db8::25"}
		}
		name := "ipv6"
		if a = a.Unmap(); a.Is4() {
			name = "ipv4"
		}
		if count[name]++; count[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, count[name])
		}
		p.Sources = append(p.Sources, preflight.Source{Name: name, Public: a.String(), EHLO: f.ehlo})
	}
	return nil
}

func (f *lookFlags) senders(p *preflight.Plan) error {
	var keys []preflight.Key
	for _, s := range f.selectors {
		name, err := dns.Canonical(s)
		if err != nil {
			return &fault{code: exitUsage, err: fmt.Errorf("--selector %q: not a name in DNS", s)}
		}
		keys = append(keys, preflight.Key{Selector: name})
	}
	envelope := ""
	if f.envelope != "" {
		var err error
		if envelope, err = domainName(f.envelope); err != nil {
			return err
		}
	}
	for _, text := range f.from {
		d, err := domainName(text[strings.LastIndexByte(text, '@')+1:])
		if err != nil {
			return err
		}
		p.Senders = append(p.Senders, preflight.Sender{Domain: d, Envelope: envelope, Keys: keys})
	}
	return nil
}

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay"
	"smtprelay/relay/sign"
)

// Source is an address that mail leaves from.
type Source struct {
	Name   string `toml:"name"`   // in logs and reports
	Bind   string `toml:"bind"`   // local address; "": any
	Public string `toml:"public"` // as the world sees it; "": bind
	EHLO   string `toml:"ehlo"`   // the name we give ourselves
}

type sources []Source

// fill leaves the text of the names alone: what is wrong with them the
// preflight finds, and says what to do about it.
func (ss sources) fill(l *loader, o *relay.Options) {
	if len(ss) == 0 && l.file.Delivery.Route != routeSmartHost {
		l.bad("source", "add [[source]] with name and ehlo, or set delivery.route to \"smarthost\"", "none: expected at least one address that mail leaves from")
	}
	seen := map[string]bool{}
	for i, s := range ss {
		key := index("source", i)
		if s.Name == "" {
			l.bad(key+".name", `give it a short name for logs and reports: name = "wan4"`, "missing")
		} else if seen[s.Name] {
			l.bad(key+".name", "each source has a name of its own", "%q: a second source of this name", s.Name)
		}
		seen[s.Name] = true
		l.address(key+".bind", s.Bind)
		if a := l.address(key+".public", s.Public); a.IsValid() {
			o.Deliver.Public = append(o.Deliver.Public, a)
		}
		o.Plan.Sources = append(o.Plan.Sources, preflight.Source{Name: s.Name, Bind: s.Bind, Public: s.Public, EHLO: s.EHLO})
	}
}

// Domain is a sender domain: signed for, and checked at start.
type Domain struct {
	Name     string   `toml:"name"`     // of the header From
	Envelope string   `toml:"envelope"` // of MAIL FROM; "": name
	DKIM     []string `toml:"dkim"`     // selectors
}

type domains []Domain

func (ds domains) fill(l *loader, o *relay.Options) {
	seen := map[string]bool{}
	for i, d := range ds {
		key := index("domain", i)
		if d.Name == "" {
			l.bad(key+".name", `name = "example.com"`, "missing")
			continue
		}
		name, ok := l.domain(key+".name", d.Name)
		if !ok {
			continue
		}
		if seen[name] {
			l.bad(key+".name", "write each domain once, with all its selectors", "%q: a second time", d.Name)
			continue
		}
		seen[name] = true
		s := preflight.Sender{Domain: name}
		if d.Envelope != "" {
			s.Envelope, _ = l.domain(key+".envelope", d.Envelope)
		}
		for _, k := range l.keys(key+".dkim", name, d.DKIM) {
			o.Sign.Keys = append(o.Sign.Keys, k)
			s.Keys = append(s.Keys, preflight.Key{Selector: k.Selector, Record: sign.Record(k.Signer.Public())})
		}
		o.Plan.Senders = append(o.Plan.Senders, s)
	}
}

// keys loads the DKIM keys of one domain.
func (l *loader) keys(key, domain string, selectors []string) (keys []sign.Key) {
	for i, selector := range selectors {
		at := index(key, i)
		path, err := l.file.KeyPath(domain, selector)
		if err != nil {
			l.bad(at, `a selector is a label of a name, such as "k1"`, "%v", err)
			continue
		}
		if slices.Contains(selectors[:i], selector) {
			l.bad(at, "", "%q: a second time", selector)
			continue
		}
		k, err := sign.Load(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			l.bad(at, fmt.Sprintf("make it: relay dkim new %s --selector %s", domain, selector), "no key for %s: %v", selector, plain(err))
		case err != nil:
			l.bad(at, "", "%v", err)
		case l.guarded(at, path):
			keys = append(keys, sign.Key{Domain: domain, Selector: selector, Signer: k})
		}
	}
	return keys
}

// KeyPath is where the DKIM key of a domain (canonical) and selector lies. It is
// an error when they are no labels: they become parts of a path.
func (f *File) KeyPath(domain, selector string) (string, error) {
	for _, part := range []string{domain, selector} {
		if !hostish(strings.ReplaceAll(part, "_", "x")) {
			return "", fmt.Errorf("%q: expected letters, digits and hyphens", part)
		}
	}
	return filepath.Join(f.State, "dkim", domain, selector+".pem"), nil
}

// KeyGlob matches the keys of a domain, or with "*" of all.
func (f *File) KeyGlob(domain string) string {
	return filepath.Join(globQuote(f.State), "dkim", domain, "*.pem")
}

var globQuote = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace

// Signs tells whether the file names this selector for this domain (canonical).
func (f *File) Signs(domain, selector string) bool {
	return slices.ContainsFunc(f.Domain, func(d Domain) bool {
		name, err := dns.Canonical(d.Name)
		return err == nil && name == domain && slices.Contains(d.DKIM, selector)
	})
}

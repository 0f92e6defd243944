package config

import (
	"io"
	"net/url"
	"strings"

	"github.com/BurntSushi/toml"

	"smtprelay/preflight"
)

// Show writes what the file means: every key, defaults filled in, paths
// absolute. Secrets are in files of their own and do not appear; a password
// that was written into a URL all the same is not repeated, nor the key of a block list.
func (f *File) Show(w io.Writer) error {
	g := *f
	g.SmartHost = nil
	for _, h := range f.SmartHost {
		h.URL = withoutPassword(h.URL)
		g.SmartHost = append(g.SmartHost, h)
	}
	g.Preflight.DNSBL = nil
	for _, zone := range f.Preflight.DNSBL {
		g.Preflight.DNSBL = append(g.Preflight.DNSBL, preflight.BlockList(zone).String())
	}
	g.Queue.Store = withoutPassword(f.Queue.Store)
	e := toml.NewEncoder(w)
	e.Indent = ""
	return e.Encode(g)
}

func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && strings.Contains(text, "@") {
		return "(not a URL)"
	}
	if _, has := u.User.Password(); !has {
		return text
	}
	return u.Redacted()
}

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"smtprelay/config"
	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay"
)

func dnsCommand(w world) *cobra.Command {
	var zone string
	c := &cobra.Command{
		Use:   "dns",
		Short: "print every record that the configuration needs, beside what stands",
		Long: `dns prints, zone by zone, every record that the configuration needs, as a zone
file whose comments say what stands, what is missing and what has to go. It asks
the name servers of the zones themselves, past all caches. Of each zone only
what mail needs is shown; SOA and NS are those that stand.

  relay dns --zone example.net >example.net.zone
  named-checkzone example.net example.net.zone`,
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&zone, "zone", "", "print this `zone` only: one that named-checkzone takes as it is")
	_ = c.RegisterFlagCompletionFunc("zone", cobra.NoFileCompletions)
	c.RunE = func(c *cobra.Command, _ []string) error {
		name := ""
		if zone != "" {
			var err error
			if name, err = dns.Canonical(zone); err != nil {
				return &fault{code: exitUsage, err: fmt.Errorf("--zone: %w", err)}
			}
		}
		o, err := config.Load(configPath(c))
		if err != nil {
			return err
		}
		all, err := relay.Zones(c.Context(), o)
		if errors.Is(err, relay.ErrSilence) {
			return &fault{code: exitTemporary, err: err, hint: "look at [dns] servers; `relay preflight` says more"}
		}
		if err != nil {
			return err
		}
		if name != "" {
			if all, err = only(all, name); err != nil {
				return err
			}
		}
		return preflight.WriteZones(w.stdout, all)
	}
	return c
}

func only(all []*preflight.Zone, name string) ([]*preflight.Zone, error) {
	i := slices.IndexFunc(all, func(z *preflight.Zone) bool { return z.Name == name })
	if i < 0 {
		var names []string
		for _, z := range all {
			names = append(names, z.Name)
		}
		return nil, &fault{code: exitError, err: fmt.Errorf("nothing of the configuration stands in a zone %s", name), hint: "the zones are " + strings.Join(names, ", ")}
	}
	return all[i : i+1], nil
}

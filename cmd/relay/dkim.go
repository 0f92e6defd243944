package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"smtprelay/config"
	"smtprelay/preflight"
	"smtprelay/preflight/dns"
	"smtprelay/relay/sign"
)

func dkimCommand(w world) *cobra.Command {
	return group("dkim", "make and show DKIM keys", `dkim makes the keys that mail is signed with and prints the records to publish.
A key signs only once its record is seen at the domain's name servers.`,
		dkimNew(w), dkimShow(w))
}

func dkimNew(w world) *cobra.Command {
	var selector, kind string
	c := &cobra.Command{
		Use:   "new DOMAIN",
		Short: "make a key and print its record",
		Args:  cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&selector, "selector", "k1", "name of the key in DNS")
	c.Flags().StringVar(&kind, "type", "rsa", "rsa (2048 bits) or ed25519")
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"rsa", "ed25519"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, args []string) error {
		f, err := config.Read(configPath(c))
		if err != nil {
			return err
		}
		domain, err := domainName(args[0])
		if err != nil {
			return err
		}
		path, err := f.KeyPath(domain, selector)
		if err != nil {
			return &fault{code: exitUsage, err: err}
		}
		key, err := sign.Generate(kind)
		if err != nil {
			return &fault{code: exitUsage, err: err, hint: "--type rsa or --type ed25519"}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make the key directory: %w", err)
		}
		if err := sign.Save(path, key); errors.Is(err, fs.ErrExist) {
			return &fault{code: exitError, err: err, hint: "`relay dkim show " + domain + "` prints its record; another key wants another --selector"}
		} else if err != nil {
			return err
		}
		adopt(path)
		fmt.Fprintf(w.stderr, "relay: wrote %s\n", path)
		if !f.Signs(domain, selector) {
			fmt.Fprintf(w.stderr, "relay: hint: add dkim = [%q] under the [[domain]] named %q, and publish this record:\n", selector, domain)
		}
		return printRecord(w.stdout, domain, selector, sign.Record(key.Public()))
	}
	return c
}

// adopt gives a key made by root to whoever owns the state directory, so that
// the daemon, which is not root, can read it. Where it cannot, Load will say.
func adopt(key string) {
	if os.Geteuid() != 0 {
		return
	}
	giveAway(key)
}

func dkimShow(w world) *cobra.Command {
	c := &cobra.Command{
		Use:   "show [DOMAIN]",
		Short: "print the records of the keys there are",
		Args:  cobra.MaximumNArgs(1),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		f, err := config.Read(configPath(c))
		if err != nil {
			return err
		}
		domain := "*"
		if len(args) == 1 {
			if domain, err = domainName(args[0]); err != nil {
				return err
			}
		}
		paths, err := filepath.Glob(f.KeyGlob(domain))
		if err != nil {
			return fmt.Errorf("list keys: %w", err)
		}
		if len(paths) == 0 {
			return &fault{code: exitError, err: fmt.Errorf("no DKIM key for %s", strings.ReplaceAll(domain, "*", "any domain")), hint: "`relay dkim new DOMAIN` makes one"}
		}
		for _, p := range paths {
			key, err := sign.Load(p)
			if err != nil {
				return err
			}
			selector := strings.TrimSuffix(filepath.Base(p), ".pem")
			if err := printRecord(w.stdout, filepath.Base(filepath.Dir(p)), selector, sign.Record(key.Public())); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

func printRecord(w io.Writer, domain, selector, text string) error {
	r := preflight.Record{Owner: selector + "._domainkey." + domain, TTL: preflight.RecordTTL, Type: "TXT", Data: preflight.Quote(text)}
	_, err := fmt.Fprintln(w, r)
	return err
}

// domainName is a domain from the command line as the configuration knows it.
func domainName(arg string) (string, error) {
	d, err := dns.Canonical(arg)
	if err == nil && !dns.IsHostname(d) {
		err = errors.New("not a domain name")
	}
	if err != nil {
		return "", &fault{code: exitUsage, err: fmt.Errorf("domain %q: %w", arg, err), hint: "a name such as example.com"}
	}
	return d, nil
}

//go:build interop

package interop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// peer is a server, or a program that sends mail, read from a file. Above the
// sections each line is a comment or one of these words:
//
//	root NAME         the private root it lives in; those that name the same share one
//	packages NAME...  of Debian, in that root
//	address ADDR...   of a server
//	zones             it is a name server (BIND); sections zones/NAME are what it serves
//	domain NAME       its own domain, with the records in the section "records"
//	setup COMMAND     run once, by the shell
//	daemon COMMAND    runs all the time
//	ready REGEX       what the last daemon, or syslog, says when it is up
//	receives DOMAIN   it takes mail for the domain, into the Maildir /var/mail/box
//	says WORD REGEX   a refusal that matches is for the requirement WORD
//	verify COMMAND    a DKIM verifier: prints "FILE pass" for each message of $FILES
//	                  there that it accepts, else "FILE" and why not; without one, the
//	                  receiver says in Authentication-Results what it thinks
//	send COMMAND      an application: hands $FILE to the relay, from $FROM to $TO
//	ascii             it cannot send from or to addresses that are not ASCII
//
// Sections whose name starts with a slash are files of the host. The section
// "reverse" holds records for the provider of its addresses.
type peer struct {
	name, root, domain, receives, send string
	ascii                              bool
	packages, setup, verify            []string
	addrs                              []netip.Addr
	nameserver                         bool
	daemons                            []daemon
	says                               []saying
	sections                           map[string]string

	*host
}

type daemon struct{ command, ready string }

// saying is how a receiver names a requirement in its refusals.
type saying struct {
	word string
	re   *regexp.Regexp
}

// loadPeers reads them all; they are not started.
func loadPeers() (ps []*peer, err error) {
	for _, pattern := range []string{"testdata/peer/*.txtar", "testdata/app/*.txtar"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			return nil, fmt.Errorf("no %s", pattern)
		}
		for _, name := range names {
			p, err := loadPeer(name)
			if err != nil {
				return nil, err
			}
			ps = append(ps, p)
		}
	}
	return ps, nil
}

func loadPeer(path string) (*peer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	a := txtar.Parse(text)
	p := &peer{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), root: serverRoot, sections: map[string]string{}}
	n := 0
	for line := range strings.Lines(string(a.Comment)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := p.word(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	for _, f := range a.Files {
		p.sections[f.Name] = string(f.Data)
	}
	return p, nil
}

func (p *peer) word(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "root":
		p.root = rest
	case "packages":
		p.packages = strings.Fields(rest)
	case "address":
		p.addrs, err = parseAddrs(strings.Fields(rest))
	case "zones":
		p.nameserver = true
	case "domain":
		p.domain = rest
	case "setup":
		p.setup = append(p.setup, rest)
	case "daemon":
		p.daemons = append(p.daemons, daemon{command: rest})
	case "ready":
		if len(p.daemons) == 0 {
			return fmt.Errorf("no daemon to be ready")
		}
		p.daemons[len(p.daemons)-1].ready = rest
	case "receives":
		p.receives = rest
	case "says":
		name, pattern, _ := strings.Cut(rest, " ")
		re, err := regexp.Compile(strings.TrimSpace(pattern))
		if err != nil {
			return err
		}
		p.says = append(p.says, saying{name, re})
	case "verify":
		p.verify = append(p.verify, rest)
	case "send":
		p.send = rest
	case "ascii":
		p.ascii = true
	default:
		return fmt.Errorf("no word %q", word)
	}
	return err
}

func parseAddrs(texts []string) (addrs []netip.Addr, err error) {
	for _, t := range texts {
		a, err := netip.ParseAddr(t)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// requirement that a refusal names; "" if it names none that we know.
func (p *peer) requirement(reply string) string {
	for _, s := range p.says {
		if s.re.MatchString(reply) {
			return s.word
		}
	}
	return ""
}

// knows tells whether it ever refuses for the requirement.
func (p *peer) knows(word string) bool {
	return slices.ContainsFunc(p.says, func(s saying) bool { return s.word == word })
}

// up writes its files and starts its daemons. One that ends before the run does
// has a row in the table.
func (p *peer) up(t *table) error {
	for name, text := range p.sections {
		if strings.HasPrefix(name, "/") {
			if err := p.write(name, text, 0o644); err != nil {
				return err
			}
		}
	}
	for _, line := range p.setup {
		if _, err := p.run("", "sh", "-ec", line); err != nil {
			return err
		}
	}
	for _, d := range p.daemons {
		prog, err := p.daemon(d)
		if err != nil {
			return err
		}
		go func() {
			<-prog.done
			t.add(row{setup: p.name, what: d.command, expected: "goes on running", seen: prog.cmd.ProcessState.String()})
		}()
	}
	return nil
}

func (p *peer) daemon(d daemon) (*program, error) {
	prog, err := p.start(p.log, "", "sh", "-c", "exec "+d.command)
	if err == nil {
		err = prog.await(d.ready)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", p.name, d.command, err)
	}
	return prog, nil
}

//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands of the set-ups' scripts. $DOMAIN is the set-up's domain, $IP4 and $IP6
// are its addresses, $REV4 and $REV6 their reverse names.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	// record SERVER - NAME TYPE | + NAME TYPE DATA: changes a record at a name server
	"record": positive(cmdRecord),
	// zone NAME SERVER FILE: serves a zone there, and has its parent delegate it
	"zone": positive(cmdZone),
	// names SERVER stop | start | forget ZONE: what a zone is delegated to then does not answer for it
	"names": positive(cmdNames),
	// address ADDR: the server has this address too
	"address": positive(cmdAddress),
	// truncated NAME TYPE: the resolver's answer does not fit into a datagram
	"truncated": positive(cmdTruncated),
	// by-hand ADDRESS [at RECEIVER] taken | refused WORD: what every receiver, or
	// one, says to somebody who sends from there without the relay
	"by-hand": positive(cmdByHand),
	// preflight VERDICT [CHECK...]: what `relay preflight` says, and which checks fail
	"preflight": positive(cmdPreflight),
	// reports TEXT: a line of that report
	"reports": positive(cmdReports),
	// relay by direct|smarthost: which way mail of every application goes, with a smart host
	"relay": positive(func(s *server, args []string) error { return s.serves(true, args) }),
	// alone by direct | exits CODE: the same without one
	"alone": positive(func(s *server, args []string) error { return s.serves(false, args) }),

	// The same in steps:
	// serve [smarthost]: starts the relay
	"serve": positive(cmdServe),
	// send: every application hands it a message to every receiver
	"send": positive(func(s *server, _ []string) error { return s.send() }),
	// waits REASON: what is sent waits in the queue, for this reason
	"waits": positive(cmdWaits),
	// arrives by direct|smarthost
	"arrives": positive(func(s *server, args []string) error { return s.expect("arrives", args, s.arrives) }),
	// halt: stops the relay
	"halt": positive(func(s *server, _ []string) error { return s.stop() }),

	// shapes N RECEIVER: so many messages of all shapes by all applications, octet by octet
	"shapes": positive(cmdShapes),

	// boot: from now on systemd runs the relay, as packaging/relay.service says
	"boot": positive(cmdBoot),
	// unit verified | exposed at-most LIMIT: what systemd's own tools say of the unit
	"unit": positive(cmdUnit),
	// confined NAME=VALUE...: the user and rights of the running relay
	"confined": positive(cmdConfined),
}

func positive(do func(s *server, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("it cannot be negated")
		}
		ts.Check(do(serverOf(ts), args))
	}
}

// expect notes what is expected and what is seen, and is an error if they differ.
func (s *server) expect(what string, expected []string, see func() (string, error)) error {
	r := row{setup: s.setup, what: what, expected: strings.Join(expected, " ")}
	var err error
	if r.seen, err = see(); err != nil {
		r.seen = "error"
	}
	s.table.add(r)
	if err == nil && !r.ok() {
		err = fmt.Errorf("%s: expected %q, seen %q", what, r.expected, r.seen)
	}
	return err
}

// nameserver by its name.
func (s *server) nameserver(name string) (*nameserver, error) {
	if n := s.names[name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("no name server %q", name)
}

func cmdRecord(s *server, args []string) error {
	if len(args) < 4 {
		return errors.New("record SERVER -|+ NAME TYPE DATA")
	}
	n, err := s.nameserver(args[0])
	if err != nil {
		return err
	}
	if args[1] == "-" {
		return n.update("update delete " + strings.Join(args[2:], " "))
	}
	return n.add(strings.Join(args[2:], " "))
}

func cmdZone(s *server, args []string) error {
	n, err := s.nameserver(args[1])
	if err != nil {
		return err
	}
	return s.publish(args[0], n, s.file(args[2]))
}

func cmdNames(s *server, args []string) error {
	n, err := s.nameserver(args[0])
	if err != nil {
		return err
	}
	switch args[1] {
	case "stop":
		return n.named.stop()
	case "forget":
		_, err := n.run("", "rndc", "delzone", args[2])
		return err
	}
	return n.begin()
}

func cmdAddress(s *server, args []string) error {
	a, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	s.addrs = append(s.addrs, a)
	return s.address(a)
}

func cmdTruncated(s *server, args []string) error {
	return s.expect("over UDP "+strings.Join(args, " "), []string{"truncated"}, func() (string, error) {
		out, err := s.names["hoster"].run("", "dig", append([]string{"@192.0.2.53", "+ignore", "+bufsize=1232"}, args...)...)
		if err == nil && regexp.MustCompile(`flags:[a-z ]* tc`).MatchString(out) {
			return "truncated", nil
		}
		return "whole", err
	})
}

// answered is what swaks marks as other than hoped for.
var answered = regexp.MustCompile(`(?m)^<\S*\*\* +(.+)`)

func cmdByHand(s *server, args []string) error {
	from, only, args := args[0], "", args[1:]
	if args[0] == "at" {
		only, args = args[1], args[2:]
	}
	for _, r := range s.receivers {
		if only != "" && only != r.name {
			continue
		}
		err := s.expect("by hand from "+from+" to "+r.name, args, func() (seen string, err error) {
			defer func() { s.forecast.hand(from, r.name, seen) }()
			to := r.addrs[0]
			for _, a := range r.addrs {
				if a.Is6() == strings.Contains(from, ":") {
					to = a
				}
			}
			out, err := s.run("", "swaks", "--server", to.String(), "--local-interface", from, "--ehlo", s.ehlo(),
				"--from", "alice@"+s.domain, "--to", "bob@"+r.receives)
			if err == nil {
				return "taken", nil
			}
			var said []string
			for _, m := range answered.FindAllStringSubmatch(out, -1) {
				said = append(said, m[1])
			}
			if said == nil {
				return "", err
			}
			reply := strings.Join(said, " ")
			return "refused " + r.requirement(reply) + ": " + reply, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ehlo is the name that its first source is configured with.
func (s *server) ehlo() string {
	m := regexp.MustCompile(`(?m)^ehlo = "(.*)"`).FindStringSubmatch(s.file("sources.toml"))
	return m[1]
}

// report is what we read of `relay preflight --json`.
type report struct {
	Overall          string
	Sources, Senders []struct {
		Addr, Verdict string
		Findings      []finding
	}
	Resolver struct{ Findings []finding }
}

type finding struct{ ID, Status, Severity, Addr string }

func cmdPreflight(s *server, args []string) error {
	slices.Sort(args[1:])
	return s.expect("relay preflight", args, func() (string, error) {
		out, err := s.run("relay", "relay", "preflight", "--json")
		var r report
		if jerr := json.Unmarshal([]byte(out), &r); jerr != nil {
			return "", errors.Join(jerr, err)
		}
		fmt.Fprintf(s.out, "%s\n", out)
		list := r.Resolver.Findings
		for _, v := range slices.Concat(r.Sources, r.Senders) {
			list = append(list, v.Findings...)
		}
		var ids []string
		for _, f := range list {
			if f.Status == "fail" {
				ids = append(ids, f.ID)
			}
		}
		slices.Sort(ids)
		seen := strings.Join(append([]string{r.Overall}, slices.Compact(ids)...), " ")
		s.forecast.foretell(r, seen)
		return seen, nil
	})
}

func cmdReports(s *server, args []string) error {
	want := strings.Join(args, " ")
	return s.expect("report", []string{want}, func() (string, error) {
		out, err := s.run("relay", "relay", "preflight")
		fmt.Fprintf(s.out, "%s\n", out)
		for line := range strings.Lines(out) {
			if strings.TrimSpace(line) == want {
				return want, nil
			}
		}
		return "no such line", err
	})
}

func (s *server) serves(smarthost bool, args []string) error {
	what := "relay without a smart host"
	if smarthost {
		what = "relay with a smart host"
	}
	return s.expect(what, args, func() (string, error) {
		if err := s.begin(smarthost); err != nil {
			if exit := exited(0); errors.As(err, &exit) {
				return exit.Error(), nil
			}
			return "", err
		}
		err := s.send()
		seen := ""
		if err == nil {
			seen, err = s.arrives()
		}
		return seen, errors.Join(err, s.stop())
	})
}

func cmdServe(s *server, args []string) error { return s.begin(slices.Contains(args, "smarthost")) }

// exited says with which code the relay ended instead of serving.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exits %d", int(e)) }

// begin starts the relay and waits until it serves; the error is an exited
// where it ended before that.
func (s *server) begin(smarthost bool) (err error) {
	if err := s.configure(smarthost); err != nil {
		return err
	}
	if s.booted != nil {
		return s.booted.begin()
	}
	if s.relay, err = s.start(s.out, "relay", "relay", "serve"); err != nil {
		return err
	}
	if err := s.relay.await(`"msg":"serving"`); err != nil {
		select {
		case <-s.relay.done:
			err = exited(s.relay.cmd.ProcessState.ExitCode())
		default:
			err = errors.Join(err, s.relay.stop())
		}
		s.relay = nil
		return err
	}
	return nil
}

func (s *server) stop() error {
	if s.booted != nil {
		return s.booted.stop()
	}
	if s.relay == nil {
		return errors.New("the relay does not run")
	}
	err := s.relay.stop()
	if code := s.relay.cmd.ProcessState.ExitCode(); err == nil && code != 0 {
		err = fmt.Errorf("the relay stopped with %d", code)
	}
	s.relay = nil
	return err
}

const hello = `From: Alice <%s>
To: <%s>
Subject: hello by %s
Date: %s
%s: %s

Hello Bob.
.a line that starts with a dot
`

func (s *server) send() error {
	for _, r := range s.receivers {
		for _, app := range s.apps {
			s.count++
			p := posted{app.name, fmt.Sprintf("%s-%s-%d", s.setup, app.name, s.count), r}
			from, to := "alice@"+s.domain, "bob@"+r.receives
			text := fmt.Sprintf(hello, from, to, app.name, time.Now().Format(time.RFC1123Z), idField, p.id)
			if err := s.post(app, strconv.Itoa(s.count), from, to, text); err != nil {
				return err
			}
			s.sent = append(s.sent, p)
		}
	}
	return nil
}

// post hands one message to the relay by an application.
func (s *server) post(app *peer, name, from, to, text string) error {
	file := fmt.Sprintf("/tmp/%s-%s.eml", app.name, name)
	if err := s.write(file, text, 0o644); err != nil {
		return err
	}
	_, err := s.run("www-data", "env", "FROM="+from, "TO="+to, "FILE="+file, "sh", "-c", app.send)
	return err
}

func cmdWaits(s *server, args []string) error {
	return s.expect("queue", append([]string{"waits"}, args...), func() (string, error) {
		return "waits " + strings.Join(args, " "), s.relay.await(strings.Join(args, " "))
	})
}

// arrives waits for what was sent, and says which way it came.
func (s *server) arrives() (string, error) {
	var ways []string
	for _, p := range s.sent {
		l, err := p.to.find(p.id)
		if err != nil {
			return "", err
		}
		ways = append(ways, "by "+l.way(s.addrs, s.smarthost.addrs[0]))
	}
	s.sent = nil
	slices.Sort(ways)
	return strings.Join(slices.Compact(ways), "; "), nil
}

//go:build interop

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// command of the set-ups' scripts.
type command struct {
	usage string
	least int // arguments
	do    func(s *server, args []string) error
}

// words of the scripts. $DOMAIN is the set-up's domain, $IP4 and $IP6 are its
// addresses, $REV4 and $REV6 their reverse names, $LAST4 the last octet.
var words = map[string]command{
	// a record at a name server goes, or comes
	"record": {"record SERVER - NAME TYPE | + NAME TYPE DATA", 4, cmdRecord},
	// a zone is served there, and its parent delegates it
	"zone": {"zone NAME SERVER FILE", 3, cmdZone},
	// a name server ends, begins, or knows nothing any more of a zone that is delegated to it
	"names": {"names SERVER stop | start | forget ZONE", 2, cmdNames},
	// the server has this address too
	"address": {"address ADDR", 1, cmdAddress},
	// the resolver's answer does not fit into a datagram
	"truncated": {"truncated NAME TYPE", 2, cmdTruncated},

	// what every receiver, or one, says to somebody who sends from there without
	// the relay: it refuses for good, or for now, and for which requirement. One
	// that does not say that word takes it.
	"by-hand": {"by-hand ADDRESS [at RECEIVER] taken | refused WORD | deferred WORD", 2, cmdByHand},
	// what `relay preflight` says, and which checks fail
	"preflight": {"preflight VERDICT [CHECK...]", 1, cmdPreflight},
	// a line of that report
	"reports": {"reports TEXT", 1, cmdReports},
	// which way mail of every application goes, with a smart host to fall back to
	"relay": {"relay by direct from ADDRESS | by smarthost", 2, func(s *server, args []string) error { return s.serves(true, args) }},
	// the same without one
	"alone": {"alone by direct from ADDRESS | exits CODE", 2, func(s *server, args []string) error { return s.serves(false, args) }},

	// The same in steps: the relay starts
	"serve": {"serve [smarthost]", 0, cmdServe},
	// every application hands it a message to every receiver
	"send": {"send", 0, func(s *server, _ []string) error { return s.send() }},
	// DNS is silent, and the relay has noticed: its last good answer is stale
	"silent": {"silent", 0, cmdSilent},
	// all that is sent waits in the queue, for this reason
	"waits": {"waits REASON", 1, cmdWaits},
	// it arrives
	"arrives": {"arrives by direct from ADDRESS | by smarthost", 2, func(s *server, args []string) error { return s.expect("arrives", args, s.arrives) }},
	// the relay stops
	"halt": {"halt", 0, func(s *server, _ []string) error { return s.stop() }},

	// so many messages of all shapes by all applications, octet by octet
	"shapes": {"shapes N RECEIVER", 2, cmdShapes},

	// from now on systemd runs the relay, as packaging/relay.service says
	"boot": {"boot", 0, cmdBoot},
	// what systemd's own tools say of the unit
	"unit": {"unit verified | exposed at-most LIMIT", 1, cmdUnit},
	// the user and rights of the running relay, as proc(5) has them
	"confined": {"confined NAME=VALUE...", 1, cmdConfined},
	// what the running relay may not do
	"cannot": {"cannot COMMAND...", 1, cmdCannot},
}

// errUsage is that of a word with other arguments than it takes.
var errUsage = errors.New("usage")

// commands are the words as testscript wants them.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range words {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < c.least {
				ts.Fatalf("usage: %s", c.usage)
			}
			err := c.do(serverOf(ts), args)
			if errors.Is(err, errUsage) {
				ts.Fatalf("usage: %s", c.usage)
			}
			ts.Check(err)
		}
	}
	return all
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

// answered is what swaks marks as other than hoped for.
var answered = regexp.MustCompile(`(?m)^<\S*\*\* +(.+)`)

func cmdByHand(s *server, args []string) error {
	from, only, args := args[0], "", args[1:]
	if args[0] == "at" {
		if len(args) < 3 {
			return errUsage
		}
		only, args = args[1], args[2:]
	}
	for _, r := range s.receivers {
		if only != "" && only != r.name {
			continue
		}
		want := args
		if len(args) == 2 && !r.knows(args[1]) {
			want = []string{"taken"}
		}
		err := s.expect("by hand from "+from+" to "+r.name, want, func() (seen string, err error) {
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
			reply, did := strings.Join(said, " "), "refused "
			if strings.HasPrefix(reply, "4") {
				did = "deferred "
			}
			return did + r.requirement(reply) + ": " + reply, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ehlo is the name that its first source is configured with.
func (s *server) ehlo() string {
	text, _ := s.file("sources.toml") // without it the relay does not start either
	m := regexp.MustCompile(`(?m)^ehlo = "(.*)"`).FindStringSubmatch(text)
	return append(m, "", "")[1]
}

// report is what we read of `relay preflight --json`.
type report struct {
	Overall                      string
	Exit                         int
	Sources, Senders, SmartHosts []struct {
		Addr, Verdict string
		Findings      []finding
	}
	Resolver struct{ Findings []finding }
}

// exits are the codes that go with a verdict, as for monitoring plugins.
var exits = map[string]int{"pass": 0, "degraded": 1, "fail": 2, "unknown": 3}

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
		if code, want := exitCode(err), exits[r.Overall]; code != want || r.Exit != want {
			return "", fmt.Errorf("%s with exit code %d, and %d in the report", r.Overall, code, r.Exit)
		}
		list := r.Resolver.Findings
		for _, v := range slices.Concat(r.Sources, r.Senders, r.SmartHosts) {
			list = append(list, v.Findings...)
		}
		var ids []string
		for _, f := range list {
			if f.Status == "fail" && f.ID != "HOST-CLOCK" { // which is of the machine that the test runs on
				ids = append(ids, f.ID)
			}
		}
		slices.Sort(ids)
		seen := strings.Join(append([]string{r.Overall}, slices.Compact(ids)...), " ")
		s.forecast.foretell(r, seen)
		return seen, nil
	})
}

// exitCode of a command that run ran: 0 without an error, -1 where it never ended.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
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

// refusal is how a start ended. One that the preflight did not refuse is an
// error of the set-up.
func refusal(code int, text string) error {
	if !strings.Contains(text, "error: preflight: ") {
		return fmt.Errorf("it ended with %d, and not because of the preflight:\n%s", code, text)
	}
	return exited(code)
}

// begin starts the relay and waits until it serves; the error is an exited
// where it ended before that.
func (s *server) begin(smarthost bool) (err error) {
	if err := s.configure(smarthost); err != nil {
		return err
	}
	if s.booted != nil {
		return s.booted.begin(s.out)
	}
	if s.relay, err = s.start(s.out, "relay", "relay", "serve"); err != nil {
		return err
	}
	if err := s.relay.await(`"msg":"serving"`); err != nil {
		select {
		case <-s.relay.done:
			text, _ := s.out.since(s.relay.begun)
			err = refusal(s.relay.cmd.ProcessState.ExitCode(), text)
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

// firstID is that of the message the log first says to be accepted.
var firstID = regexp.MustCompile(`"msg":"accepted","id":"(\w*)"`)

func (s *server) send() error {
	for _, r := range s.receivers {
		for _, app := range s.apps {
			s.count++
			p := posted{id: fmt.Sprintf("%s-%s-%d", s.setup, app.name, s.count), to: r}
			from, to := "alice@"+s.domain, "bob@"+r.receives
			text := fmt.Sprintf(hello, from, to, app.name, time.Now().Format(time.RFC1123Z), idField, p.id)
			before, _ := s.out.since(0)
			if err := s.post(app, strconv.Itoa(s.count), from, to, text); err != nil {
				return err
			}
			if s.relay != nil { // systemd keeps what is said to itself
				if err := s.out.await(firstID, len(before), s.relay.done); err != nil {
					return err
				}
				said, _ := s.out.since(len(before))
				p.queued = firstID.FindStringSubmatch(said)[1]
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

func cmdSilent(s *server, _ []string) error {
	text, _ := s.out.since(0)
	return s.out.await(regexp.MustCompile(`"stale":true`), len(text), s.relay.done)
}

// cmdWaits: each message that was sent is deferred with that reason.
func cmdWaits(s *server, args []string) error {
	reason := strings.Join(args, " ")
	return s.expect("queue", append([]string{"waits"}, args...), func() (string, error) {
		for _, p := range s.sent {
			if err := s.relay.await(`"msg":"deferred","id":"` + p.queued + `".*"reason":"[^"]*` + reason); err != nil {
				return "", err
			}
		}
		out, err := s.run("relay", "relay", "queue", "list")
		if n := strings.Count(out, "waiting"); err != nil || n != len(s.sent) {
			return fmt.Sprintf("%d wait", n), err
		}
		return "waits " + reason, nil
	})
}

// arrives waits for what was sent, and says which way it came.
func (s *server) arrives() (string, error) {
	sent, late := s.sent, time.Now().Add(patience)
	s.sent = nil
	var ways []string
	for _, p := range sent {
		l, err := p.to.find(p.id, late)
		if err != nil {
			return "", err
		}
		ways = append(ways, "by "+p.to.way(l, s.domain, s.addrs, s.smarthost.addrs[0]))
	}
	slices.Sort(ways)
	return strings.Join(slices.Compact(ways), "; "), nil
}

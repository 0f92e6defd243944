package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"smtprelay/preflight/dns/dnstest"
	"smtprelay/relay/deliver/mxtest"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

type labKey struct{}

// lab is the world of one script.
type lab struct {
	env   *testscript.Env
	sock  string
	net   string
	dns   *dnstest.Server
	hosts map[string]*dnstest.Host
	mx    map[string]*mxtest.Server
	relay *child
	other map[string]*child // by the name that a script gave it
}

func labOf(ts *testscript.TestScript) *lab { return ts.Value(labKey{}).(*lab) }

func (l *lab) close() {
	if l.relay != nil {
		l.relay.kill()
	}
	for _, c := range l.other {
		c.kill()
	}
	for _, m := range l.mx {
		m.Close()
	}
	for _, h := range l.hosts {
		h.Close()
	}
	if l.dns != nil {
		l.dns.Close()
	}
}

// dns FILE... serves the zones; given again, it replaces them.
func cmdDNS(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	var zones []string
	for _, name := range args {
		zones = append(zones, expand(ts, name))
	}
	if l.dns != nil {
		ts.Check(l.dns.Set(zones...))
		return
	}
	var err error
	l.dns, err = dnstest.StartAt(l.net+".53:5300", zones...)
	ts.Check(err)
}

func cmdDNSAdd(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(labOf(ts).dns.Add(fields(args)))
}

// dns-publish FILE adds each line of a file that is a record, as an operator
// would paste it.
func cmdDNSPublish(ts *testscript.TestScript, neg bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if line = strings.TrimSpace(line); strings.Contains(line, " IN ") {
			ts.Check(labOf(ts).dns.Add(line))
		}
	}
}

func cmdDNSRemove(ts *testscript.TestScript, neg bool, args []string) {
	labOf(ts).dns.Remove(args[0], args[1])
}

// dns-behave ZONE [servfail|drop|...]
func cmdDNSBehave(ts *testscript.TestScript, neg bool, args []string) {
	labOf(ts).dns.Behave(args[0], fields(args[1:]))
}

// dns-host ADDRESS ZONE... starts a name server of some of the zones, at the same
// port; ADDRESS refused|servfail|drop|... makes one that runs a bad server.
func cmdDNSHost(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	if h := l.hosts[args[0]]; h != nil {
		ts.Check(h.Behave(fields(args[1:])))
		return
	}
	h, err := l.dns.Host(args[0], args[1:]...)
	ts.Check(err)
	if l.hosts == nil {
		l.hosts = map[string]*dnstest.Host{}
	}
	l.hosts[args[0]] = h
}

// mx ADDRESS [SCRIPT] starts an exchanger; its port is 2525.
func cmdMX(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	script := ""
	if len(args) > 1 {
		script = expand(ts, args[1])
	}
	m, err := mxtest.Start(args[0]+":2525", script)
	ts.Check(err)
	if l.mx == nil {
		l.mx = map[string]*mxtest.Server{}
	}
	l.mx[args[0]] = m
}

// mx-wait ADDRESS N waits for N messages in all and leaves the newest in
// ADDRESS.eml, with its envelope in ADDRESS.env. N = 0 says that none came.
func cmdMXWait(ts *testscript.TestScript, neg bool, args []string) {
	m := labOf(ts).mx[args[0]]
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(m.Wait(ctx, n))
	got := m.Messages()
	if len(got) != n {
		ts.Fatalf("%d messages at %s, expected %d", len(got), args[0], n)
	}
	if n == 0 {
		return
	}
	last := got[n-1]
	host, _, _ := net.SplitHostPort(fmt.Sprint(last.Remote))
	env := fmt.Sprintf("from=%s\nto=%s\nehlo=%s\nremote=%s\ntls=%v\n", last.From, strings.Join(last.To, " "), last.EHLO, host, last.TLS)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".eml"), last.Data, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".env"), []byte(env), 0o600))
}

// mx-held ADDRESS waits until a conversation has come to a "hold" of the script, and
// mx-release ADDRESS lets it go on.
func cmdMXHeld(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(labOf(ts).mx[args[0]].WaitHeld(ctx, 1))
}

func cmdMXRelease(ts *testscript.TestScript, neg bool, args []string) {
	labOf(ts).mx[args[0]].Release()
}

// child is the relay as a process, its log kept line by line.
type child struct {
	cmd   *exec.Cmd
	ready *net.UnixConn // hears what it tells systemd
	done  chan struct{}
	mu    sync.Mutex
	log   bytes.Buffer
	more  chan struct{} // closed and renewed with each line
}

func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.more)
	c.more = make(chan struct{})
	return c.log.Write(p)
}

func (c *child) text() (string, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String(), c.more
}

// relay-start FILE starts the daemon and waits until it says that it is ready.
func cmdRelayStart(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	expand(ts, args[0])
	var err error
	l.relay, err = startRelay(ts.MkAbs(args[0]), l.sock)
	ts.Check(err)
}

// startRelay runs the daemon as a process and waits until it says that it is
// ready, the way it says so to systemd. dir is for the socket that it tells.
func startRelay(config, dir string) (*child, error) {
	c, err := launchRelay(config, dir)
	if err != nil {
		return nil, err
	}
	defer c.ready.Close()
	c.ready.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		n, err := c.ready.Read(buf)
		if err != nil {
			c.kill()
			text, _ := c.text()
			return nil, fmt.Errorf("the relay did not become ready: %w\n%s", err, text)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return c, nil
		}
	}
}

// launchRelay does not wait. Who launches closes ready.
func launchRelay(config, dir string) (*child, error) {
	path := filepath.Join(dir, "notify")
	os.Remove(path) // of one that was killed
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	self, err := exec.LookPath("relay") // this binary, by the name that testscript gave it
	if err != nil {
		return nil, err
	}
	c := &child{ready: ready, done: make(chan struct{}), more: make(chan struct{})}
	c.cmd = exec.Command(self, "serve", "--config", config)
	c.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path)
	c.cmd.Stderr, c.cmd.Stdout = c, c
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, ready.Close())
	}
	go func() { c.cmd.Wait(); close(c.done); ready.SetReadDeadline(time.Now()) }()
	return c, nil
}

// kill ends it at once, and returns when it has ended.
func (c *child) kill() {
	c.cmd.Process.Kill()
	<-c.done
}

// start NAME COMMAND... runs a command beside the script.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	c := &child{done: make(chan struct{}), more: make(chan struct{})}
	c.cmd = exec.Command(path, args[2:]...)
	c.cmd.Dir, c.cmd.Env = ts.Getenv("WORK"), l.env.Vars
	c.cmd.Stderr, c.cmd.Stdout = c, c
	ts.Check(c.cmd.Start())
	go func() { c.cmd.Wait(); close(c.done) }()
	if l.other == nil {
		l.other = map[string]*child{}
	}
	l.other[args[0]] = c
}

// says NAME REGEX waits until what was started prints such a line.
func cmdSays(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(labOf(ts).other[args[0]].says(fields(args[1:])))
}

// ends NAME CODE [INT] waits for the end of what was started, after a signal where one
// is named; what it printed is then in NAME.out.
func cmdEnds(ts *testscript.TestScript, neg bool, args []string) {
	c := labOf(ts).other[args[0]]
	if fields(args[2:]) == "INT" {
		ts.Check(c.cmd.Process.Signal(syscall.SIGINT))
	}
	select {
	case <-c.done:
	case <-time.After(patience):
		text, _ := c.text()
		ts.Fatalf("%s does not end:\n%s", args[0], text)
	}
	text, _ := c.text()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), []byte(text), 0o600))
	if code := strconv.Itoa(c.cmd.ProcessState.ExitCode()); code != args[1] {
		ts.Fatalf("%s ends with %s, expected %s:\n%s", args[0], code, args[1], text)
	}
}

// says waits for a line.
func (c *child) says(regex string) error {
	re, err := regexp.Compile("(?m)" + regex)
	if err != nil {
		return err
	}
	late := time.After(patience)
	for {
		text, more := c.text()
		if re.MatchString(text) {
			return nil
		}
		select {
		case <-more:
			continue
		case <-c.done:
			if text, _ = c.text(); re.MatchString(text) {
				return nil
			}
		case <-late:
		}
		return fmt.Errorf("no line matches %s:\n%s", re, text)
	}
}

// relay-stop [kill] ends the daemon: by SIGTERM, waiting for its drain, or at once.
func cmdRelayStop(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	sig := syscall.SIGTERM
	if fields(args) == "kill" {
		sig = syscall.SIGKILL
	}
	ts.Check(l.relay.cmd.Process.Signal(sig))
	select {
	case <-l.relay.done:
	case <-time.After(patience):
		ts.Fatalf("the relay did not stop")
	}
	text, _ := l.relay.text()
	ts.Logf("%s", text)
	if code := l.relay.cmd.ProcessState.ExitCode(); sig == syscall.SIGTERM && code != 0 {
		ts.Fatalf("the relay stopped with %d", code)
	}
	l.relay = nil
}

// log REGEX waits until a line of the daemon's log matches, and makes variables of
// its named groups; ! log says that none does now.
func cmdLog(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	re, err := regexp.Compile("(?m)" + fields(args))
	ts.Check(err)
	if neg {
		if text, _ := l.relay.text(); re.MatchString(text) {
			ts.Fatalf("a log line matches %s:\n%s", re, text)
		}
		return
	}
	ts.Check(l.relay.says(fields(args)))
	text, _ := l.relay.text()
	found := re.FindStringSubmatch(text)
	for i, name := range re.SubexpNames() {
		if name != "" {
			ts.Setenv(name, found[i])
		}
	}
}

// submit FROM TO,TO... FILE [USER PASSWORD] sends a file as a message by the
// listener at $NET.25:2587, over TLS when a user is named. ! submit: it must
// be refused; the reply is then in "reply".
func cmdSubmit(ts *testscript.TestScript, neg bool, args []string) {
	body := strings.ReplaceAll(strings.ReplaceAll(ts.ReadFile(args[2]), "\r\n", "\n"), "\n", "\r\n")
	err := submitMail(labOf(ts).net+".25:2587", args[0], strings.Split(args[1], ","), []byte(body), args[3:])
	if err == nil {
		if neg {
			ts.Fatalf("it was accepted")
		}
		return
	}
	if !neg {
		text := ""
		if c := labOf(ts).relay; c != nil {
			text, _ = c.text()
		}
		ts.Fatalf("%v\n%s", err, text)
	}
	ts.Check(os.WriteFile(ts.MkAbs("reply"), []byte(err.Error()+"\n"), 0o600))
}

func submitMail(addr, from string, to []string, body []byte, login []string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if len(login) == 2 {
		if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
			return err
		}
		host, _, _ := net.SplitHostPort(addr)
		if err := c.Auth(smtp.PlainAuth("", login[0], login[1], host)); err != nil {
			return err
		}
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// dialogue ADDRESS FILE plays a raw session with a listener: lines "C: text"
// are sent, lines "S: regex" must match the last line of the reply that comes next.
func cmdDialogue(ts *testscript.TestScript, neg bool, args []string) {
	network := "tcp"
	if strings.HasPrefix(args[0], "/") {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, args[0], patience)
	ts.Check(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	in := bufio.NewReader(conn)
	for i, line := range strings.Split(strings.TrimSpace(expand(ts, args[1])), "\n") {
		who, text, _ := strings.Cut(line, ": ")
		switch who {
		case "C", "C:":
			_, err := fmt.Fprintf(conn, "%s\r\n", text)
			ts.Check(err)
		case "S":
			got, err := in.ReadString('\n')
			for err == nil && len(got) > 3 && got[3] == '-' {
				got, err = in.ReadString('\n')
			}
			if err != nil {
				ts.Fatalf("%s:%d: %v, expected %s", args[1], i+1, err, text)
			}
			if !regexp.MustCompile("^" + text).MatchString(strings.TrimSpace(got)) {
				ts.Fatalf("%s:%d: got %q, expected %s", args[1], i+1, got, text)
			}
		default:
			ts.Fatalf("%s:%d: %q is neither C: nor S:", args[1], i+1, line)
		}
	}
}

// flip GLOB OFFSET turns one byte of the one file that matches.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) != 1 {
		ts.Fatalf("%d files match %s", len(names), args[0])
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	data, err := os.ReadFile(names[0])
	ts.Check(err)
	data[at] ^= 0x40
	ts.Check(os.WriteFile(names[0], data, 0o600))
}

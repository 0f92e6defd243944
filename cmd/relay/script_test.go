package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts are the feature list. DNS and the exchangers are real servers in
// this process, the relay is the real program (this binary again), and each
// script has a network of its own on loopback:
//
//	$NET.53:5300  the resolver, and every zone's name server
//	$NET.25       where the relay sends from; it listens at $NET.25:2587
//	$NET.2 ...    exchangers, at port 2525
//	$REV          the reverse zone of $NET
//
// Files are expanded: $NET and the like may stand in zones and configuration.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"relay": main})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dns":         cmdDNS,
			"dns-add":     cmdDNSAdd,
			"dns-publish": cmdDNSPublish,
			"dns-remove":  cmdDNSRemove,
			"dns-behave":  cmdDNSBehave,
			"dns-host":    cmdDNSHost,
			"mx":          cmdMX,
			"mx-wait":     cmdMXWait,
			"mx-held":     cmdMXHeld,
			"mx-release":  cmdMXRelease,
			"expand":      cmdExpand,
			"set":         cmdSet,
			"append":      cmdAppend,
			"relay-start": cmdRelayStart,
			"relay-stop":  cmdRelayStop,
			"relay-hup":   cmdRelayHUP,
			"log":         cmdLog,
			"start":       cmdStart,
			"says":        cmdSays,
			"ends":        cmdEnds,
			"submit":      cmdSubmit,
			"dialogue":    cmdDialogue,
			"flip":        cmdFlip,
			"longmail":    cmdLongMail,
			"largemail":   cmdLargeMail,
			"exit-code":   cmdExitCode,
			"dkim-verify": cmdDKIMVerify,
			"certificate": cmdCertificate,
			"shown":       cmdShown,
			"metrics":     cmdMetrics,
		},
	})
}

var scripts atomic.Int32

func setup(env *testscript.Env) error {
	n := scripts.Add(1)
	a, b := 20+os.Getpid()%200, n
	net := fmt.Sprintf("127.%d.%d", a, b)
	env.Setenv("NET", net)
	env.Setenv("REV", fmt.Sprintf("%d.%d.127.in-addr.arpa", b, a))
	env.Setenv("HOME", env.WorkDir)
	// A unix socket's path has little room; the script's own directory may be deep.
	sock, err := os.MkdirTemp("", "relay")
	if err != nil {
		return err
	}
	env.Setenv("SOCK", sock)
	env.Defer(func() { os.RemoveAll(sock) })
	l := &lab{env: env, sock: sock, net: net}
	env.Values[labKey{}] = l
	env.Defer(l.close)
	return common(env)
}

// common writes what most scripts start from; a script's own files of the same
// name win.
func common(env *testscript.Env) error {
	files, err := filepath.Glob("testdata/common/*")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("testdata/common is empty")
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		path := filepath.Join(env.WorkDir, filepath.Base(name))
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		expand(ts, name)
	}
}

// expand replaces $NET and the like in a file of the script, once and for all.
func expand(ts *testscript.TestScript, name string) string {
	path := ts.MkAbs(name)
	text := os.Expand(ts.ReadFile(path), func(key string) string {
		if v := ts.Getenv(key); v != "" {
			return v
		}
		return "$" + key
	})
	ts.Check(os.WriteFile(path, []byte(text), 0o600))
	return text
}

// set FILE SECTION KEY = VALUE sets a line of a section, the first of that name.
func cmdSet(ts *testscript.TestScript, neg bool, args []string) {
	path, section, key, line := ts.MkAbs(args[0]), args[1], args[2], fields(args[2:])
	var out []string
	inside, done := false, false
	for text := range strings.Lines(ts.ReadFile(path)) {
		text = strings.TrimSuffix(text, "\n")
		if strings.HasPrefix(text, "[") {
			inside = !done && strings.Trim(text, "[]") == section
			out = append(out, text)
			if inside {
				out, done = append(out, line), true
			}
			continue
		}
		if name, _, ok := strings.Cut(text, "="); inside && ok && strings.TrimSpace(name) == key {
			continue
		}
		out = append(out, text)
	}
	if !done {
		out = append(out, "", "["+section+"]", line)
	}
	ts.Check(os.WriteFile(path, []byte(strings.Join(out, "\n")+"\n"), 0o600))
}

// append FILE MORE adds the text of MORE to FILE.
func cmdAppend(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0]) + "\n" + ts.ReadFile(args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// relay-hup tells the daemon what a closed terminal does.
func cmdRelayHUP(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(labOf(ts).relay.cmd.Process.Signal(syscall.SIGHUP))
}

// exit-code N COMMAND... runs a command and looks at its exit code only.
func cmdExitCode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

// fields is the rest of a command line as one string.
func fields(args []string) string { return strings.Join(args, " ") }

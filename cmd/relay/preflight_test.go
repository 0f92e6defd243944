package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
)

// Any two flags of relay preflight either work together or are refused by name,
// and no third thing: a flag that is passed over in silence is a lie.
func TestPreflightFlagPairs(t *testing.T) {
	flags := map[string][]string{
		"json": {"--json"}, "strict": {"--strict"}, "quiet": {"--quiet"}, "trace": {"--trace"},
		"watch": {"--watch"}, "daemon": {"--daemon"}, "explain": {"--explain=PTR-EXISTS"}, "if": {"--if=a.test A 192.0.2.1"},
		"ip": {"--ip=192.0.2.25", "--ehlo=mail.example.net"}, "ehlo": {"--ehlo=mail.example.net", "--ip=192.0.2.25"},
		"from":     {"--from=example.net", "--ip=192.0.2.25", "--ehlo=mail.example.net"},
		"envelope": {"--envelope=b.example.net", "--from=example.net", "--ip=192.0.2.25", "--ehlo=mail.example.net"},
		"selector": {"--selector=k1", "--from=example.net", "--ip=192.0.2.25", "--ehlo=mail.example.net"},
	}
	server := []string{"ip", "ehlo", "from", "envelope", "selector"}
	works := func(a, b string) bool {
		for _, pair := range []struct {
			one    string
			others []string
		}{
			{"json", append([]string{"strict", "trace", "daemon", "explain", "if"}, server...)}, // --strict: the exit code only
			{"strict", append([]string{"quiet", "trace", "watch", "daemon", "if"}, server...)},
			{"quiet", append([]string{"watch", "daemon", "if"}, server...)},
			{"trace", server},
			{"watch", server},
			{"if", server},
			{"ip", server}, {"ehlo", server}, {"from", server}, {"envelope", server}, {"selector", server},
		} {
			if a == pair.one && slices.Contains(pair.others, b) || b == pair.one && slices.Contains(pair.others, a) {
				return true
			}
		}
		return false
	}
	for _, f := range strings.Fields(flagNames(t)) {
		if flags[f] == nil {
			t.Errorf("what becomes of --%s beside others?", f)
		}
	}
	for a := range flags {
		for b := range flags {
			if a >= b {
				continue
			}
			var out, errs bytes.Buffer
			args := append([]string{"preflight", "--config=missing.toml"}, append(slices.Clone(flags[a]), flags[b]...)...)
			code := run(context.Background(), world{args: args, stdout: &out, stderr: &errs})
			refused := code == exitUsage && strings.Contains(errs.String(), "do not go together")
			switch {
			case works(a, b) == refused:
				t.Errorf("--%s --%s: exit %d, %s%s", a, b, code, out.String(), errs.String())
			case refused && !strings.Contains(errs.String(), "--"+a) && !strings.Contains(errs.String(), "--"+b):
				t.Errorf("--%s --%s: neither is named: %s", a, b, errs.String())
			// What works comes as far as the configuration that is not there, or explains.
			case !refused && code != exitConfig && !(code == exitOK && (a == "explain" || b == "explain")):
				t.Errorf("--%s --%s: exit %d, %s", a, b, code, errs.String())
			}
		}
	}
}

func flagNames(t *testing.T) string {
	t.Helper()
	for _, c := range commands(world{}).Commands() {
		if c.Name() == "preflight" {
			var names []string
			for _, line := range strings.Split(c.LocalFlags().FlagUsages(), "\n") {
				if _, rest, ok := strings.Cut(line, "--"); ok {
					if name := strings.Fields(rest)[0]; name != "config" && name != "help" {
						names = append(names, name)
					}
				}
			}
			return strings.Join(names, " ")
		}
	}
	t.Fatal("there is no preflight")
	return ""
}

// What --explain says of an id that is none: all there is, and a matter of usage.
func TestExplainNothing(t *testing.T) {
	for _, args := range [][]string{{"--explain", "PTR-EXIST"}, {"--explain", "PTR-EXIST", "--json"}, {"--explain", ""}} {
		var out, errs bytes.Buffer
		code := run(context.Background(), world{args: append([]string{"preflight"}, args...), stdout: &out, stderr: &errs})
		if code != exitUsage || out.Len() > 0 || !strings.Contains(errs.String(), "SMARTHOST-REACHABLE") {
			t.Errorf("%q: exit %d, %s%s", args, code, out.String(), errs.String())
		}
		if args[1] != "" && !strings.Contains(errs.String(), "nearest first: PTR-EXISTS, PTR") {
			t.Errorf("%q: %s", args, errs.String())
		}
	}
}

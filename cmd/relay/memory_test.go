package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		alive uint64
		since time.Duration
		want  int
	}{
		{5 * mib, 30 * time.Second, 100}, // little to do
		{0, time.Second, 1600},
		{4 * mib, time.Second, 1600},
		{16 * mib, time.Second, 400}, // 64 MiB more
		{64 * mib, time.Second, 100},
		{100 * mib, time.Second, 60}, // up to 160 MiB
		{128 * mib, time.Second, 25},
		{200 * mib, time.Second, 25},
		{1024 * mib, time.Second, 25},
	} {
		if got := growth(c.alive, c.since); got != c.want {
			t.Errorf("%d MiB alive, %v after the last collection: %d%%, want %d%%", c.alive/mib, c.since, got, c.want)
		}
	}
}

// What is set is in force while a relay serves, and gone when it has ended.
func TestServeHoldsMemory(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	dir, err := os.MkdirTemp("", "relay") // a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "relay.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `state = "%[1]s/state"
[[source]]
name = "a"
bind = "127.0.0.1"
ehlo = "mail.example.com"
[preflight]
on_fail = "warn"
on_unknown = "send"
startup_wait = "1s"
private = true
discovery = "off"
[submission]
listen = ["unix:%[1]s/submit"]
[dns]
servers = ["127.0.0.1"]
port = 9
[admin]
socket = "%[1]s/admin"
`, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := false
	code := run(ctx, world{
		args: []string{"serve", "-c", config}, stdin: strings.NewReader(""), stdout: io.Discard, stderr: t.Output(),
		notify: func(state string) {
			if !strings.HasPrefix(state, "READY=1") {
				return
			}
			served = true
			for deadline := time.Now().Add(patience); runtimeSays("/gc/gogc:percent") <= usual; { // the pace is set on a goroutine of its own
				if runtime.GC(); time.Now().After(deadline) {
					t.Errorf("collections one after the other, and the heap may grow by %d%%", runtimeSays("/gc/gogc:percent"))
					break
				}
			}
			if got, want := runtimeSays("/gc/gomemlimit:bytes"), uint64(memoryLimit("/")); got != want {
				t.Errorf("limit %d, want %d", got, want)
			}
			stop()
		},
	})
	if code != exitOK || !served {
		t.Errorf("exit code %d, served: %v", code, served)
	}
	if got := runtimeSays("/gc/gogc:percent"); got != usual {
		t.Errorf("%d%% at the end", got)
	}
}

func TestOperatorsMemorySettingsPrevail(t *testing.T) {
	t.Setenv("GOGC", "77")
	t.Setenv("GOMEMLIMIT", "7GiB")
	defer debug.SetGCPercent(debug.SetGCPercent(77)) // the runtime read the environment at the start of the process
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(7 << 30))
	release := holdMemory()
	runtime.GC()
	release()
	if gogc, limit := runtimeSays("/gc/gogc:percent"), runtimeSays("/gc/gomemlimit:bytes"); gogc != 77 || limit != 7<<30 {
		t.Errorf("%d%%, %d octets", gogc, limit)
	}
}

func runtimeSays(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestMemoryLimit(t *testing.T) {
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"nothing is known": {"", map[string]string{}, math.MaxInt64},
		"no limit":         {"0::/a\n", map[string]string{"a/memory.max": "max\n"}, math.MaxInt64},
		"a limit":          {"0::/a/b\n", map[string]string{"a/b/memory.max": "268435456\n"}, 192 << 20},
		"of a parent":      {"0::/a/b\n", map[string]string{"a/b/memory.max": "max\n", "a/memory.max": "268435456\n"}, 192 << 20},
		"a soft limit":     {"0::/a\n", map[string]string{"a/memory.max": "536870912\n", "a/memory.high": "268435456\n"}, 192 << 20},
		"of a container":   {"0::/\n", map[string]string{"memory.max": "268435456\n"}, 192 << 20},
		"of version 1":     {"4:cpu:/a\n3:memory:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "268435456\n"}, 192 << 20},
		"none, version 1":  {"3:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 9223372036854771712 / 4 * 3},
		"not a number":     {"0::/a\nodd\n", map[string]string{"a/memory.max": "?\n"}, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			c.files["../../../proc/self/cgroup"] = c.groups
			for path, text := range c.files {
				path = filepath.Join(root, "sys/fs/cgroup", path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := memoryLimit(root); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

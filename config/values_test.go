package config

import (
	"encoding"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "5d": 120 * time.Hour, "1d12h": 36 * time.Hour,
		"250ms": 250 * time.Millisecond, "0d": 0,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(d), err)
		}
	}
	for _, text := range []string{"", "5", "d", "-1s", "-1d", "1.5d", "5 m", "99999d", "1d-2h", "1000000h", "auto", "dd", "5m\n"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %v", text, d)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", time.Minute: "1m", time.Hour: "1h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 90 * time.Second: "1m30s", 3610 * time.Second: "1h0m10s"} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0B": 0, "1023B": 1023, "512KiB": 512 << 10, "50MiB": 50 << 20, "2GiB": 2 << 30} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s: %d, %s, %v", text, s, s, err)
		}
	}
	for _, text := range []string{"", "5", "MiB", "5MB", "5M", "-5MiB", "5 MiB", "9999999999GiB", "1.5MiB", "0x5B"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %v", text, s)
		}
	}
}

// FuzzValues: whatever is taken is written so that it is taken again for the same.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"5d3h", "auto", "never", "50MiB", "0660", "1h0m1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, pair := range [][2]measure{
			{new(Duration), new(Duration)}, {new(Settle), new(Settle)}, {new(Notice), new(Notice)}, {new(Size), new(Size)}, {new(Mode), new(Mode)},
		} {
			if pair[0].UnmarshalText([]byte(text)) != nil {
				continue
			}
			shown, err := pair[0].(encoding.TextMarshaler).MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			if err := pair[1].UnmarshalText(shown); err != nil {
				t.Fatalf("%T %q is written %q: %v", pair[0], text, shown, err)
			}
			again, _ := pair[1].(encoding.TextMarshaler).MarshalText()
			if string(again) != string(shown) {
				t.Fatalf("%T %q: %q, then %q", pair[0], text, shown, again)
			}
		}
	})
}

const withSmartHost = `
state = "state"
[delivery]
route = "smarthost"
[[smarthost]]
url = "smtp://user@smtp.isp.example"
password_file = "PASSWORD"
`

// TestCredential: what the service manager guards needs no mode of ours.
func TestCredential(t *testing.T) {
	w := newWorld(t)
	w.do("mkdir 0700 creds")
	w.write("creds/isp", "hunter2\n")
	w.do("chmod 0440 creds/isp")
	t.Setenv("CREDENTIALS_DIRECTORY", w.path("creds"))
	w.write("relay.toml", strings.Replace(withSmartHost, "PASSWORD", "credential:isp", 1))
	o, err := Load(w.path("relay.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(o.Plan.SmartHosts[0].Password); got != "hunter2" {
		t.Errorf("password %q", got)
	}
	for _, name := range []string{"other", "../creds/isp", ""} {
		w.write("relay.toml", strings.Replace(withSmartHost, "PASSWORD", "credential:"+name, 1))
		if _, err := Load(w.path("relay.toml")); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("credential %q: %v", name, err)
		}
	}
}

// TestForeignOwner: a secret of another account is refused. Only root can make
// one; for anybody else root's own files stand for what is accepted.
func TestForeignOwner(t *testing.T) {
	w := newWorld(t)
	w.write("password", "hunter2\n")
	w.write("relay.toml", strings.Replace(withSmartHost, "PASSWORD", "password", 1))
	if os.Geteuid() == 0 {
		w.check(os.Chown(w.path("password"), 12345, -1))
		if _, err := Load(w.path("relay.toml")); err == nil || !strings.Contains(err.Error(), "owned by user 12345") {
			t.Errorf("a foreign file: %v", err)
		}
		// Root checks in the place of the account that owns the state.
		w.check(os.Chown(w.path("state"), 12345, -1))
	}
	if _, err := Load(w.path("relay.toml")); err != nil {
		t.Error(err)
	}
	fi, err := os.Stat("/")
	w.check(err)
	if l := (&loader{file: &File{State: w.path("state")}}); owner(fi) == 0 && !l.ours(fi) {
		t.Error("root's files are refused")
	}
}

// TestWritableParent: who can write beside the configuration can replace it.
func TestWritableParent(t *testing.T) {
	w := newWorld(t)
	w.do("mkdir 0777 open")
	w.write("open/relay.toml", "state = \"$DIR/state\"\n[[source]]\nname = \"a\"\nehlo = \"mail.example.com\"\n")
	if _, err := Load(w.path("open/relay.toml")); err == nil || !strings.Contains(err.Error(), "chmod o-w "+w.path("open")) {
		t.Errorf("got %v", err)
	}
	w.do("chmod 0755 open")
	if _, err := Load(w.path("open/relay.toml")); err != nil {
		t.Error(err)
	}
	if _, err := Load(filepath.Join(w.path("open"), "..", "open", "relay.toml")); err != nil {
		t.Error(err)
	}
}

package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadServers(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "[127.0.0.1:53]",
		"search example.net\n# no": "[127.0.0.1:53]",
		"nameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\n": "[192.0.2.1:53 [2001:db8::1]:53]",
		"nameserver fe80::1%eth0":                             "[[fe80::1%eth0]:53]",
		strings.Repeat("nameserver 192.0.2.1\n", 5):           "[192.0.2.1:53 192.0.2.1:53 192.0.2.1:53]",
		"; old\n\nnameserver here":                            `line 3: nameserver "here" is not an address`,
		"nameserver":                                          "line 1: nameserver without an address",
	} {
		servers, err := readServers(strings.NewReader(text))
		got := fmt.Sprint(servers)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// A machine whose network comes up later is asked anew, and a file that is being
// written is no reason to forget what it said.
func TestFollowServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	servers := follow(path, 0)
	for _, c := range []struct{ text, want string }{
		{"", "[127.0.0.1:53]"},
		{"nameserver 192.0.2.1", "[192.0.2.1:53]"},
		{"nameserver", "[192.0.2.1:53]"},
		{"nameserver 192.0.2.2", "[192.0.2.2:53]"},
	} {
		if c.text != "" {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(servers()); got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

func FuzzReadServers(f *testing.F) {
	f.Add("nameserver 127.0.0.1\noptions edns0")
	f.Add("nameserver fe80::1%")
	f.Fuzz(func(t *testing.T, s string) {
		servers, err := readServers(strings.NewReader(s))
		if err == nil && (len(servers) == 0 || len(servers) > maxServers) {
			t.Errorf("%q: %v", s, servers)
		}
	})
}

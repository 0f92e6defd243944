package submit

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someUsers = `# who may submit

alice $argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA messages=1000/h
  shop	$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA   $argon2id$v=19$m=64,t=2,p=4$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA from=example.com,Example.NET recipients=5/d
# bob is gone
ünï@example.com $argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA`

func TestUsersFile(t *testing.T) {
	us, err := ParseUsers("users", strings.NewReader(someUsers))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"alice", "shop", "ünï@example.com"}, us.Names()); d != "" {
		t.Error(d)
	}
	shop := us.find("shop")
	if len(shop.verifiers) != 2 || shop.messages != nil || shop.receivers.limit != 5 || cmp.Diff([]string{"example.com", "example.net"}, shop.from) != "" {
		t.Errorf("%+v", shop)
	}
	if us.find("bob") != nil || us.find("") != nil || us.find("Alice") != nil {
		t.Error("found who is not there")
	}
}

// Each fault has its line, all at once, and no error quotes a secret.
func TestUsersFileFaults(t *testing.T) {
	hash := "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
	text := strings.Join([]string{
		"alice " + hash,
		"alice " + hash,
		"bob",
		"carol $2y$10$SECRETSECRET",
		"dave $argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
		"erin $argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"frank $argon2id$v=19$m=4000000000,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"grace $argon2id$v=19$m=8,t=99,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"heidi $argon2id$v=19$m=8,t=1,p=0$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"ivan $argon2id$v=19$t=1,m=8,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"judy $argon2id$v=19$m=8,t=1,p=1$c2Fs$AAAAAAAAAAAAAAAAAAAAAA",
		"mallory $argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$SECRET!",
		"niaj " + hash + " speed=9/h",
		"olivia " + hash + " messages=1000",
		"peggy " + hash + " messages=1/h messages=2/h",
		"rupert " + hash + " from=exa_mple.com",
		"sybil " + hash + " SECRET",
		"$trent " + hash,
		"u\x1b[31m " + hash,
		"\xff " + hash,
		"victor $",
		"walter:$2y$05$SECRETSECRET",
		"xenia:SECRET 500:500",
		"yves $SECRET",
	}, "\n")
	_, err := ParseUsers("f", strings.NewReader(text))
	if err == nil {
		t.Fatal("no error")
	}
	want := `f:2: user alice stands in the file twice
f:3: no verifier ($argon2id$...) after the name: relay user add NAME makes one
f:4: user carol: unknown kind of verifier: expected $argon2id$
f:5: user dave: malformed verifier: expected $argon2id$v=19$m=..,t=..,p=..$SALT$HASH
f:6: user erin: argon2id: version "v=16": expected v=19
f:7: user frank: argon2id: m=4000000000: expected 8 to 131072 (KiB)
f:8: user grace: argon2id: t=99: expected 1 to 16
f:9: user heidi: argon2id: p=0: expected 1 to 16
f:10: user ivan: argon2id: expected m=NUMBER, found "t=1"
f:11: user judy: argon2id: the salt must be 8 to 64 octets in base64 without padding
f:12: user mallory: argon2id: the hash must be 16 to 64 octets in base64 without padding
f:13: field 3: expected a verifier ($argon2id$...) or one of from=, messages=, recipients=, each once
f:14: user olivia: messages: "1000": expected NUMBER/UNIT with a unit of s, m, h or d, such as 1000/h
f:15: field 4: expected a verifier ($argon2id$...) or one of from=, messages=, recipients=, each once
f:16: user rupert: from: "exa_mple.com" is no domain
f:17: field 3: expected a verifier ($argon2id$...) or one of from=, messages=, recipients=, each once
f:18: the name of a user cannot begin with "$"
f:19: white space or unprintable characters in the name of a user
f:20: not valid UTF-8
f:21: user victor: unknown kind of verifier: expected $argon2id$
f:22: no verifier ($argon2id$...) after the name: relay user add NAME makes one
f:23: field 2: expected a verifier ($argon2id$...) or one of from=, messages=, recipients=, each once
f:24: user yves: unknown kind of verifier: expected $argon2id$`
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); d != "" {
		t.Error(d)
	}
}

func TestAddAndRemoveUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := AddUser(path, "first", "pässword"); err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm()&^0o640 != 0 {
		t.Errorf("mode %v", fi.Mode())
	}
	logsIn := func(name, password string) bool {
		t.Helper()
		us, err := LoadUsers(path)
		if err != nil {
			t.Fatal(err)
		}
		u, err := newAuthority(us, nil).check(t.Context(), "", name, password)
		return u != nil && err == nil
	}
	if !logsIn("first", "pässword") || logsIn("first", "password") {
		t.Error("first")
	}

	if err := os.WriteFile(path, []byte(someUsers), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o640)
	if err := AddUser(path, "shop", "new"); err != nil {
		t.Fatal(err)
	}
	if err := AddUser(path, "bob", "x y"); err != nil {
		t.Fatal(err)
	}
	if err := RemoveUser(path, "alice"); err != nil {
		t.Fatal(err)
	}
	if !logsIn("shop", "new") || !logsIn("bob", "x y") || logsIn("alice", "") {
		t.Error("not as told")
	}
	b, _ := os.ReadFile(path)
	lines := strings.Split(string(b), "\n")
	for i, l := range lines {
		before, rest, ok := strings.Cut(l, "$argon2id$")
		if ok {
			_, limits, _ := strings.Cut(rest, " ")
			lines[i] = strings.TrimSpace(before + "V " + limits)
		}
	}
	if d := cmp.Diff([]string{"# who may submit", "", "shop V from=example.com,Example.NET recipients=5/d", "# bob is gone", "ünï@example.com V", "bob V", ""}, lines); d != "" {
		t.Error(d)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", fi.Mode())
	}

	before, _ := os.ReadFile(path)
	for _, err := range []error{
		RemoveUser(path, "nobody"), AddUser(path, "", "x"), AddUser(path, "a b", "x"), AddUser(path, "#a", "x"), AddUser(path, "a\n", "x"),
		AddUser(path, "a", ""), AddUser(path, "a", "x\ny"), RemoveUser(path+"2", "a"),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the file changed")
	}
	if es, _ := os.ReadDir(filepath.Dir(path)); len(es) != 1 {
		t.Errorf("left behind: %v", es)
	}
	os.WriteFile(path, []byte("broken\n"), 0o600)
	if err := AddUser(path, "a", "x"); err == nil || !strings.Contains(err.Error(), path+":1: ") {
		t.Errorf("%v", err)
	}
}

func TestUsersAddedAtOnceAreAllThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, n := range names {
		wg.Go(func() {
			if err := AddUser(path, n, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	us, err := LoadUsers(path)
	if err != nil || len(us.Names()) != len(names) {
		t.Errorf("%v %v", us, err)
	}
}

func TestUsersFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	os.WriteFile(path, nil, 0o600)
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o400: true, 0o644: false, 0o660: false, 0o777: false} {
		os.Chmod(path, mode)
		if _, err := LoadUsers(path); (err == nil) != ok || !ok && !strings.Contains(err.Error(), "expected 0600 or 0640") {
			t.Errorf("%04o: %v", mode, err)
		}
	}
	for _, p := range []string{path + "2", filepath.Dir(path)} {
		if _, err := LoadUsers(p); err == nil {
			t.Error(p)
		}
	}
}

// FuzzUsers: no text makes the parser panic, or a user who cannot be found or
// costs too much.
func FuzzUsers(f *testing.F) {
	f.Add(someUsers)
	f.Add("a $argon2id$v=19$m=131072,t=16,p=16$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA messages=1/s")
	f.Add("a $$$$$ =\nb\n$\n#")
	f.Fuzz(func(t *testing.T, text string) {
		us, err := ParseUsers("f", strings.NewReader(text))
		if err != nil {
			return
		}
		for _, n := range us.Names() {
			u := us.find(n)
			if u == nil || len(u.verifiers) == 0 || checkName(n) != nil {
				t.Fatalf("%q: %+v", n, u)
			}
			for _, v := range u.verifiers {
				a := v.(argon2id)
				if a.memory > maxMemoryKiB || a.time > maxPasses || a.threads > maxThreads || a.threads == 0 {
					t.Fatalf("%+v", a)
				}
				if again, err := parseVerifier(a.String()); err != nil || again.(argon2id).String() != a.String() {
					t.Fatalf("%v: %v", a, err)
				}
			}
		}
	})
}

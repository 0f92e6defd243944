package submit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Users are the accounts that may log in. Their file has a line for each:
//
//	# comment
//	alice  $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH  messages=1000/h
//	shop   $argon2id$... $argon2id$...  recipients=5000/d  from=example.com,example.net
//
// First the name: no white space, not beginning with # or $. Then, in any
// order, at least one verifier (each is a password that works; two, while one
// replaces the other) and limits. A verifier begins with $ and has the PHC
// string form; argon2id is the only kind. Limits are messages=N/UNIT and
// recipients=N/UNIT, counted over the UNIT (s, m, h or d) that ends now, and
// from=DOMAIN,..., the domains that MAIL FROM and From may have.
type Users struct {
	byName map[string]*user
	order  []string
	most   int      // verifiers of one user
	decoy  verifier // costs what theirs do; who fits it is nobody
}

type user struct {
	name      string
	verifiers []verifier
	from      []string // nil: any
	messages  *quota   // nil: no limit
	receivers *quota
}

// verifier knows one password.
type verifier interface {
	fits(password string) bool
}

const maxUsersFile = 16 << 20

// ParseUsers reads a users file; name stands in errors. It reports the first
// fault of each line, all lines at once.
func ParseUsers(name string, r io.Reader) (*Users, error) {
	us := &Users{byName: map[string]*user{}}
	var errs []error
	sc := bufio.NewScanner(io.LimitReader(r, maxUsersFile))
	for n := 1; sc.Scan(); n++ {
		u, err := parseUser(sc.Text())
		if err == nil && u != nil && us.byName[u.name] != nil {
			err = fmt.Errorf("user %s stands in the file twice", u.name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, n, err))
			continue
		}
		if u != nil {
			us.byName[u.name] = u
			us.order = append(us.order, u.name)
			us.most, us.decoy = max(us.most, len(u.verifiers)), u.verifiers[0]
		}
	}
	if err := sc.Err(); err != nil {
		errs = append(errs, fmt.Errorf("read %s: %w", name, err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return us, nil
}

// LoadUsers reads the users file at path. Others than its owner and group must
// not be able to read it, and only its owner to write it.
func LoadUsers(path string) (*Users, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("users file %s: not a regular file", path)
	}
	if m := fi.Mode().Perm(); m&^0o640 != 0 {
		return nil, fmt.Errorf("users file %s: mode is %04o: expected 0600 or 0640 (chmod 0640 %s)", path, m, path)
	}
	return ParseUsers(path, f)
}

// Names in the order of the file.
func (us *Users) Names() []string { return slices.Clone(us.order) }

func (us *Users) find(name string) *user {
	if us == nil {
		return nil
	}
	return us.byName[name]
}

// parseUser reads a line; nil for one without a user. An error repeats a name
// only when a verifier or limit stands after it: a line of another kind of file
// may begin with a secret.
func parseUser(line string) (*user, error) {
	if !utf8.ValidString(line) {
		return nil, errors.New("not valid UTF-8")
	}
	fields := strings.Fields(line)
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return nil, nil
	}
	if err := checkName(fields[0]); err != nil {
		return nil, err
	}
	if len(fields) == 1 {
		return nil, errNoVerifier
	}
	u := &user{name: fields[0]}
	seen := map[string]bool{}
	for i, f := range fields[1:] {
		if strings.HasPrefix(f, "$") {
			v, err := parseVerifier(f)
			if err != nil {
				return nil, fmt.Errorf("user %s: %w", u.name, err)
			}
			u.verifiers = append(u.verifiers, v)
			continue
		}
		key, value, ok := strings.Cut(f, "=")
		set, known := limitsOf[key]
		if !ok || !known || seen[key] {
			// It may be a password in the clear: it is not repeated.
			return nil, fmt.Errorf("field %d: expected a verifier ($argon2id$...) or one of %s, each once", i+2, limitNames())
		}
		seen[key] = true
		if err := set(u, value); err != nil {
			return nil, fmt.Errorf("user %s: %s: %w", u.name, key, err)
		}
	}
	if len(u.verifiers) == 0 {
		return nil, errNoVerifier
	}
	return u, nil
}

var errNoVerifier = errors.New("no verifier ($argon2id$...) after the name: relay user add NAME makes one")

// checkName judges a name and does not repeat it.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a user is empty")
	case len(name) > maxMailbox:
		return fmt.Errorf("the name of a user is longer than %d octets", maxMailbox)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return errors.New("white space or unprintable characters in the name of a user")
	case name[0] == '#' || name[0] == '$':
		return fmt.Errorf("the name of a user cannot begin with %q", name[:1])
	}
	return nil
}

// limitsOf are the limits a line can set.
var limitsOf = map[string]func(u *user, value string) error{
	"messages":   func(u *user, v string) (err error) { u.messages, err = parseQuota(v); return err },
	"recipients": func(u *user, v string) (err error) { u.receivers, err = parseQuota(v); return err },
	"from":       setFrom,
}

func limitNames() string {
	return strings.Join(slices.Sorted(maps.Keys(limitsOf)), "=, ") + "="
}

func setFrom(u *user, value string) error {
	for d := range strings.SplitSeq(value, ",") {
		domain, err := parseDomain(d)
		if err != nil || strings.HasPrefix(domain, "[") {
			return fmt.Errorf("%q is no domain", d)
		}
		u.from = append(u.from, domain)
	}
	return nil
}

// nameOf is the name in a line of a users file, or "".
func nameOf(line []byte) string {
	f := bytes.Fields(line)
	if len(f) == 0 || f[0][0] == '#' {
		return ""
	}
	return string(f[0])
}

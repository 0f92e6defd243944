package submit

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argon2id is a verifier (RFC 9106).
type argon2id struct {
	memory, time uint32 // KiB, passes
	threads      uint8
	salt, hash   []byte
}

// What a verifier in the file may cost: a line must not stop the machine.
const (
	maxMemoryKiB = 128 << 10
	maxPasses    = 16
	maxThreads   = 16
)

// newVerifier is for a new password: 19 MiB and two passes, about 30 ms.
func newVerifier(password string) argon2id {
	v := argon2id{memory: 19456, time: 2, threads: 1, salt: make([]byte, 16)}
	rand.Read(v.salt) //nolint:errcheck // never fails
	v.hash = v.derive(password, 32)
	return v
}

func (v argon2id) derive(password string, octets int) []byte {
	return argon2.IDKey([]byte(password), v.salt, v.time, v.memory, v.threads, uint32(octets))
}

func (v argon2id) fits(password string) bool {
	return subtle.ConstantTimeCompare(v.derive(password, len(v.hash)), v.hash) == 1
}

func (v argon2id) String() string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, v.memory, v.time, v.threads,
		b.EncodeToString(v.salt), b.EncodeToString(v.hash))
}

// parseVerifier reads a PHC string. It never quotes what could be a secret.
func parseVerifier(s string) (verifier, error) {
	parts := strings.Split(s, "$") // "", kind, v=, params, salt, hash
	if parts[1] != "argon2id" {
		return nil, errors.New("unknown kind of verifier: expected $argon2id$")
	}
	if len(parts) != 6 {
		return nil, errors.New("malformed verifier: expected $argon2id$v=19$m=..,t=..,p=..$SALT$HASH")
	}
	if parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, fmt.Errorf("argon2id: version %q: expected v=%d", parts[2], argon2.Version)
	}
	v := argon2id{}
	if err := v.parseParams(parts[3]); err != nil {
		return nil, err
	}
	var err error
	if v.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(v.salt) < 8 || len(v.salt) > 64 {
		return nil, errors.New("argon2id: the salt must be 8 to 64 octets in base64 without padding")
	}
	if v.hash, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(v.hash) < 16 || len(v.hash) > 64 {
		return nil, errors.New("argon2id: the hash must be 16 to 64 octets in base64 without padding")
	}
	return v, nil
}

func (v *argon2id) parseParams(s string) error {
	ps := strings.Split(s, ",")
	if len(ps) != 3 {
		return errors.New("argon2id: expected m=NUMBER,t=NUMBER,p=NUMBER")
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(ps[i], name)
		var err error
		if n[i], err = strconv.ParseUint(digits, 10, 32); !ok || err != nil {
			return fmt.Errorf("argon2id: expected %sNUMBER, found %q", name, ps[i])
		}
	}
	m, t, p := n[0], n[1], n[2]
	switch {
	case p < 1 || p > maxThreads:
		return fmt.Errorf("argon2id: p=%d: expected 1 to %d", p, maxThreads)
	case t < 1 || t > maxPasses:
		return fmt.Errorf("argon2id: t=%d: expected 1 to %d", t, maxPasses)
	case m < 8*p || m > maxMemoryKiB:
		return fmt.Errorf("argon2id: m=%d: expected %d to %d (KiB)", m, 8*p, maxMemoryKiB)
	}
	v.memory, v.time, v.threads = uint32(m), uint32(t), uint8(p)
	return nil
}

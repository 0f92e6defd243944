package submit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	maxFailures = 3  // of AUTH on one connection
	maxTries    = 40 // that failed, from one address
	forgiven    = 10 * time.Minute
	remembered  = 10 * time.Minute
	maxMemory   = 4096 // successes remembered at once
)

// authority checks passwords. A hash is made to be slow, so only a few are
// computed at once, and a success is remembered for minutes: applications log
// in for every message.
type authority struct {
	users  *Users
	log    *slog.Logger
	places chan struct{}
	pause  func(failures int) time.Duration // before a refusal is told

	key   [32]byte // of this process: what is remembered is of no use to others
	mu    sync.Mutex
	good  map[[sha256.Size]byte]time.Time
	tried map[string]int // checks under way or in vain by origin,
	since time.Time      // counted from then on
}

// errTries: an address has guessed too often. An account is never locked, that
// would be a way to lock its user out.
var errTries = refuse(454, "4.7.0", "too many failed logins from your address, try again in ten minutes")

func newAuthority(us *Users, log *slog.Logger) *authority {
	a := &authority{
		users: us, log: log,
		places: make(chan struct{}, runtime.GOMAXPROCS(0)),
		pause:  func(n int) time.Duration { return time.Second << min(n-1, 4) },
		good:   map[[sha256.Size]byte]time.Time{},
	}
	rand.Read(a.key[:]) //nolint:errcheck // never fails
	return a
}

// check returns the user, or nil when name or password are wrong. Every name
// costs as many verifiers as the user has who has most: time tells nothing.
func (a *authority) check(ctx context.Context, origin, name, password string) (*user, error) {
	u := a.users.find(name)
	digest := a.digest(name, password)
	if u != nil && a.remembers(digest) {
		return u, nil
	}
	if !a.charge(origin, 1) {
		return nil, errTries
	}
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	fits := false
	for i := range a.users.most {
		if u != nil && i < len(u.verifiers) {
			fits = u.verifiers[i].fits(password) || fits
		} else {
			a.users.decoy.fits(password)
		}
	}
	if !fits {
		return nil, nil
	}
	a.charge(origin, -1)
	a.remember(digest)
	return u, nil
}

// charge counts tries of an origin, and says whether there may be so many. ""
// has no limit.
func (a *authority) charge(origin string, n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.since) > forgiven {
		a.tried, a.since = map[string]int{}, now
	}
	if origin == "" || a.tried[origin]+n > maxTries {
		return origin == ""
	}
	a.tried[origin] = max(0, a.tried[origin]+n)
	return true
}

// digest separates name and password by an octet that SASL lets stand in neither.
func (a *authority) digest(name, password string) (d [sha256.Size]byte) {
	m := hmac.New(sha256.New, a.key[:])
	m.Write([]byte(name + "\x00" + password))
	m.Sum(d[:0])
	return d
}

func (a *authority) remembers(d [sha256.Size]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.good[d]
	return ok && time.Now().Before(until)
}

func (a *authority) remember(d [sha256.Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if len(a.good) >= maxMemory {
		for k, until := range a.good {
			if !now.Before(until) {
				delete(a.good, k)
			}
		}
	}
	if len(a.good) < maxMemory {
		a.good[d] = now.Add(remembered)
	}
}

// AuthMechanisms are offered under TLS only, and only when there are users.
func (s *session) AuthMechanisms() []string {
	if s.srv.o.Users == nil || s.d.secure == nil {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// Auth begins one exchange.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch {
	case s.srv.o.Users == nil:
		return nil, s.reply(refuse(502, "5.5.1", "AUTH is not offered"))
	case s.d.secure == nil:
		return nil, s.reply(refuse(523, "5.7.10", "TLS is required: use STARTTLS first"))
	case s.transaction() != nil: // RFC 4954 section 4
		return nil, s.reply(refuse(503, "5.5.1", "AUTH is not allowed within a mail transaction"))
	}
	switch mechanism {
	case sasl.Plain:
		return &plain{s: s}, nil
	case sasl.Login:
		return &login{s: s}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

// plain is the server's side of RFC 4616.
type plain struct{ s *session }

func (p *plain) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, p.s.denied("", "malformed PLAIN response")
	}
	identity, name := string(parts[0]), string(parts[1])
	if identity != "" && identity != name {
		return nil, false, p.s.denied(name, "authorization identity differs")
	}
	err := p.s.logIn(name, string(parts[2]))
	return nil, err == nil, err
}

// login is the server's side of the LOGIN mechanism, which no RFC describes:
// two prompts, two answers. Some clients send the name at once.
type login struct {
	s     *session
	asked int
	name  string
}

func (l *login) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		l.asked = 1
		return []byte("Username:"), false, nil
	}
	if l.asked < 2 {
		l.asked, l.name = 2, string(response)
		return []byte("Password:"), false, nil
	}
	if bytes.ContainsRune(response, 0) || bytes.ContainsRune([]byte(l.name), 0) {
		return nil, false, l.s.denied(l.name, "malformed LOGIN response")
	}
	err := l.s.logIn(l.name, string(response))
	return nil, err == nil, err
}

func (s *session) logIn(name, password string) error {
	ctx, cancel := context.WithTimeout(s.srv.ctx, 30*time.Second)
	defer cancel()
	origin := ""
	if s.who == "" {
		origin = originOf(s.ip)
	}
	u, err := s.srv.auth.check(ctx, origin, name, password)
	switch {
	case errors.Is(err, errTries):
		s.denied(name, "too many failures from this address")
		s.d.hangUp()
		return s.reply(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return s.reply(refuse(454, "4.7.0", "too many logins at once, try again later"))
	case err != nil:
		return s.reply(err)
	case u == nil:
		return s.denied(name, "unknown user or wrong password")
	}
	s.user, s.who = u, u.name
	s.d.raw.trust()
	return nil
}

// denied tells the same of every failure, later each time, and ends the
// connection after the last. The log line is made for programs that watch it:
// slog quotes what the client chose.
func (s *session) denied(name, reason string) error {
	s.d.raw.failures++
	n := s.d.raw.failures
	if len(name) > maxMailbox {
		name = name[:maxMailbox]
	}
	s.srv.log.Warn("login refused", "remote", s.remote, "user", name, "reason", reason)
	pause := time.NewTimer(s.srv.auth.pause(n))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-s.srv.ctx.Done():
	}
	if n >= maxFailures {
		s.d.hangUp()
	}
	return smtp.ErrAuthFailed
}

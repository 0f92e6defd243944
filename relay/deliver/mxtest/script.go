package mxtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// script is the parsed form. Its rules count, so it belongs to one server.
type script struct {
	cert           *tls.Certificate
	ca             []byte
	broken         bool // handshakes
	implicit       bool
	user, password string
	hidden         []string
	offered        []string
	rules          []*rule
}

// rule says what happens at a step instead of the usual.
type rule struct {
	step, address string
	do            string // reply, drop, hang, hold, raw, late
	code          int
	text          string
	from, to      int // which of the matching events, counted from 1; to 0: no end
	seen          int
}

var steps = []string{"banner", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "body", "dot", "RSET", "NOOP", "QUIT"}

func parse(text string) (*script, error) {
	sc := &script{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := sc.line(line); err != nil {
			return nil, fmt.Errorf("script line %d: %q: %w", i+1, line, err)
		}
	}
	return sc, nil
}

func (sc *script) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "tls":
		return sc.tls(strings.Fields(rest))
	case "implicit":
		sc.implicit = true
	case "auth":
		var ok bool
		if sc.user, sc.password, ok = strings.Cut(rest, " "); !ok {
			return fmt.Errorf("expected auth USER PASSWORD")
		}
	case "nopipelining":
		sc.hidden = append(sc.hidden, "PIPELINING")
	case "hide":
		sc.hidden = append(sc.hidden, strings.ToUpper(rest))
	case "offer":
		sc.offered = append(sc.offered, rest)
	case "drop", "hang", "hold", "raw", "late":
		return sc.rule(word, rest)
	default:
		return sc.rule("reply", line)
	}
	return nil
}

func (sc *script) tls(names []string) error {
	switch {
	case len(names) == 0:
		return fmt.Errorf("expected tls NAME or tls broken")
	case names[0] == "broken":
		sc.broken = true
		names = []string{"broken.invalid"}
	}
	var err error
	sc.cert, sc.ca, err = selfSigned(names)
	return err
}

func (sc *script) rule(do, line string) error {
	r := &rule{do: do, from: 1}
	line = r.times(line)
	word, rest, _ := strings.Cut(line, " ")
	if r.step = word; !slices.Contains(steps, r.step) {
		return fmt.Errorf("no such step: %q", word)
	}
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "<") {
		a, after, ok := strings.Cut(rest[1:], ">")
		if !ok {
			return fmt.Errorf("address without >")
		}
		r.address, rest = a, strings.TrimSpace(after)
	}
	var err error
	switch do {
	case "hold":
		if r.step == "body" {
			err = fmt.Errorf("a body has no reply to hold; hold DATA or dot")
		}
	case "reply", "late":
		code, text, _ := strings.Cut(rest, " ")
		r.text = text
		r.code, err = strconv.Atoi(code)
	case "raw":
		r.text, err = strconv.Unquote(rest)
	}
	sc.rules = append(sc.rules, r)
	return err
}

// times takes ", once", ", N times", ", after N" and ", always" off the end.
func (r *rule) times(line string) string {
	i := strings.LastIndex(line, ", ")
	if i < 0 {
		return line
	}
	var n int
	switch tail := line[i+2:]; {
	case tail == "always":
	case tail == "once":
		r.to = 1
	case scan(tail, "%d times", &n):
		r.to = n
	case scan(tail, "after %d", &n):
		r.from = n + 1
	default:
		return line
	}
	return line[:i]
}

func scan(s, format string, n *int) bool {
	_, err := fmt.Sscanf(s, format, n)
	return err == nil
}

// next counts the event and returns the first rule that applies to it.
func (sc *script) next(step, address string) *rule {
	var first *rule
	for _, r := range sc.rules {
		if r.step != step || r.address != "" && !strings.EqualFold(r.address, address) {
			continue
		}
		r.seen++
		if first == nil && r.seen >= r.from && (r.to == 0 || r.seen <= r.to) {
			first = r
		}
	}
	return first
}

// keywords of the EHLO reply.
func (sc *script) keywords(secure, authed bool) []string {
	all := []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 52428800", "DSN", "SMTPUTF8"}
	if sc.cert != nil && !secure {
		all = append(all, "STARTTLS")
	}
	if sc.user != "" && !authed {
		all = append(all, "AUTH PLAIN LOGIN")
	}
	for _, o := range sc.offered {
		all = append(slices.DeleteFunc(all, func(k string) bool { return word(k) == word(o) }), o)
	}
	return slices.DeleteFunc(all, func(k string) bool { return slices.Contains(sc.hidden, word(k)) })
}

func word(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return strings.ToUpper(w)
}

func selfSigned(names []string) (*tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ca, nil
}

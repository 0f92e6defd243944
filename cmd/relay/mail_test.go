package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/smtp"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/rogpeppe/go-internal/testscript"

	"smtprelay/preflight/dns"
)

// longmail FILE N writes an HTML message whose body is one line of N octets.
func cmdLongMail(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	line := "<p>" + strings.Repeat("long ", n/5) + "</p>"
	text := "From: alice@shop.test\nTo: bob@dest.test\nSubject: long\nMIME-Version: 1.0\n" +
		"Content-Type: text/html; charset=utf-8\n\n" + line + "\n"
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// largemail FILE N writes a message of about N octets.
func cmdLargeMail(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	text := "From: alice@shop.test\nTo: bob@dest.test\nSubject: large\n\n" + strings.Repeat("a line of a large message\n", n/26)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// dkim-verify FILE DOMAIN checks that a message has signatures of the domain
// and that every one verifies with the keys in DNS.
func cmdDKIMVerify(ts *testscript.TestScript, neg bool, args []string) {
	l := labOf(ts)
	lookup := func(name string) ([]string, error) {
		set, err := dns.LookupTXT(context.Background(), l.dns.Client(), strings.TrimSuffix(name, "."))
		return set.Records, err
	}
	vs, err := dkim.VerifyWithOptions(bytes.NewReader([]byte(ts.ReadFile(args[0]))), &dkim.VerifyOptions{LookupTXT: lookup})
	ts.Check(err)
	if len(vs) == 0 {
		ts.Fatalf("no signature")
	}
	for _, v := range vs {
		if v.Err != nil || v.Domain != args[1] {
			ts.Fatalf("signature of %s: %v", v.Domain, v.Err)
		}
	}
}

// certificate CERT KEY NAME [DAYS] makes a self-signed certificate, good for one day
// or as many as that.
func cmdCertificate(ts *testscript.TestScript, neg bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	days := 1
	if len(args) > 3 {
		days, err = strconv.Atoi(args[3])
		ts.Check(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: args[2]},
		DNSNames:     []string{args[2]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{
		args[0]: {Type: "CERTIFICATE", Bytes: der},
		args[1]: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(block), 0o600))
	}
}

// shown ADDRESS CERT: a client that says STARTTLS is shown this certificate; ! shown: another.
func cmdShown(ts *testscript.TestScript, neg bool, args []string) {
	c, err := smtp.Dial(args[0])
	ts.Check(err)
	defer c.Close()
	ts.Check(c.StartTLS(&tls.Config{InsecureSkipVerify: true}))
	state, _ := c.TLSConnectionState()
	want, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	if bytes.Equal(state.PeerCertificates[0].Raw, want.Bytes) == neg {
		ts.Fatalf("a client is shown the certificate of %s, good until %s", state.PeerCertificates[0].Subject, state.PeerCertificates[0].NotAfter)
	}
}

package config

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"

	"smtprelay/relay"
)

// handshake is the certificate that a client is shown.
func handshake(t *testing.T, o relay.Options) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(there, o.Submit.TLS).Handshake() }()
	c := tls.Client(here, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0].Raw
}

// A renewed certificate is shown to the next client; one that does not fit its key,
// or is gone, is not, and the preflight hears why.
func TestCertificateIsRenewed(t *testing.T) {
	w := newWorld(t)
	w.everyFile()
	w.write("relay.toml", full)
	o, err := Load(w.path("relay.toml"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(w.path("relay.toml"))
	if err != nil {
		t.Fatal(err)
	}
	cert, key := f.Submission.Certificate, f.Submission.KeyFile
	shown := func(want []byte, wrong string) {
		t.Helper()
		if got := handshake(t, o); !bytes.Equal(got, want) {
			t.Errorf("another certificate is shown")
		}
		c, err := o.Plan.Submission.Certificate()
		if !bytes.Equal(c.Certificate[0], want) {
			t.Error("the preflight looks at another one than clients are shown")
		}
		if (err != nil) != (wrong != "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("error %v, want %q", err, wrong)
		}
	}
	on := func() []byte {
		p, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return p.Certificate[0]
	}
	old := on()
	shown(old, "")

	w.certificate("new.pem", "new.key") // as certbot does: both beside, then one after the other
	mv := func(from, to string) {
		t.Helper()
		if err := os.Rename(w.path(from), to); err != nil {
			t.Fatal(err)
		}
	}
	mv("new.pem", cert)
	shown(old, "private key does not match")
	mv("new.key", key)
	renewed := on()
	if bytes.Equal(renewed, old) {
		t.Fatal("nothing was renewed")
	}
	shown(renewed, "")

	if err := os.Chmod(key, 0o644); err != nil { // of a file that was taken up, nothing is read again
		t.Fatal(err)
	}
	shown(renewed, "")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	shown(renewed, "no such file")
	w.certificate("third.pem", "third.key")
	mv("third.pem", cert)
	mv("third.key", key)
	shown(on(), "")
}

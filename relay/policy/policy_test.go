package policy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"testing"

	"smtprelay/relay/deliver/mxtest"
	"smtprelay/relay/policy"
)

func TestMerge(t *testing.T) {
	one, two := x509.NewCertPool(), x509.NewCertPool()
	two.AddCert(&x509.Certificate{Raw: []byte("x"), RawSubject: []byte("x")})
	verified := func(source string, roots *x509.CertPool, names ...string) policy.Requirement {
		return policy.Requirement{Source: source, Level: policy.Verified, Names: names, Roots: roots}
	}
	never := policy.Requirement{Source: "way", Level: policy.Never}
	for name, c := range map[string]struct {
		in   []policy.Requirement
		want policy.Requirement
	}{
		"nobody":             {nil, policy.Requirement{}},
		"one":                {[]policy.Requirement{verified("a", nil, "x")}, verified("a", nil, "x")},
		"never alone":        {[]policy.Requirement{never}, never},
		"never and nothing":  {[]policy.Requirement{never, {}}, policy.Requirement{}},
		"higher wins":        {[]policy.Requirement{{}, verified("a", nil, "x"), never}, verified("a", nil, "x")},
		"encrypted at least": {[]policy.Requirement{{Source: "a"}, {Source: "auth", Level: policy.Encrypted}}, policy.Requirement{Source: "auth", Level: policy.Encrypted}},
		"names of both":      {[]policy.Requirement{verified("a", nil, "x", "Y"), verified("b", nil, "y", "z")}, verified("a+b", nil, "Y")},
		"nothing in common":  {[]policy.Requirement{verified("a", nil, "x"), verified("b", nil, "y")}, verified("a+b", nil)},
		"roots of one":       {[]policy.Requirement{verified("a", nil, "x"), verified("b", one, "x")}, verified("a+b", one, "x")},
		"two kinds of roots": {[]policy.Requirement{verified("a", one, "x"), verified("b", two, "x")}, verified("a+b", one)},
	} {
		got := policy.Merge(c.in...)
		if got.Source != c.want.Source || got.Level != c.want.Level || got.Roots != c.want.Roots || !slices.Equal(got.Names, c.want.Names) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

// state of a real handshake with a server whose certificate is for a.test.
func state(t *testing.T) (tls.ConnectionState, *x509.CertPool) {
	t.Helper()
	mx, err := mxtest.Start("127.0.0.1:0", "tls a.test 192.0.2.1\nimplicit")
	if err != nil {
		t.Fatal(err)
	}
	defer mx.Close()
	raw, err := net.Dial("tcp", mx.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := c.HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(mx.CA())
	return c.ConnectionState(), pool
}

func TestMet(t *testing.T) {
	s, roots := state(t)
	for name, c := range map[string]struct {
		r   policy.Requirement
		met bool
	}{
		"nothing demanded": {policy.Requirement{}, true},
		"never":            {policy.Requirement{Level: policy.Never}, true},
		"name and issuer":  {policy.Requirement{Level: policy.Verified, Names: []string{"A.test"}, Roots: roots}, true},
		"any of the names": {policy.Requirement{Level: policy.Verified, Names: []string{"b.test", "a.test"}, Roots: roots}, true},
		"address":          {policy.Requirement{Level: policy.Verified, Names: []string{"192.0.2.1"}, Roots: roots}, true},
		"another name":     {policy.Requirement{Level: policy.Verified, Names: []string{"b.test"}, Roots: roots}, false},
		"no name":          {policy.Requirement{Level: policy.Verified, Roots: roots}, false},
		"system's issuers": {policy.Requirement{Level: policy.Verified, Names: []string{"a.test"}}, false},
		"nobody's issuers": {policy.Requirement{Level: policy.Verified, Names: []string{"a.test"}, Roots: x509.NewCertPool()}, false},
	} {
		err := c.r.Met(s)
		if (err == nil) != c.met || err != nil && !errors.Is(err, policy.ErrUnmet) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := policy.Requirement{Level: policy.Verified, Names: []string{"a.test"}}
	if err := none.Met(tls.ConnectionState{}); !errors.Is(err, policy.ErrUnmet) {
		t.Errorf("no certificate: %v", err)
	}
}

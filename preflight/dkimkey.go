package preflight

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dkimKey is what a key record holds (RFC 6376 section 3.6.1). Unknown tags,
// hashes, services and flags mean nothing to a verifier, and nothing here.
type dkimKey struct {
	Kind     string   // k=, "rsa" when it is not said
	Data     []byte   // p=, nil for a revoked key
	Hashes   []string // h=; nil: all
	Services []string // s=; nil: all
	Flags    []string // t=
}

// String names the key without printing it whole.
func (k dkimKey) String() string {
	sum := sha256.Sum256(k.canonical())
	return fmt.Sprintf("%s, sha256 %x..", k.Kind, sum[:4])
}

func (k dkimKey) same(other dkimKey) bool {
	return k.Kind == other.Kind && k.Data != nil && string(k.canonical()) == string(other.canonical())
}

// canonical is the key in one form: RSA keys are published as
// SubjectPublicKeyInfo or as bare PKCS #1, which verifiers take for the same.
func (k dkimKey) canonical() []byte {
	if k.Kind != "rsa" {
		return k.Data
	}
	if key, err := x509.ParsePKCS1PublicKey(k.Data); err == nil {
		if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
			return der
		}
	}
	return k.Data
}

// bits of an RSA key; 0 for what is none.
func (k dkimKey) bits() int {
	if k.Kind != "rsa" {
		return 0
	}
	key, err := x509.ParsePKIXPublicKey(k.canonical())
	if r, ok := key.(*rsa.PublicKey); ok && err == nil {
		return r.N.BitLen()
	}
	return 0
}

// limits are what of the record keeps verifiers from using the key for our mail,
// or from telling it from unsigned mail. t=s asks that the signature's i= be in
// the signing domain itself; our signer names no other.
func (k dkimKey) limits() (all []string) {
	if k.Hashes != nil && !slices.Contains(k.Hashes, "sha256") {
		all = append(all, "h= without sha256")
	}
	if k.Services != nil && !slices.Contains(k.Services, "*") && !slices.Contains(k.Services, "email") {
		all = append(all, "s= without email")
	}
	if slices.Contains(k.Flags, "y") {
		all = append(all, "t=y (testing)")
	}
	return all
}

// verifies tells whether a verifier of today takes a good signature by the key for
// one: RSA of 1024 bits at least (RFC 8301 section 3.2). Ed25519 is not yet
// verified by enough of them to rest on.
func (k dkimKey) verifies() bool {
	return k.bits() >= rsaLeast && !slices.ContainsFunc(k.limits(), func(l string) bool { return !strings.HasPrefix(l, "t=") })
}

// parseDKIM reads a key record. The key itself is not looked into.
func parseDKIM(txt string) (dkimKey, error) {
	all, first, err := tags(txt)
	if err != nil {
		return dkimKey{}, err
	}
	if v, ok := all["v"]; ok && (v != "DKIM1" || first != "v") {
		return dkimKey{}, errors.New("the version is not a leading v=DKIM1")
	}
	p, ok := all["p"]
	if !ok {
		return dkimKey{}, errors.New("it has no p=")
	}
	k := dkimKey{Kind: "rsa", Hashes: listed(all, "h"), Services: listed(all, "s"), Flags: listed(all, "t")}
	if kind, ok := all["k"]; ok {
		k.Kind = strings.ToLower(kind)
	}
	p = strings.Join(strings.Fields(p), "")
	if p == "" {
		return k, nil
	}
	if k.Data, err = base64.StdEncoding.DecodeString(p); err != nil {
		return dkimKey{}, errors.New("its p= is not base64")
	}
	return k, nil
}

// listed is a tag's list of words between colons, nil where there is no such tag.
func listed(all map[string]string, tag string) []string {
	v, ok := all[tag]
	if !ok {
		return nil
	}
	words := []string{}
	for w := range strings.SplitSeq(v, ":") {
		words = append(words, strings.ToLower(strings.TrimSpace(w)))
	}
	return words
}

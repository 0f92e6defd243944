package sign

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"sync"
	"testing"
)

// TestQuick: whatever signs for an RSA key gives the signature that crypto/rsa does, also
// to many at once, and refuses what DKIM has no use for only with an error.
func TestQuick(t *testing.T) {
	for _, bits := range []int{1024, 2048, 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		q, err := quick(k)
		if err != nil {
			t.Fatal(err)
		}
		if !k.PublicKey.Equal(q.Public()) {
			t.Errorf("%d bits: another public key", bits)
		}
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				for i := range 10 {
					sum := sha256.Sum256([]byte{byte(bits), byte(c), byte(i)})
					got, err := q.Sign(rand.Reader, sum[:], crypto.SHA256)
					want, _ := rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bits: %x, %v, want %x", bits, got, err, want)
						return
					}
				}
			})
		}
		wg.Wait()
		for name, c := range map[string]struct {
			digest []byte
			o      crypto.SignerOpts
		}{"no digest": {nil, crypto.SHA256}, "a short one": {make([]byte, 20), crypto.SHA256}} {
			if sig, err := q.Sign(rand.Reader, c.digest, c.o); err == nil {
				t.Errorf("%d bits, %s: signed, %x", bits, name, sig)
			}
		}
	}
}

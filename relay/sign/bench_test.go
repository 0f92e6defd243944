package sign

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkSign tells what signing a message of 4 KiB costs, by keys; processor time
// (cpu-ns/op) is what to compare on a machine that has other things to do.
func BenchmarkSign(b *testing.B) {
	msg := strings.Replace(sample, "\r\n\r\nHello", "\r\n\r\n"+strings.Repeat(strings.Repeat("0123456789 ", 7)+"\r\n", 48)+"Hello", 1)
	rsaKey, edKey := testKeys()[0], testKeys()[1]
	var err error
	if rsaKey.Signer, err = quick(rsaKey.Signer.(*rsa.PrivateKey)); err != nil {
		b.Fatal(err)
	}
	for name, keys := range map[string][]Key{"none": nil, "rsa": {rsaKey}, "ed25519": {edKey}, "both": {rsaKey, edKey}} {
		b.Run(name, func(b *testing.B) {
			s := New(Options{Keys: keys})
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				if _, err := s.Sign("example.net", strings.NewReader(msg)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime of this process, nanoseconds.
func cpuTime(tb testing.TB) int64 {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkKey tells what the signature alone costs.
func BenchmarkKey(b *testing.B) {
	rsaKey, err := quick(testKeys()[0].Signer.(*rsa.PrivateKey))
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte(sample))
	for name, c := range map[string]struct {
		key crypto.Signer
		o   crypto.SignerOpts
	}{"rsa": {rsaKey, crypto.SHA256}, "ed25519": {testKeys()[1].Signer, crypto.Hash(0)}} {
		b.Run(name, func(b *testing.B) {
			began := cpuTime(b)
			for b.Loop() {
				if _, err := c.key.Sign(rand.Reader, sum[:], c.o); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

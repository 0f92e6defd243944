package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkStraight tells what generator and sink themselves take of the machine, a
// message: it is lost to the system under test (cpu-ns/op).
func BenchmarkStraight(b *testing.B) {
	for _, w := range workloads[:2] {
		b.Run(w.name, func(b *testing.B) {
			s, err := newSink("127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer s.close()
			m, book := newMail(w.size), newLedger(b.N, everyone)
			s.taking(taker(m, book, false))
			b.ReportAllocs()
			began := cpuTime(b)
			b.ResetTimer()
			if err := (load{to: s.ln.Addr().String(), clients: w.clients, kept: w.kept, mail: m, rcpt: w.rcpt, book: book}).run(b.Context()); err != nil {
				b.Fatal(err)
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

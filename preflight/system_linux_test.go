package preflight

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// addressTable is what the kernel answers to RTM_GETADDR: one address with flags.
func addressTable(a netip.Addr, flags byte) []byte {
	attr := binary.NativeEndian.AppendUint16(nil, uint16(4+len(a.AsSlice())))
	attr = append(binary.NativeEndian.AppendUint16(attr, syscall.IFA_ADDRESS), a.AsSlice()...)
	body := append([]byte{syscall.AF_INET6, 64, flags, 0, 2, 0, 0, 0}, attr...)
	b := binary.NativeEndian.AppendUint32(nil, uint32(syscall.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, syscall.RTM_NEWADDR)
	b = append(b, make([]byte, 10)...)
	return append(b, body...)
}

func TestTemporaryAddress(t *testing.T) {
	a, other := netip.MustParseAddr("2001:db8::25"), netip.MustParseAddr("2001:db8::26")
	for _, c := range []struct {
		table []byte
		want  bool
	}{
		{addressTable(a, unix.IFA_F_TEMPORARY), true},
		{addressTable(a, unix.IFA_F_PERMANENT), false},
		{addressTable(other, unix.IFA_F_TEMPORARY), false},
		{append(addressTable(other, 0), addressTable(a, unix.IFA_F_TEMPORARY)...), true},
		{addressTable(a, unix.IFA_F_TEMPORARY)[:30], false},
		{nil, false},
	} {
		if got := temporaryIn(c.table, a); got != c.want {
			t.Errorf("%x: %v", c.table, got)
		}
	}
	if temporaryAddr(netip.IPv6Loopback()) {
		t.Error("loopback is no privacy address")
	}
}

func FuzzTemporaryAddress(f *testing.F) {
	a := netip.MustParseAddr("2001:db8::25")
	f.Add(addressTable(a, unix.IFA_F_TEMPORARY))
	f.Fuzz(func(_ *testing.T, b []byte) { temporaryIn(b, a) })
}

func TestSystemClock(t *testing.T) {
	if c := systemClock(); time.Since(c.Now).Abs() > time.Minute {
		t.Errorf("%+v", c)
	}
}

func TestAstray(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-(3*time.Hour + 12*time.Minute): "3 h 12 m behind", 6 * time.Minute: "6 m ahead", 100 * time.Hour: "4 days ahead",
	} {
		if got := astray(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

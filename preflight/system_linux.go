package preflight

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemClock asks the kernel whether something keeps the clock right. In a
// sandbox it may not be asked.
func systemClock() Clock {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return Clock{Now: time.Now(), Synced: t.Status&unix.STA_UNSYNC == 0, Known: err == nil}
}

// temporaryAddr tells whether an address is one that the system makes up and
// replaces by itself (RFC 8981).
func temporaryAddr(a netip.Addr) bool {
	table, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_INET6)
	if err != nil {
		return false
	}
	return temporaryIn(table, a)
}

func temporaryIn(table []byte, a netip.Addr) bool {
	msgs, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return false
	}
	for _, m := range msgs {
		// ifaddrmsg: family, prefix length, flags, scope, index (rtnetlink(7))
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg || m.Data[2]&unix.IFA_F_TEMPORARY == 0 || m.Data[0] != syscall.AF_INET6 {
			continue
		}
		if attribute(m.Data[syscall.SizeofIfAddrmsg:], syscall.IFA_ADDRESS, a.AsSlice()) {
			return true
		}
	}
	return false
}

// attribute tells whether attrs has one of that kind and value (rtnetlink(7)).
func attribute(attrs []byte, kind uint16, value []byte) bool {
	for len(attrs) >= syscall.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(attrs))
		if n < syscall.SizeofRtAttr || n > len(attrs) {
			return false
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == kind && bytes.Equal(attrs[syscall.SizeofRtAttr:n], value) {
			return true
		}
		attrs = attrs[min((n+3)&^3, len(attrs)):]
	}
	return false
}

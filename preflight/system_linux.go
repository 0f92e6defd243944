package preflight

import (
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
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			continue
		}
		for _, at := range attrs {
			if found, ok := netip.AddrFromSlice(at.Value); ok && at.Attr.Type == syscall.IFA_ADDRESS && found == a {
				return true
			}
		}
	}
	return false
}

//go:build !linux

package preflight

import (
	"net/netip"
	"time"
)

func systemClock() Clock { return Clock{Now: time.Now()} }

func temporaryAddr(netip.Addr) bool { return false }

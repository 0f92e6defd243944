package submit

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"
)

// Options of submission. Everything is ready to use: no paths, no text to parse.
type Options struct {
	Hostname   string         // what the banner and our Received field say
	Listen     []Listen       // at least one
	TLS        *tls.Config    // for STARTTLS and tls://; nil: neither, and no AUTH
	Trusted    []netip.Prefix // may submit without AUTH; a unix socket is trusted by its file mode
	Users      *Users         // nil: no AUTH
	Senders    []string       // not nil: domains that may stand in MAIL FROM and From; nil: any
	Size       int64          // largest message in octets; default 50 MiB
	Recipients int            // of one message; default 1000
	Conns      int            // at once in all, a tenth of them for Trusted only; default 1000
	ConnsPerIP int            // of who is not trusted; default 50
	Idle       time.Duration  // nothing read for this long ends a connection; default 5m
	Session    time.Duration  // longest life of a connection, and again for a message under way then; default 1h
	Hops       int            // Received fields before a message is taken for a loop; default 50
	Lifetime   time.Duration  // of the messages made (queue.Message.Lifetime)
	SocketMode uint32         // of unix sockets; default 0660
	Log        *slog.Logger
}

// Listen is one place to listen at.
type Listen struct {
	Network  string // "tcp" or "unix"
	Address  string // "127.0.0.1:25", "/run/relay/submit.sock"
	Implicit bool   // TLS from the first octet (RFC 8314)
}

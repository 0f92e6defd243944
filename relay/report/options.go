package report

import (
	"log/slog"
	"time"
)

// Options of reporting.
type Options struct {
	Hostname   string        // Reporting-MTA, and the domain of the notices' sender
	Postmaster string        // From of notices; default MAILER-DAEMON@Hostname
	Lifetime   time.Duration // of a notice in the queue; default 24h
	Log        *slog.Logger
}

package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
)

// Options of the administration socket.
type Options struct {
	Socket string // path; mode 0660; its directory must exist. "": there is none
	// Preflight writes the report of the moment as JSON; nil: it is not served.
	Preflight func(w io.Writer) error
	Metrics   http.Handler // nil: there are none
	// Look has the relay look at DNS now, and writes what it then believes; nil: it does not.
	Look func(ctx context.Context, f Form) (Look, error)
	Log  *slog.Logger
}

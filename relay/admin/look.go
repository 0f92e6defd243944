package admin

import (
	"context"
	"encoding/json"
	"net/http"
)

// Form is how a preflight report is to be written.
type Form struct {
	As     string // "json", "line", or "" for people
	Strict bool   // a degraded verdict has the exit code of a failure
	Colour bool
	ASCII  bool
}

// Look is what the relay believes after a look.
type Look struct {
	Overall string // verdict
	Exit    int    // code of relay preflight
	Text    string // the report
}

// look has the relay look at DNS now, and answers with its report.
func (s *Server) look(w http.ResponseWriter, r *http.Request) {
	if s.o.Look == nil {
		refuse(w, http.StatusNotFound, "no preflight here")
		return
	}
	var f Form
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsked)).Decode(&f); err != nil {
		refuse(w, http.StatusBadRequest, "read the request: "+err.Error())
		return
	}
	unhurried(w)
	l, err := s.o.Look(r.Context(), f)
	if err != nil {
		s.fail(w, "look", err)
		return
	}
	reply(w, l)
}

// Look has the relay look at DNS at once, and returns its report.
func (c *Client) Look(ctx context.Context, f Form) (Look, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return Look{}, err
	}
	var l Look
	return l, c.into(ctx, http.MethodPost, "/api/preflight", body, &l)
}

package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"time"

	"smtprelay/queue"
)

// answer is what a change returns, and what an error looks like.
type answer struct {
	Changed int    `json:"changed"`
	Error   string `json:"error,omitempty"`
}

// line is one line of a listing; the last has an Error when it broke off.
type line struct {
	*queue.Entry
	Error string `json:"error,omitempty"`
}

// changes are the actions. In a state that an action does not name it does nothing.
var changes = map[string]queue.Change{
	"retry":   {State: queue.Waiting, Only: []queue.State{queue.Waiting}},
	"release": {State: queue.Waiting, Only: []queue.State{queue.Held}},
	"hold":    {State: queue.Held, Only: []queue.State{queue.Waiting}},
	"bounce":  {State: queue.Failed, Only: []queue.State{queue.Waiting, queue.Held}},
	"remove":  {State: queue.Removed},
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /api/queue", s.list)
	m.HandleFunc("GET /api/queue/{id}", s.show)
	m.HandleFunc("POST /api/queue/{action}", s.change)
	m.HandleFunc("GET /api/status", s.tell)
	m.HandleFunc("GET /api/preflight", s.preflight)
	if s.o.Metrics != nil {
		m.Handle("GET /metrics", s.o.Metrics)
	}
	m.HandleFunc("POST /api/preflight", s.look)
	m.HandleFunc("GET /debug/pprof/", pprof.Index) // heap, goroutine and the others by name
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	return m
}

// list streams a line for each message.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	f, err := filter(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	unhurried(w)
	out, ctl := json.NewEncoder(w), http.NewResponseController(w)
	for e, err := range s.desk.List(r.Context(), f) {
		_ = ctl.SetWriteDeadline(time.Now().Add(patience))
		l := line{Entry: &e}
		if err != nil {
			l = line{Error: fmt.Sprintf("list the queue: %v", err)}
		} else {
			e.Message.Head = nil // what was added to the header is bulk here
		}
		if out.Encode(l) != nil || err != nil {
			return
		}
	}
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	id := queue.ID(r.PathValue("id"))
	for e, err := range s.desk.List(r.Context(), queue.Filter{ID: id, Limit: 1}) {
		if err != nil {
			s.fail(w, "show "+string(id), err)
			return
		}
		e.Message.Head = nil
		reply(w, e)
		return
	}
	refuse(w, http.StatusNotFound, fmt.Sprintf("%s: %v", id, queue.ErrNotFound))
}

func (s *Server) change(w http.ResponseWriter, r *http.Request) {
	action := r.PathValue("action")
	c, ok := changes[action]
	if !ok {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("no action %q: expected retry, hold, release, bounce or remove", action))
		return
	}
	f, err := selection(w, r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	unhurried(w)
	if c.State == queue.Removed || c.State == queue.Failed {
		if err := s.audit(r, f, c); err != nil {
			s.fail(w, action, err)
			return
		}
	}
	n, err := s.desk.Update(r.Context(), f, c)
	if err != nil {
		s.fail(w, action, err)
		return
	}
	reply(w, answer{Changed: n})
}

// audit notes what is about to be given up and by whom: before it is done, so
// that no crash in between hides it.
func (s *Server) audit(r *http.Request, f queue.Filter, c queue.Change) error {
	for e, err := range s.desk.List(r.Context(), f) {
		if err != nil {
			return err
		}
		for _, rc := range e.Recipients {
			log := s.log.With("id", e.Message.ID, "from", e.Message.Envelope.From, "to", rc.Address, "user", r.RemoteAddr)
			switch _, changes := rc.Changed(c, time.Time{}); {
			case !changes:
			case c.State == queue.Removed:
				log.Info("removed")
			default:
				log.Info("given up")
			}
		}
	}
	return nil
}

func (s *Server) tell(w http.ResponseWriter, r *http.Request) {
	st := s.status()
	if st.Version == "" {
		st.Version = version()
	}
	var err error
	if st.Queue, err = s.desk.Stat(r.Context()); err != nil {
		s.fail(w, "count the queue", err)
		return
	}
	reply(w, st)
}

func (s *Server) preflight(w http.ResponseWriter, r *http.Request) {
	if s.o.Preflight == nil {
		refuse(w, http.StatusNotFound, "no preflight here")
		return
	}
	var b bytes.Buffer // a report cut short must not look whole
	if err := s.o.Preflight(&b); err != nil {
		s.fail(w, "write the preflight report", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = b.WriteTo(w) // the client has left
}

// unhurried lets an answer take as long as the queue needs: the deadline for
// reading the request would end it too. A client that leaves still does.
func unhurried(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has left
}

func refuse(w http.ResponseWriter, code int, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer{Error: why})
}

// fail is our fault: the operator reads why in the answer and in the log.
func (s *Server) fail(w http.ResponseWriter, doing string, err error) {
	s.log.Warn("admin request failed", "err", fmt.Errorf("%s: %w", doing, err))
	refuse(w, http.StatusInternalServerError, fmt.Sprintf("%s: %v", doing, err))
}

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"smtprelay/queue"
)

// asked is the body of a request that changes the queue.
type asked struct {
	ID     queue.ID    `json:"id,omitempty"`
	Domain string      `json:"domain,omitempty"`
	From   string      `json:"from,omitempty"`
	State  queue.State `json:"state,omitempty"`
	Limit  int         `json:"limit,omitempty"`
	All    bool        `json:"all,omitempty"` // must be said when nothing else selects
}

// filter reads a query. A word it does not know is an error: what is misspelt
// would select everything.
func filter(q url.Values) (queue.Filter, error) {
	var f queue.Filter
	for k, v := range q {
		if len(v) != 1 {
			return f, fmt.Errorf("%s stands %d times: expected once", k, len(v))
		}
		switch k {
		case "id":
			f.ID = queue.ID(v[0])
		case "domain":
			f.Domain = strings.ToLower(v[0])
		case "from":
			f.From = v[0]
		case "state":
			f.State = queue.State(v[0])
		case "limit":
			n, err := strconv.Atoi(v[0])
			if err != nil {
				return f, fmt.Errorf("limit %q: expected a number", v[0])
			}
			f.Limit = n
		default:
			return f, fmt.Errorf("no filter %q: expected id, domain, from, state or limit", k)
		}
	}
	return f, sound(f)
}

// selection reads the body of a change.
func selection(w http.ResponseWriter, r *http.Request) (queue.Filter, error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsked))
	d.DisallowUnknownFields()
	var a asked
	if err := d.Decode(&a); err != nil {
		return queue.Filter{}, fmt.Errorf("request body: %w", err)
	}
	if d.More() {
		return queue.Filter{}, errors.New("request body: more than one object")
	}
	f := queue.Filter{ID: a.ID, Domain: strings.ToLower(a.Domain), From: a.From, State: a.State, Limit: a.Limit}
	if a.ID == "" && a.Domain == "" && a.From == "" && a.State == "" && !a.All {
		return f, errors.New(`nothing is selected: to change all mail, say "all": true`)
	}
	return f, sound(f)
}

func sound(f queue.Filter) error {
	kept := []queue.State{"", queue.Waiting, queue.Held, queue.Failed}
	if !slices.Contains(kept, f.State) {
		return fmt.Errorf("state %q: expected waiting, held or failed", f.State)
	}
	if f.Limit < 0 {
		return fmt.Errorf("limit %d: expected 0 or more", f.Limit)
	}
	return nil
}

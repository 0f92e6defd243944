package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"smtprelay/queue"
)

// TestRefused: what is not understood changes nothing.
func TestRefused(t *testing.T) {
	q := store(t)
	s := New(Options{}, q, nil)
	c := serve(t, s)
	put(t, q, "ann@example.net", "a@example.org")
	for _, r := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/api/queue/remove", `{}`, 400, "say \\\"all\\\": true"},
		{"POST", "/api/queue/remove", `{"limit": 5}`, 400, "nothing is selected"},
		{"POST", "/api/queue/remove", ``, 400, "request body: EOF"},
		{"POST", "/api/queue/remove", `null`, 400, "nothing is selected"},
		{"POST", "/api/queue/remove", `{"all":true}{"id":"1"}`, 400, "more than one object"},
		{"POST", "/api/queue/remove", `{"dommain":"example.org","all":true}`, 400, "unknown field"},
		{"POST", "/api/queue/remove", `{"state":"lost"}`, 400, "expected waiting, held or failed"},
		{"POST", "/api/queue/remove", `{"id":"` + strings.Repeat("x", 100<<10) + `"}`, 400, "too large"},
		{"POST", "/api/queue/explode", `{"all":true}`, 400, "no action"},
		{"POST", "/api/queue", `{"all":true}`, 405, ""},
		{"DELETE", "/api/queue/1", ``, 405, ""},
		{"GET", "/api/queue?dommain=example.org", ``, 400, "no filter"},
		{"GET", "/api/queue?limit=x", ``, 400, "expected a number"},
		{"GET", "/api/queue?limit=-1", ``, 400, "expected 0 or more"},
		{"GET", "/api/queue?id=1&id=2", ``, 400, "stands 2 times"},
		{"GET", "/api/queue?state=delivered", ``, 400, "expected waiting"},
		{"GET", "/api/secrets", ``, 404, ""},
		{"GET", "/", ``, 404, ""},
	} {
		req, err := http.NewRequest(r.method, "http://relay"+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", r.method, r.path, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != r.code || !strings.Contains(string(text), r.want) {
			t.Errorf("%s %s %.80s: %d %s, %v; want %d %s", r.method, r.path, r.body, resp.StatusCode, text, err, r.code, r.want)
		}
	}
	if got := states(t, c, Filter{}); got != "a@example.org waiting" {
		t.Errorf("after all that: %s", got)
	}
}

// FuzzSelection: nothing but "all" selects everything.
func FuzzSelection(f *testing.F) {
	f.Add([]byte(`{"id":"1"}`))
	f.Add([]byte(`{"all":true}`))
	f.Add([]byte(`{"ALL":true,"state":"held"}`))
	f.Add([]byte(`{"limit":1e9}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := http.NewRequest("POST", "http://relay/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := selection(nil, r)
		got.Limit = 0
		if err != nil || got != (queue.Filter{}) {
			return
		}
		var said struct{ All bool }
		if json.Unmarshal(body, &said); !said.All {
			t.Errorf("%q selects everything", body)
		}
	})
}

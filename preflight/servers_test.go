package preflight

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"smtprelay/preflight/dns"
)

// prompt is an asker that answers at once.
type prompt struct{}

func (prompt) Ask(_ context.Context, _ netip.AddrPort, name string, q dns.Type) (*dns.Answer, error) {
	return &dns.Answer{Question: name, Name: name, Type: q, Outcome: dns.Present, Rcode: "NOERROR"}, nil
}

// A question that waits for its turn, and one that is given up, say nothing of
// the server; one that had its time does.
func TestServersAreNotBlamedForUs(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("192.0.2.53:53")
	for name, c := range map[string]struct {
		asker  dns.Asker
		busy   bool
		limit  time.Duration
		silent bool
	}{
		"waits for its turn": {prompt{}, true, silence + 200*time.Millisecond, false},
		"given up":           {deaf{}, false, silence + 200*time.Millisecond, false},
		"silent":             {deaf{}, false, 20 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &servers{asker: c.asker, slots: make(chan struct{}, 1), by: map[netip.AddrPort]*server{}}
			if c.busy {
				s.slots <- struct{}{}
			}
			ctx, cancel := context.WithTimeout(t.Context(), c.limit)
			defer cancel()
			_, _ = s.Ask(ctx, at, "a.test", dns.TypeA)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.by[at].silent != c.silent {
				t.Errorf("silent %t", s.by[at].silent)
			}
		})
	}
}

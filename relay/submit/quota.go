package submit

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// slots a window is cut into: how exactly a quota counts.
const slots = 60

// quota allows limit in any window that ends now, counted in slots.
type quota struct {
	limit  int
	window time.Duration
	text   string // as in the file: "1000/h"

	mu   sync.Mutex
	used [slots]int
	at   int64 // number of the newest slot since the epoch
}

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// parseQuota reads "1000/h".
func parseQuota(s string) (*quota, error) {
	number, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || units[unit] == 0 {
		return nil, fmt.Errorf("%q: expected NUMBER/UNIT with a unit of s, m, h or d, such as 1000/h", s)
	}
	return &quota{limit: n, window: units[unit], text: s}, nil
}

// take counts n, or nothing when that would be too many. What it returns is
// the slot, for give.
func (q *quota) take(n int, now time.Time) (slot int64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := now.UnixNano() / int64(q.window/slots)
	for ; q.at < at; q.at++ {
		if at-q.at > slots { // all of them are over
			q.at = at - slots
		}
		q.used[(q.at+1)%slots] = 0
	}
	sum := 0
	for _, u := range q.used {
		sum += u
	}
	if sum+n > q.limit {
		return 0, false
	}
	q.used[q.at%slots] += n
	return q.at, true
}

// give takes back what was counted in a slot, when it is still in the window.
func (q *quota) give(n int, slot int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.at-slot < slots {
		q.used[slot%slots] -= n
	}
}

// hold is what one transaction has counted. The zero hold is empty.
type hold struct{ back []func() }

// release gives back what was counted; nothing after keep.
func (h *hold) release() {
	for _, f := range h.back {
		f()
	}
	h.back = nil
}

func (h *hold) keep() { h.back = nil }

// count takes from the user's limits, remembered in h. nil has none.
func (u *user) count(h *hold, messages, recipients int) error {
	if u == nil {
		return nil
	}
	for _, l := range []struct {
		q    *quota
		n    int
		what string
	}{{u.messages, messages, "messages"}, {u.receivers, recipients, "recipients"}} {
		if l.q == nil || l.n == 0 {
			continue
		}
		slot, ok := l.q.take(l.n, time.Now())
		if !ok {
			return refuse(450, "4.7.1", "user %s has reached the limit of %s %s, try again later", u.name, l.q.text, l.what)
		}
		h.back = append(h.back, func() { l.q.give(l.n, slot) })
	}
	return nil
}

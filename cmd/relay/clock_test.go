//go:build torture

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"smtprelay/relay/admin"
)

// TestClockJumps sets the clock of a machine by hours and months, there and back
// again, while the relay runs and just before it is killed and started anew; a leap
// second comes last. Mail is taken and delivered, what waits is tried again when it
// was to be and does not expire, and IDs, listings and the preflight make sense.
func TestClockJumps(t *testing.T) {
	if !inGuest() {
		bootGuest(t, 10*time.Minute)
		return
	}
	// Not so near to New Year that a jump leads into the year before this program was made,
	// which the preflight would object to.
	setClock(t, time.Date(time.Now().Year(), time.July, 1, 12, 0, 0, 0, time.UTC))
	j := newJumper(t)
	j.relay = j.start(t)
	defer func() { j.relay.kill() }()
	j.check(t, "before")
	const hour, month = time.Hour, 30 * 24 * time.Hour
	jumps := []time.Duration{hour, -hour, -hour, month, -month, -month, month, hour}
	for _, by := range jumps {
		setClock(t, time.Now().Add(by))
		j.check(t, fmt.Sprintf("a jump of %v", by))
	}
	for _, by := range jumps {
		setClock(t, time.Now().Add(by))
		j.relay.kill()
		j.hear(j.relay)
		j.relay = j.start(t)
		j.check(t, fmt.Sprintf("a jump of %v and a restart", by))
	}
	leap(t)
	j.check(t, "a leap second")
	j.end(t)
}

// leap has the kernel insert a second.
func leap(t *testing.T) {
	t.Helper()
	setClock(t, time.Date(time.Now().Year(), time.June, 30, 23, 59, 57, 0, time.UTC))
	if _, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_STATUS, Status: unix.STA_INS}); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	time.Sleep(5 * time.Second)
	if inserted := time.Since(from) - time.Now().Round(0).Sub(from.Round(0)); inserted.Round(time.Second) != time.Second {
		t.Errorf("the kernel inserted %v, not a leap second", inserted)
	}
}

func setClock(t *testing.T, at time.Time) {
	t.Helper()
	ts, err := unix.TimeToTimespec(at)
	if err == nil {
		err = unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// retryEvery is the schedule of what waits in this test.
const retryEvery = 3 * time.Second

// jumper is a lab with two destinations more: one that is always busy, and one that
// DNS denies, which is believed when it was seen a quarter of an hour apart.
type jumper struct {
	*killLab
	book  *ledger
	desk  *admin.Client
	relay *child
	waits []admin.ID // in the order of arrival
	last  admin.ID   // given
	n     int
}

func newJumper(t *testing.T) *jumper {
	k := newKillLab(t, "")
	k.to = func(message string) string {
		if domain, _, ok := strings.Cut(message, "-"); ok {
			return "bob@" + domain + ".dest.test"
		}
		return "bob@dest.test"
	}
	settings, err := os.ReadFile(k.config())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(settings), `["1s"]`, fmt.Sprintf("[%q]", retryEvery), 1)
	if err := os.WriteFile(k.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.dns.Add("busy.dest.test. 60 IN MX 10 mx1.dest.test."); err != nil {
		t.Fatal(err)
	}
	if err := k.sink.Set("RCPT <bob@busy.dest.test> 450 4.2.1 come again"); err != nil {
		t.Fatal(err)
	}
	return &jumper{killLab: k, book: newLedger(), desk: admin.NewClient(filepath.Join(k.dir, "admin.sock"))}
}

// submit returns the ID, which is greater than any before.
func (j *jumper) submit(t *testing.T, name string) admin.ID {
	t.Helper()
	if err := j.send(j.book, name, "the message "+name+"\r\n"); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	id := admin.ID(j.book.acked[name].id)
	if id <= j.last {
		t.Errorf("%s is given the ID %s after %s", name, id, j.last)
	}
	j.last = id
	return id
}

// check that all is as if nothing had happened to the clock.
func (j *jumper) check(t *testing.T, when string) {
	from, before := time.Now(), j.list(t)
	for _, domain := range []string{"busy", "gone"} {
		j.waits = append(j.waits, j.submit(t, fmt.Sprintf("%s-%d", domain, j.n)))
	}
	for range 5 {
		j.submit(t, fmt.Sprintf("direct %d", j.n))
		j.n++
	}
	j.drain(t, j.book, len(j.waits))
	for !j.triedSince(t, before) {
		if time.Since(from) > patience {
			t.Fatalf("%s: what waits is not tried again", when)
		}
		time.Sleep(retryEvery / 30)
	}
	took := time.Since(from)
	if took > 2*retryEvery {
		t.Errorf("%s: what waits is tried again after %v, and its schedule says every %v", when, took, retryEvery)
	}
	var there []admin.ID
	for _, e := range j.list(t) {
		there = append(there, e.Message.ID)
		if r := e.Recipients[0]; r.State != "waiting" {
			t.Errorf("%s: %s is %s: %s", when, r.Address, r.State, r.Reason)
		}
	}
	if !slices.Equal(there, j.waits) {
		t.Errorf("%s: what waits should be, in this order, %s, and is %s", when, j.waits, there)
	}
	j.readable(t, when)
	if look, err := j.desk.Look(t.Context(), admin.Form{}); err != nil || look.Exit > 1 {
		t.Errorf("%s: the preflight: %v, %s", when, err, look.Text)
	}
	t.Logf("%s: it is %s; %d wait, tried again within %v", when, time.Now().UTC().Format(time.DateTime), len(there), took.Round(time.Millisecond))
}

func (j *jumper) list(t *testing.T) (es []admin.Entry) {
	t.Helper()
	for e, err := range j.desk.List(t.Context(), admin.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		es = append(es, e)
	}
	return es
}

// triedSince: whatever is for the busy destination was tried once more than before.
func (j *jumper) triedSince(t *testing.T, before []admin.Entry) bool {
	now := map[admin.ID]int{}
	for _, e := range j.list(t) {
		now[e.Message.ID] = e.Recipients[0].Tries
	}
	return !slices.ContainsFunc(before, func(e admin.Entry) bool {
		r := e.Recipients[0]
		return strings.Contains(r.Domain, "busy") && now[e.Message.ID] <= r.Tries
	})
}

var listed = regexp.MustCompile(`(?m)^[0-9A-Z]{12} +(\S+) +waiting +(now|in \S+) `)

// readable: what relay queue list says of ages and next tries is about the minutes
// that this takes.
func (j *jumper) readable(t *testing.T, when string) {
	t.Helper()
	out, err := exec.Command("relay", "queue", "list", "-c", j.config()).CombinedOutput()
	lines := listed.FindAllStringSubmatch(string(out), -1)
	if err != nil || len(lines) != len(j.waits) {
		t.Errorf("%s: relay queue list: %v\n%s", when, err, out)
	}
	for _, l := range lines {
		if !minutes.MatchString(l[1]) || !minutes.MatchString(strings.TrimPrefix(l[2], "in ")) {
			t.Errorf("%s: relay queue list says %q", when, l[0])
		}
	}
}

var minutes = regexp.MustCompile(`^(now|\d\d?[sm])$`)

// end lets everything be delivered.
func (j *jumper) end(t *testing.T) {
	if err := j.dns.Add("gone.dest.test. 60 IN MX 10 mx1.dest.test."); err != nil {
		t.Fatal(err)
	}
	if err := j.sink.Set(""); err != nil {
		t.Fatal(err)
	}
	j.relay.kill() // it remembers that the destination was denied
	j.hear(j.relay)
	j.relay = j.start(t)
	if _, err := j.desk.Update(t.Context(), "retry", admin.Filter{}, true); err != nil {
		t.Fatal(err)
	}
	j.drain(t, j.book, 0)
	j.hear(j.relay)
	f := j.killLab.check(j.book)
	t.Log(f)
	for _, w := range f.wrong {
		t.Error(w)
	}
	if len(j.book.due) > 0 || f.unnamed > 0 {
		t.Errorf("%d have not arrived, %d twice: %s", len(j.book.due), f.unnamed, f.example)
	}
}

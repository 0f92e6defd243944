package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

// three is a queue of three messages, the second of which will be damaged.
type three struct {
	mem    *vfs.MemFS
	bodies map[queue.ID][]byte
	victim queue.ID
}

func newThree(t *testing.T, size int) *three {
	t.Helper()
	w := &three{mem: vfs.NewCrashableMem(), bodies: map[queue.ID][]byte{}}
	s := mustOpen(t, w.mem, "queue", Options{})
	for i := range 3 {
		body := bytes.Repeat([]byte{byte('a' + i)}, size)
		id := commit(t, s, body, "a.example", "b.example")
		w.bodies[id] = body
		if i == 1 {
			w.victim = id
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// copy is the queue again, as it was.
func (w *three) copy() *vfs.MemFS { return w.mem.CrashClone(vfs.CrashCloneCfg{}) }

// raw changes the value of a key behind the store's back.
func raw(t *testing.T, mem vfs.FS, key []byte, change func([]byte) []byte) {
	t.Helper()
	db, err := pebble.Open("queue/db", &pebble.Options{FS: mem, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	v, c, err := db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	v = change(bytes.Clone(v))
	if err := errors.Join(c.Close(), db.Set(key, v, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func flip(i int) func(v []byte) []byte  { return func(v []byte) []byte { v[i] ^= 0x10; return v } }
func value(t *testing.T, s *Store, k []byte) []byte {
	t.Helper()
	v, err := s.get(k)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// deliverAll works like a scheduler and returns what arrived, per message.
func deliverAll(t *testing.T, s *Store) map[queue.ID]int {
	t.Helper()
	got := map[queue.ID]int{}
	for {
		st, err := s.Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Waiting == 0 {
			return got
		}
		l := lease(t, s)
		jobs, err := s.Take(t.Context(), l, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if err := readAll(s, j.Message.ID); err != nil {
				if !errors.Is(err, queue.ErrDamaged) {
					t.Fatalf("body of %s: %v", j.Message.ID, err)
				}
				continue // the connection is broken, nothing is settled
			}
			for _, r := range j.Recipients {
				if err := s.Settle(t.Context(), l, queue.Result{ID: j.Message.ID, N: r.N, State: queue.Delivered}); err != nil {
					t.Fatal(err)
				}
				got[j.Message.ID]++
			}
		}
		if err := s.Release(t.Context(), l, 0); err != nil && !errors.Is(err, queue.ErrLeaseLost) {
			t.Fatal(err)
		}
	}
}

func readAll(s *Store, id queue.ID) error {
	b, err := s.Body(ctx, id)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = io.Copy(io.Discard, b)
	return err
}

// onlyVictim asserts that the victim, and it alone, was not delivered but kept.
func (w *three) onlyVictim(t *testing.T, mem vfs.FS, what string) {
	t.Helper()
	var log journal
	s := mustOpen(t, mem, "queue", Options{Log: log.logger()})
	got := deliverAll(t, s)
	for id := range w.bodies {
		if n := got[id]; id == w.victim && n != 0 || id != w.victim && n != 2 {
			t.Errorf("%s: %s was delivered to %d of 2", what, id, n)
		}
	}
	st, err := s.Stat(t.Context())
	if err != nil || st != (queue.Stat{Quarantined: 1}) {
		t.Errorf("%s: %+v, %v", what, st, err)
	}
	if n := strings.Count(log.String(), "message quarantined"); n != 1 || !strings.Contains(log.String(), string(w.victim)) {
		t.Errorf("%s: the log says\n%s", what, log.String())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// stays asserts that after a restart the victim is still where it was put.
func (w *three) stays(t *testing.T, mem vfs.FS, what string) {
	t.Helper()
	s := mustOpen(t, mem, "queue", Options{})
	if st, _ := s.Stat(t.Context()); st != (queue.Stat{Quarantined: 1}) {
		t.Errorf("%s, after a restart: %+v", what, st)
	}
}

func TestFlippedByteInRecord(t *testing.T) {
	w := newThree(t, 50)
	s := mustOpen(t, w.copy(), "queue", Options{})
	keys := map[string][]byte{}
	for _, k := range [][]byte{messageKey(w.victim), rcptKey(w.victim, 1), bodyKey(w.victim)} {
		keys[string(k)] = value(t, s, k)
	}
	for k, v := range keys {
		for i := range v {
			mem := w.copy()
			raw(t, mem, []byte(k), flip(i))
			w.onlyVictim(t, mem, fmt.Sprintf("octet %d of %s", i, k))
			if t.Failed() {
				return
			}
		}
	}
}

func TestOtherDamage(t *testing.T) {
	small, large := newThree(t, 50), newThree(t, inline+100)
	file := func(w *three) string { return (&Store{fs: w.mem, dir: "queue"}).bodyPath(w.victim) }
	rewrite := func(change func([]byte) []byte) func(*testing.T, *three, *vfs.MemFS) {
		return func(t *testing.T, w *three, mem *vfs.MemFS) { rewriteFile(t, mem, file(w), change) }
	}
	record := func(key func(queue.ID) []byte, change func([]byte) []byte) func(*testing.T, *three, *vfs.MemFS) {
		return func(t *testing.T, w *three, mem *vfs.MemFS) { raw(t, mem, key(w.victim), change) }
	}
	rcpt := func(id queue.ID) []byte { return rcptKey(id, 0) }
	cut := func(v []byte) []byte { return v[:len(v)/2] }
	empty := func([]byte) []byte { return nil }
	longer := func(v []byte) []byte { return append(v, 'x') }
	for name, c := range map[string]struct {
		w      *three
		damage func(*testing.T, *three, *vfs.MemFS)
	}{
		"message cut":         {small, record(messageKey, cut)},
		"message empty":       {small, record(messageKey, empty)},
		"message longer":      {small, record(messageKey, longer)},
		"another's message":   {small, record(messageKey, func([]byte) []byte { return sealMessage("0000000000AA") })},
		"not JSON":            {small, record(messageKey, func([]byte) []byte { return seal([]byte(`{`)) })},
		"document not JSON":   {small, record(messageKey, func(v []byte) []byte { return reseal(v[:len(v)-1]) })},
		"recipient cut":       {small, record(rcpt, cut)},
		"recipient empty":     {small, record(rcpt, empty)},
		"another recipient":   {small, record(rcpt, func([]byte) []byte { return sealRecipient(small.victim, 7) })},
		"impossible state":    {small, record(rcpt, func(v []byte) []byte { v[recordHead] = byte(len(stateCodes)); return reseal(v) })},
		"another's recipient": {small, record(rcpt, func([]byte) []byte { return sealRecipient("0000000000AA", 0) })},
		"body cut":            {small, record(bodyKey, cut)},
		"file: first octet":   {large, rewrite(flip(0))},
		"file: last octet":    {large, rewrite(flip(inline + 99))},
		"file: middle octet":  {large, rewrite(flip(inline / 2))},
		"file: cut":           {large, rewrite(cut)},
		"file: empty":         {large, rewrite(empty)},
		"file: longer":        {large, rewrite(longer)},
		"file: gone": {large, func(t *testing.T, w *three, mem *vfs.MemFS) {
			if err := mem.Remove(file(w)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			mem := c.w.copy()
			c.damage(t, c.w, mem)
			c.w.onlyVictim(t, mem, name)
			c.w.stays(t, mem, name)
		})
	}
}

func rewriteFile(t *testing.T, mem vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	f, err := mem.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	v, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if f, err = mem.Create(name, category); err != nil {
		t.Fatal(err)
	}
	if v = change(v); len(v) > 0 {
		_, err = f.Write(v)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A record of a later program is not damage: nothing is touched.
func TestNewerRecordIsRefused(t *testing.T) {
	w := newThree(t, 50)
	mem := w.copy()
	raw(t, mem, rcptKey(w.victim, 0), func(v []byte) []byte {
		v[4]++
		return checksum(v)
	})
	if _, err := Open(mem, "queue", Options{patience: time.Hour}); !errors.Is(err, errVersion) || !strings.Contains(err.Error(), string(w.victim)) {
		t.Fatalf("open: %v", err)
	}
	mem = w.copy()
	raw(t, mem, []byte(formKey), func([]byte) []byte { return []byte("3") })
	if _, err := Open(mem, "queue", Options{patience: time.Hour}); err == nil || !strings.Contains(err.Error(), `form "3"`) {
		t.Fatalf("open: %v", err)
	}
}

// A clock that is lost costs nothing but age.
func TestDamagedClock(t *testing.T) {
	w := newThree(t, 50)
	mem := w.copy()
	raw(t, mem, []byte(clockKey), flip(3))
	s := mustOpen(t, mem, "queue", Options{})
	if got := deliverAll(t, s); len(got) != 3 {
		t.Fatalf("delivered %v", got)
	}
}

// TestDamagedPebbleFiles flips octets all over Pebble's own files, after a clean
// stop and after a kill. Mail is never lost silently: an Open that is refused
// names the file, otherwise what is missing is in quarantine.
func TestDamagedPebbleFiles(t *testing.T) {
	for _, killed := range []bool{false, true} {
		mem := vfs.NewCrashableMem()
		s := mustOpen(t, mem, "queue", Options{})
		bodies := map[queue.ID][]byte{}
		for i := range 5 {
			body := bytes.Repeat([]byte{byte('a' + i)}, 2000)
			bodies[commit(t, s, body, "a.example")] = body
		}
		pristine := mem
		if killed {
			pristine = kill(mem)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		names, err := pristine.List("queue/db")
		if err != nil {
			t.Fatal(err)
		}
		opened := map[bool]int{}
		for _, n := range names {
			st, err := pristine.Stat("queue/db/" + n)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < int(st.Size()); i += max(1, int(st.Size())/100) {
				left := pristine.CrashClone(vfs.CrashCloneCfg{})
				rewriteFile(t, left, "queue/db/"+n, flip(i))
				opened[inventory(t, left, fmt.Sprintf("killed %v, octet %d of %s", killed, i, n), bodies)]++
			}
		}
		t.Logf("killed %v: %d opened, %d refused", killed, opened[true], opened[false])
		if killed && opened[true] < opened[false] {
			t.Error("most octets of a log are those of bodies and records: they should cost one message")
		}
	}
}

// inventory holds what is left against what was there, and says whether the
// store could be opened.
func inventory(t *testing.T, mem vfs.FS, what string, bodies map[queue.ID][]byte) bool {
	t.Helper()
	var log journal
	s, err := Open(mem, "queue", Options{Log: log.logger(), patience: time.Hour, Fatal: func(err error) { t.Errorf("%s: %v", what, err) }})
	if err != nil {
		name := what[strings.LastIndexByte(what, ' ')+1:]
		number := strings.TrimSuffix(name, ".sst")
		if !strings.Contains(err.Error(), number) {
			t.Errorf("%s: the error does not name the file: %v", what, err)
		}
		return false
	}
	defer s.Close()
	found := 0
	for e, err := range s.List(ctx, queue.Filter{}) {
		if err != nil {
			t.Fatalf("%s: list: %v", what, err)
		}
		b, err := s.Body(ctx, e.Message.ID)
		if errors.Is(err, queue.ErrDamaged) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: body: %v", what, err)
		}
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, bodies[e.Message.ID]) {
			t.Errorf("%s: %s has another's body (%v)", what, e.Message.ID, err)
		}
		found++
	}
	if st, _ := s.Stat(ctx); found+st.Quarantined < len(bodies) {
		t.Errorf("%s: %d found, %d in quarantine of %d\n%s", what, found, st.Quarantined, len(bodies), log.String())
	} else if strings.HasSuffix(what, ".log") && found < len(bodies)-1 {
		t.Errorf("%s: %d found, %d in quarantine of %d", what, found, st.Quarantined, len(bodies))
	}
	return true
}

// reseal makes the checksum of a changed record right again.
func reseal(v []byte) []byte {
	return finish(bytes.Clone(v))
}

// sealMessage and sealRecipient are records that are well made.
func sealMessage(id queue.ID) []byte {
	return must(appendMessage(nil, &message{Message: queue.Message{ID: id, Head: []byte("A: b\r\n")}, Sum: make([]byte, 32), Count: 1}))
}

func sealRecipient(id queue.ID, n int) []byte {
	return must(appendRecipient(nil, &recipient{Recipient: queue.Recipient{N: n, Domain: "a.example", State: queue.Waiting}, Of: id, Submitter: "shop", Since: 5}))
}

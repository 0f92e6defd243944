package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"smtprelay/queue"
)

// An item more or larger is felt a million times.
func TestItemIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(item{}); n != 48 {
		t.Errorf("an item has %d octets", n)
	}
	if n := unsafe.Sizeof(leaf{}); n > 3072 {
		t.Errorf("a leaf has %d octets", n)
	}
}

// The roll lists what a sorted map would, whatever comes and goes in whatever order.
func TestRoll(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	var r roll
	model := map[uint64]ref{}
	newest := uint64(1 << 40)
	for step := range 60_000 {
		id := newest - 1 - rng.Uint64N(2000)
		switch k := rng.IntN(10); {
		case step < 20_000 && k < 7: // as mail comes
			newest += 1 + rng.Uint64N(3)
			id = newest
			fallthrough
		case k < 3:
			model[id] = ref(step + 1)
			r.put(id, ref(step+1))
		default: // as mail goes, mostly the oldest
			if len(r.leaves) > 0 && k < 8 {
				id = r.firsts[0]
			}
			delete(model, id)
			r.remove(id)
		}
		if r.size != len(model) || r.find(id) != model[id] {
			t.Fatalf("seed %d, step %d: %d listed, want %d; %d is %d, want %d", seed, step, r.size, len(model), id, r.find(id), model[id])
		}
		if step%3000 != 0 {
			continue
		}
		want := slices.Sorted(maps.Keys(model))
		from := want[:0:0]
		cut := uint64(0)
		if len(want) > 0 {
			if cut = want[rng.IntN(len(want))]; r.last() != want[len(want)-1] {
				t.Fatalf("seed %d, step %d: the last is %d, want %d", seed, step, r.last(), want[len(want)-1])
			}
		}
		for id, head := range r.after(cut) {
			if from = append(from, id); head != model[id] {
				t.Fatalf("seed %d, step %d: %d is %d, want %d", seed, step, id, head, model[id])
			}
		}
		if i, found := slices.BinarySearch(want, cut); found && !slices.Equal(from, want[i+1:]) {
			t.Fatalf("seed %d, step %d: %d listed after %d, want %d", seed, step, len(from), cut, len(want)-i-1)
		}
	}
}

// What waits for something is listed once for it, however often it is put off.
func TestAwaitedListStaysShort(t *testing.T) {
	x := newIndex()
	var all []newcomer
	for n := range 100 {
		all = append(all, newcomer{n: n, domain: "a.example", state: waiting, due: time.Hour, awaits: "gate"})
	}
	x.add(1, "shop", false, all)
	for range 100 {
		for n := range all {
			_, r := x.seek(0, 1, n)
			x.place(r, waiting, time.Hour, 0)
			x.park(r, "gate")
		}
	}
	if l := x.awaited.lists[x.awaited.by["gate"]]; len(l) > 2*len(all)+16 {
		t.Errorf("%d listed for %d", len(l), len(all))
	}
	for n := range all {
		x.drop(x.seek(0, 1, n))
	}
	if len(x.awaited.by)+len(x.awaited.lists)+len(x.subs.by)+len(x.named)+len(x.agenda)+len(x.failed)+x.roll.size+len(x.parts) != 0 {
		t.Errorf("something is left: %+v", x)
	}
}

// The body of a message that was just committed is in memory, and no more than
// may be is.
func TestRecentIsBounded(t *testing.T) {
	var c recent
	body := []byte(strings.Repeat("x", 100<<10))
	add := func(id queue.ID) {
		c.add(&kept{message: message{Message: queue.Message{ID: id}}, body: body, rcpts: []*recipient{{}, {}}})
	}
	for i := range uint64(1000) {
		add(formatID(i))
	}
	if c.size > recentAtMost || c.size < recentAtMost*9/10 || c.find(formatID(0)) == nil || c.find(formatID(999)) != nil {
		t.Errorf("%d octets in %d messages", c.size, len(c.by))
	}
	c.changed(formatID(0), 1)
	if c.recipient(formatID(0), 1) != nil || c.recipient(formatID(0), 0) == nil {
		t.Error("what changed is remembered as it was")
	}
	c.changed(formatID(0), 0)
	if add(formatID(999)); c.find(formatID(0)) != nil || c.find(formatID(999)) == nil {
		t.Error("what has left takes room")
	}
	for k := c.first; k != nil; k = k.next {
		k.at = k.at.Add(-2 * recentAge)
	}
	if add(formatID(1000)); len(c.by) != 1 {
		t.Errorf("%d messages that nobody wanted", len(c.by)-1)
	}
	c.drop(formatID(1000))
	if c.size != 0 || c.first != nil || c.last != nil || len(c.by) != 0 {
		t.Errorf("%d octets are left", c.size)
	}
}

// Very much mail that becomes due at once is made so bit by bit, what waited longest
// first.
func TestRipensBitByBit(t *testing.T) {
	x := newIndex()
	const all = 2*ripeAtOnce + 10
	for i := range uint64(all) {
		x.add(i+1, "shop", false, []newcomer{{domain: "a.example", state: waiting, due: time.Duration(all - i)}})
	}
	d := x.named["a.example"]
	for _, left := range []int{ripeAtOnce + 10, 10, 0} {
		if x.ripen(d, all+1); len(d.waiting) != left || len(d.lines) != 1 || len(d.lines[0].pile) != all-left {
			t.Fatalf("%d wait in %d lines, want %d", len(d.waiting), len(d.lines), left)
		}
		if id := x.at(d.lines[0].pile[0]).id; id != uint64(left+1) {
			t.Fatalf("the first is %d, want %d", id, left+1)
		}
	}
}

// Whichever recipients of two messages are looked for and dropped, in whatever order,
// those found are the ones that are there.
func TestSeek(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	x := newIndex()
	const n = 200
	there := map[rcptName]bool{}
	for id := uint64(1); id <= 2; id++ {
		var all []newcomer
		for i := range n {
			all = append(all, newcomer{n: i, domain: "a.example", state: held})
			there[rcptName{id, uint32(i)}] = true
		}
		x.add(id, "shop", false, all)
	}
	last := ref(0)
	for step := 0; len(there) > 0; step++ {
		q := rcptName{1 + rng.Uint64N(2), uint32(rng.IntN(n))}
		if last != 0 && rng.IntN(4) > 0 {
			q = rcptName{x.at(last).id, x.at(last).n + 1} // as results mostly come
		}
		before, r := x.seek(last, q.id, int(q.n))
		if (r != 0) != there[q] || r != 0 && (x.at(r).id != q.id || x.at(r).n != q.n) {
			t.Fatalf("seed %d, step %d: %v is at %d, is there: %v", seed, step, q, r, there[q])
		}
		if last = r; r != 0 && rng.IntN(2) == 0 {
			x.drop(before, r)
			delete(there, q)
			last = before
		}
		if x.count[held] != len(there) {
			t.Fatalf("seed %d, step %d: %d are there, want %d", seed, step, x.count[held], len(there))
		}
	}
	if x.roll.size != 0 {
		t.Errorf("%d messages are left", x.roll.size)
	}
}

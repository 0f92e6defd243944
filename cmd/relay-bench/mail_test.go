package main

import (
	"bytes"
	"strings"
	"testing"
)

// A message comes back with what a relay puts on top, and is known again.
func TestMailIsKnownAgain(t *testing.T) {
	m := newMail(small)
	for _, id := range []int{0, 1, 9999, 123456} {
		sent := m.append(nil, id, sender, "reader@d0.dest.test")
		if len(sent) < small-2*line || len(sent) > small {
			t.Errorf("message %d has %d octets, want about %d", id, len(sent), small)
		}
		got, signed, err := m.read(append([]byte("Received: from x\r\n\tby y\r\n"), sent...))
		if err != nil || got != id || signed {
			t.Errorf("read message %d: %d, signed %v, %v", id, got, signed, err)
		}
		if _, signed, err := m.read(append([]byte("DKIM-Signature: v=1\r\n"), sent...)); err != nil || !signed {
			t.Errorf("read signed message %d: signed %v, %v", id, signed, err)
		}
		sent[len(sent)-3]++
		if _, _, err := m.read(sent); err == nil {
			t.Errorf("message %d was changed, and read does not say so", id)
		}
	}
	if bytes.Equal(m.body(1), m.body(2)) {
		t.Error("two messages have the same body")
	}
	for _, broken := range []string{"", "no end", "A: b\r\n\r\nno number", "A: b\r\n" + idField + "x\r\n\r\n"} {
		if _, _, err := m.read([]byte(broken)); err == nil {
			t.Errorf("read(%q): no error", broken)
		}
	}
}

func TestLedgerTellsLostAndDoubled(t *testing.T) {
	l := newLedger(3, func(id int) bool { return id != 1 })
	l.arrive(0)
	select {
	case <-l.all:
		t.Error("all arrived after the first of two")
	default:
	}
	l.arrive(2)
	<-l.all
	if err := l.sound(); err != nil {
		t.Errorf("sound: %v", err)
	}
	for id, want := range map[int]string{0: "twice", 1: "refused", 3: "only 3"} {
		l := newLedger(3, func(id int) bool { return id != 1 })
		l.arrive(0)
		l.arrive(id)
		if err := l.sound(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("message %d: %v, want %q", id, err, want)
		}
	}
}

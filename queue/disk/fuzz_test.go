package disk

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

func FuzzRecord(f *testing.F) {
	const id = "0000000000AA"
	f.Add(sealMessage(id))
	f.Add(sealMessage(id)[recordHead:])
	f.Add(sealRecipient(id, 0))
	f.Add(sealRecipient(id, 0)[recordHead:])
	f.Add(appendClock(time.Hour, 7))
	f.Add([]byte(nil))
	f.Add([]byte("\x00\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = parseClock(b)
		for _, v := range [][]byte{b, seal(b)} {
			if m, err := decodeMessage(id, v); err == nil {
				again, err := appendMessage(nil, m)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := decodeMessage(id, again); err != nil || !reflect.DeepEqual(n, m) {
					t.Fatalf("%+v became %+v, %v", m, n, err)
				}
			}
			var r, n recipient
			if err := decodeRecipient(&r, id, 0, v); err == nil {
				again, err := appendRecipient(nil, &r)
				if err != nil {
					t.Fatal(err)
				}
				if err := decodeRecipient(&n, id, 0, again); err != nil || !reflect.DeepEqual(n, r) {
					t.Fatalf("%+v became %+v, %v", r, n, err)
				}
				r.accrue(time.Hour)
				if d := due(nanos(r.Next), r.Delay, time.Hour, time.Now()); d < time.Hour {
					t.Fatalf("due at %v, an hour into the run", d)
				}
			}
		}
		if p, err := open(seal(b)); err != nil || !bytes.Equal(p, b) {
			t.Fatalf("sealed %q, opened %q, %v", b, p, err)
		}
		if id, n, ok := parseRcptKey(b); ok && !bytes.Equal(rcptKey(id, n), b) {
			t.Fatalf("key %q is read as %s, %d", b, id, n)
		}
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte(nil), uint32(0))
	f.Add(make([]byte, blockSize+1), uint32(2))
	f.Add([]byte("\x33\xe5\x9dK\x11\x00\x0b\x02\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00"), uint32(2))
	f.Fuzz(func(t *testing.T, file []byte, number uint32) {
		good, bad := survey(file, number)
		for _, c := range good {
			if c.at < 0 || c.at >= c.end || c.end > len(file) || c.at/blockSize != (c.end-1)/blockSize {
				t.Fatalf("chunk from %d to %d of %d", c.at, c.end, len(file))
			}
		}
		for _, x := range bad {
			if x.at >= x.end || x.end > len(file) || len(x.mended) > x.end-x.at {
				t.Fatalf("flaw from %d to %d of %d, mended %d", x.at, x.end, len(file), len(x.mended))
			}
			if x.mended == nil {
				continue
			}
			copy(file[x.at:], x.mended)
			if c, ok := chunkAt(file[:x.end], x.at, number); !ok || c.end != x.end {
				t.Fatalf("the flaw at %d was not mended", x.at)
			}
		}
		_ = readable(file, number, bad)
	})
}

package disk

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"smtprelay/queue"
)

func TestZZ(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, mem, "queue", Options{})
	bodies := map[queue.ID][]byte{}
	for i := range 5 {
		body := bytes.Repeat([]byte{byte('a' + i)}, 2000)
		bodies[commit(t, s, body, "a.example")] = body
	}
	_ = pebble.Sync
	s.Close()
	names, _ := mem.List("queue/db")
	for _, n := range names {
		st, _ := mem.Stat("queue/db/" + n)
		fmt.Println(n, st.Size())
		if !strings.HasSuffix(n, ".sst") {
			continue
		}
		res := ""
		for i := 0; i < int(st.Size()); i += 4 {
			left := mem.CrashClone(vfs.CrashCloneCfg{})
			rewriteFile(t, left, "queue/db/"+n, flip(i))
			s, err := Open(left, "queue", Options{Fatal: func(err error) { t.Error(err) }})
			if err != nil {
				if i%64 == 0 {
					fmt.Println(i, err)
				}
				res += "X"
				continue
			}
			k := 0
			for e, err := range s.List(ctx, queue.Filter{}) {
				if err != nil {
					res += "E"
					continue
				}
				b, err := s.Body(ctx, e.Message.ID)
				if err == nil {
					b.Close()
					k++
				}
			}
			res += fmt.Sprint(k)
			s.Close()
		}
		fmt.Println(n, res)
	}
}

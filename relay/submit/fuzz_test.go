package submit

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// FuzzSession: a client may send what it likes, in what pieces it likes. The
// server ends the session, and what it queued is clean and came by a whole
// transaction.
func FuzzSession(f *testing.F) {
	whole := "EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n" + head + "x\n.y\r\n.\r\nQUIT\r\n"
	f.Add(whole, 7)
	f.Add(strings.Replace(whole, "DATA\r\n", "BDAT 9 LAST\r\n", 1), 1)
	f.Add(strings.Replace(whole, "x\n", "\r\n.\rX", 1), 3)
	f.Add("EHLO c\r\nSTARTTLS\r\nAUTH PLAIN\r\n*\r\nAUTH LOGIN =\r\nBDAT 0 LAST\r\nBDAT 5\r\nNOO\r\n", 100)
	f.Add("EHLO c\r\nMAIL FROM:<\"a\\\"@b\"@c> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<b@c> NOTIFY=NEVER ORCPT=rfc822;+41\r\nBDAT 30\r\nFrom: a@b\r\n\r\nBDAT 0 LAST\r\nRSET\r\n", 4096)
	f.Fuzz(func(t *testing.T, script string, step int) {
		w := trusting()
		w.Size = 4000
		h := build(t, w)
		go h.clear.serve()
		theirs, ours := net.Pipe()
		gone := make(chan struct{})
		go io.Copy(io.Discard, theirs)
		h.clear.hand(newDialogue(local{ours}, newConn(local{ours}, h.limits, func() { close(gone) }), h.Server))
		theirs.SetDeadline(time.Now().Add(5 * time.Second))
		for s := script; s != ""; {
			n := min(max(step, 1), len(s))
			if _, err := io.WriteString(theirs, s[:n]); err != nil {
				break
			}
			s = s[n:]
		}
		theirs.Close()
		h.clear.Close()
		h.clear.smtp.Shutdown(t.Context())
		h.finish()
		if h.box.drafts() != 0 {
			t.Fatal("a draft is left")
		}
		if strings.Contains(h.log.String(), "panic") {
			t.Fatal(h.log.String())
		}
		for _, p := range h.box.all() {
			if strings.ContainsAny(strings.ReplaceAll(p.wire(), "\r\n", ""), "\r\n\x00") || !strings.HasSuffix(p.wire(), "\r\n") {
				t.Fatalf("%q", p.wire())
			}
			if len(p.rs) == 0 || p.m.Author == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}

// local is a pipe that passes for a unix socket.
type local struct{ net.Conn }

func (local) RemoteAddr() net.Addr { return &net.UnixAddr{} }

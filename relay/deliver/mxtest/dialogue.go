package mxtest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
)

// dialogue is the server's side of one connection.
type dialogue struct {
	s    *Server
	raw  net.Conn
	conn net.Conn // raw, or TLS over it
	r    *bufio.Reader
	w    *bufio.Writer
	rec  *Conn

	ehlo, user string
	mail       bool
	msg        Message
}

// use takes over conn for reading and writing; what was buffered is dropped.
func (d *dialogue) use(conn net.Conn) {
	d.conn = conn
	d.r = bufio.NewReader(io.TeeReader(conn, wire{d}))
	d.w = bufio.NewWriter(conn)
}

// wire records what the client sends.
type wire struct{ d *dialogue }

func (w wire) Write(p []byte) (int, error) {
	w.d.s.update(func() { w.d.rec.Wire = append(w.d.rec.Wire, p...) })
	return len(p), nil
}

func (d *dialogue) run() {
	if !d.say("banner", "", "220 mx.test ESMTP") {
		return
	}
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		d.record(verb, line)
		if !d.command(verb, arg) {
			return
		}
	}
}

func (d *dialogue) record(verb, line string) {
	if verb == "AUTH" {
		line = strings.Join(strings.Fields(line)[:min(2, len(strings.Fields(line)))], " ")
	}
	d.s.update(func() { d.rec.Commands = append(d.rec.Commands, line) })
}

// say writes the usual reply to a step, unless the script has another; false
// ends the connection.
func (d *dialogue) say(step, address, usual string) bool {
	_, on := d.answer(step, address, usual)
	return on
}

// answer is say that also tells the code that was given.
func (d *dialogue) answer(step, address, usual string) (code int, on bool) {
	return d.play(d.s.next(step, address), usual)
}

// play does what a rule says; without one it writes the usual reply.
func (d *dialogue) play(r *rule, usual string) (code int, on bool) {
	switch {
	case r == nil:
	case r.do == "drop":
		d.w.Flush() // what was held back for pipelining
		return 0, false
	case r.do == "hang":
		d.w.Flush()
		io.Copy(io.Discard, d.r) // until the client has had enough
		return 0, false
	case r.do == "hold":
		d.w.Flush()
		if !d.s.hold() {
			return 0, false
		}
	case r.do == "raw":
		fmt.Sscanf(r.text, "%d", &code)
		return code, d.write(r.text)
	default:
		usual = fmt.Sprintf("%d %s", r.code, r.text)
	}
	fmt.Sscanf(usual, "%d", &code)
	on = d.write(usual+"\r\n") && code != 421
	if !on {
		d.w.Flush()
	}
	return code, on
}

// write holds replies back while the client has pipelined more, as real
// servers do.
func (d *dialogue) write(s string) bool {
	d.w.WriteString(s)
	if d.r != nil && d.r.Buffered() > 0 {
		return true
	}
	return d.w.Flush() == nil
}

func (d *dialogue) command(verb, arg string) bool {
	sc := d.s.current()
	switch verb {
	case "EHLO", "HELO":
		return d.hello(sc, verb, arg)
	case "STARTTLS":
		return d.starttls(sc)
	case "AUTH":
		return d.auth(sc, arg)
	case "MAIL":
		return d.from(sc, arg)
	case "RCPT":
		return d.to(arg)
	case "DATA":
		return d.data()
	case "RSET":
		d.mail, d.msg = false, Message{}
		return d.say(verb, "", "250 2.0.0 ok")
	case "NOOP":
		return d.say(verb, "", "250 2.0.0 ok")
	case "QUIT":
		d.say(verb, "", "221 2.0.0 bye")
		d.w.Flush()
		return false
	}
	return d.write("500 5.5.1 what?\r\n")
}

func (d *dialogue) hello(sc *script, verb, name string) bool {
	d.ehlo, d.mail = name, false
	d.s.update(func() { d.rec.EHLO = append(d.rec.EHLO, name) })
	lines := []string{"mx.test"}
	if verb == "EHLO" {
		lines = append(lines, sc.keywords(d.secure(), d.user != "")...)
	}
	last := len(lines) - 1
	usual := "250 " + lines[last]
	if last > 0 {
		usual = "250-" + strings.Join(lines[:last], "\r\n250-") + "\r\n" + usual
	}
	return d.say(verb, "", usual)
}

func (d *dialogue) secure() bool { _, ok := d.conn.(*tls.Conn); return ok }

func (d *dialogue) starttls(sc *script) bool {
	if sc.cert == nil || d.secure() {
		return d.say("STARTTLS", "", "502 5.5.1 not offered")
	}
	code, on := d.answer("STARTTLS", "", "220 2.0.0 go ahead")
	if !on || code != 220 {
		return on
	}
	d.ehlo, d.mail = "", false
	return d.handshake(sc)
}

func (d *dialogue) handshake(sc *script) bool {
	if sc.broken || sc.cert == nil {
		d.raw.Read(make([]byte, 512)) // the client's hello
		d.raw.Write([]byte("500 this is no TLS\r\n"))
		return false
	}
	t := tls.Server(d.raw, &tls.Config{Certificates: []tls.Certificate{*sc.cert}})
	if t.HandshakeContext(d.s.ctx) != nil {
		return false
	}
	d.use(t)
	d.s.update(func() { d.rec.TLS = version(t) })
	return true
}

func (d *dialogue) auth(sc *script, arg string) bool {
	mech, initial, _ := strings.Cut(arg, " ")
	if r := d.s.next("AUTH", ""); r != nil {
		_, on := d.play(r, "")
		return on
	}
	var user, password string
	switch strings.ToUpper(mech) {
	case "PLAIN":
		if initial == "" {
			initial = d.ask("")
		}
		parts := strings.Split(decode(initial), "\x00")
		if len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	case "LOGIN":
		if user = decode(initial); initial == "" {
			user = decode(d.ask("User Name:"))
		}
		password = decode(d.ask("password"))
	default:
		return d.write("504 5.5.4 no such mechanism\r\n")
	}
	if sc.user == "" || user != sc.user || password != sc.password {
		return d.write("535 5.7.8 authentication failed\r\n")
	}
	d.user = user
	return d.write("235 2.7.0 welcome\r\n")
}

func (d *dialogue) ask(prompt string) string {
	if !d.write("334 " + base64.StdEncoding.EncodeToString([]byte(prompt)) + "\r\n") {
		return ""
	}
	line, _ := d.r.ReadString('\n')
	return strings.TrimSpace(line)
}

func decode(s string) string {
	b, _ := base64.StdEncoding.DecodeString(s)
	return string(b)
}

// path takes "FROM:<a@b> X=Y" apart.
func path(arg string) (address, params string, ok bool) {
	_, after, ok1 := strings.Cut(arg, ":<")
	i := strings.LastIndex(after, "> ") // a quoted local part may hold ">"
	if i < 0 && strings.HasSuffix(after, ">") {
		i = len(after) - 1
	}
	if !ok1 || i < 0 {
		return "", "", false
	}
	return after[:i], strings.TrimSpace(after[i+1:]), true
}

func (d *dialogue) from(sc *script, arg string) bool {
	from, params, ok := path(arg)
	switch {
	case !ok:
		return d.write("501 5.5.4 syntax\r\n")
	case d.ehlo == "" || d.mail:
		return d.write("503 5.5.1 bad sequence\r\n")
	case sc.user != "" && d.user == "":
		return d.write("530 5.7.0 authentication required\r\n")
	}
	code, on := d.answer("MAIL", from, "250 2.1.0 ok")
	if code/100 == 2 {
		d.mail, d.msg = true, Message{From: from, Params: params}
	}
	return on
}

func (d *dialogue) to(arg string) bool {
	to, _, ok := path(arg)
	switch {
	case !ok:
		return d.write("501 5.5.4 syntax\r\n")
	case !d.mail:
		return d.write("503 5.5.1 bad sequence\r\n")
	}
	code, on := d.answer("RCPT", to, "250 2.1.5 ok")
	if code/100 == 2 {
		d.msg.To = append(d.msg.To, to)
	}
	return on
}

func (d *dialogue) data() bool {
	usual := "354 go ahead"
	if !d.mail {
		usual = "503 5.5.1 bad sequence"
	} else if len(d.msg.To) == 0 {
		usual = "554 5.5.1 no valid recipients"
	}
	code, on := d.answer("DATA", "", usual)
	if !on || code != 354 {
		return on
	}
	if r := d.s.next("body", ""); r != nil {
		return d.interrupt(r)
	}
	body, ok := d.body()
	if !ok {
		return false
	}
	r := d.s.next("dot", "")
	if r.replies(250)/100 == 2 {
		d.keep(body) // before the client hears of it, and may ask what is there
	}
	_, on = d.play(r, "250 2.0.0 queued")
	d.mail, d.msg = false, Message{}
	return on
}

// replies is the code that a rule answers with; 0: none. Without a rule it is the usual one.
func (r *rule) replies(usual int) (code int) {
	switch {
	case r == nil, r.do == "hold":
		return usual
	case r.do == "raw":
		_, _ = fmt.Sscanf(r.text, "%d", &code)
		return code
	}
	return r.code
}

// interrupt plays a rule in the middle of the body.
func (d *dialogue) interrupt(r *rule) bool {
	d.r.Peek(1)
	switch r.do {
	case "hang": // read nothing more: the client's window closes
		<-d.s.ctx.Done()
	case "late", "reply":
		d.w.WriteString(fmt.Sprintf("%d %s\r\n", r.code, r.text))
		d.w.Flush()
	case "raw":
		d.w.WriteString(r.text)
		d.w.Flush()
	}
	return false
}

// body reads to the final dot, strictly: only CRLF ends a line.
func (d *dialogue) body() ([]byte, bool) {
	var all bytes.Buffer
	for {
		line, err := d.line()
		if err != nil {
			return nil, false
		}
		if bytes.Equal(line, []byte(".\r\n")) {
			return all.Bytes(), true
		}
		all.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}

func (d *dialogue) line() ([]byte, error) {
	var line []byte
	for {
		part, err := d.r.ReadBytes('\n')
		line = append(line, part...)
		if err != nil || bytes.HasSuffix(line, []byte("\r\n")) {
			return line, err
		}
	}
}

func (d *dialogue) keep(body []byte) {
	m := d.msg
	m.Data, m.EHLO, m.Remote, m.User = bytes.Clone(body), d.ehlo, d.rec.Remote, d.user
	d.s.update(func() {
		m.TLS = d.rec.TLS
		d.s.messages = append(d.s.messages, m)
	})
}

package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"smtprelay/relay/dial"
	"smtprelay/relay/policy"
)

// hop is one address to try, and as whom.
type hop struct {
	host     string // name of the exchanger or smart host
	addr     netip.AddrPort
	source   string     // for the record: the source's name, or "smarthost"
	bind     netip.Addr // local address; zero: any
	ehlo     string     // our name
	trusted  bool       // the operator named it: it may be on an internal network
	implicit bool       // TLS from the first octet (RFC 8314 section 3)
	need     policy.Requirement
	login    *login // nil: no AUTH
}

// fault is how far a try came and why it came no further.
type fault struct {
	stage   string
	err     error
	tls     string // what the connection had by then: "", "TLS1.3"
	botched bool   // it was in clear text because TLS did not work
}

func (f *fault) Error() string { return f.stage + ": " + f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// at puts a stage on an error, unless it has one.
func at(stage string, err error) error {
	var f *fault
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &fault{stage: stage, err: err}
}

// session is one SMTP connection, we being the client. It is greeted and ready
// for mail once client.open returns it. Not safe for concurrent use.
type session struct {
	hop
	raw     net.Conn // TCP, below TLS
	conn    net.Conn
	in      replies
	out     *bufio.Writer
	pace    pacer
	t       Timeouts
	by      time.Time         // when the reply must be there
	until   time.Time         // no wait lasts longer; zero: no such bound
	ext     map[string]string // EHLO keywords in upper case, with parameters; nil after HELO
	tls     tls.ConnectionState
	tlsName string   // "", "TLS1.3"
	botched bool     // STARTTLS was offered and did not work: in clear by need
	dirty   bool     // a transaction may be open: RSET before the next
	dead    bool     // no command may follow
	count   int      // transactions so far, the one under way among them
	domains []string // of the recipients so far
	soon    time.Duration
	prompt  bool     // the peer answered the last final dot at once
	ahead   envelope // said, with DATA, and not answered yet; zero: none
	led     bool     // that of the transaction under way went ahead, and its text is not begun
	unhook  func() bool
	born    time.Time
	expiry  *time.Timer // while it waits in the pool

	banner string // the text of the first reply
	said   string // that of the last one to EHLO or HELO
}

// client opens sessions.
type client struct {
	private   bool
	listeners []netip.AddrPort
	public    []netip.Addr
	t         Timeouts
	soon      time.Duration
	log       *slog.Logger
}

func newClient(o Options) *client {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &client{o.Private, o.Listeners, o.Public, o.Timeouts.withDefaults(), soon, log}
}

func (c *client) dialer(h hop) dial.Dialer {
	return dial.Dialer{
		Private: c.private || h.trusted, Listeners: c.listeners, Public: c.public,
		Bind: h.bind, Timeout: c.t.Connect,
	}
}

// open connects, greets, and does TLS and AUTH as the hop demands. When a
// handshake fails and nobody demands TLS, it connects once more and stays in
// clear text: RFC 7435 section 3. Its error is a *fault. The session ends with
// ctx at the latest.
func (c *client) open(ctx context.Context, h hop) (*session, error) {
	s, err := c.connect(ctx, h, false)
	if tlsFailed(err) && h.need.Level == policy.Opportunistic && !h.implicit && ctx.Err() == nil {
		c.log.Debug("tls failed, retried in clear text", "host", h.host, "addr", h.addr.String(), "reason", why(err))
		s, err = c.connect(ctx, h, true)
	}
	if err != nil {
		return nil, err
	}
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.Debug("connection opened", "host", h.host, "addr", h.addr.String(),
			"source", h.source, "ehlo", h.ehlo, "tls", s.tlsName)
	}
	return s, nil
}

// tlsFailed tells whether TLS is to blame. It may be for what is heard right after
// the handshake, too: in TLS 1.3 we are through before the peer is.
func tlsFailed(err error) bool {
	var hs *handshakeError
	var f *fault
	return errors.As(err, &hs) || errors.As(err, &f) && f.stage == "ehlo" && f.tls != "" && !answered(err)
}

func (c *client) connect(ctx context.Context, h hop, clear bool) (*session, error) {
	raw, err := c.dialer(h).DialContext(ctx, "tcp", h.addr.String())
	if err != nil {
		return nil, at("connect", err)
	}
	s := &session{hop: h, raw: raw, t: c.t, soon: c.soon, botched: clear, born: time.Now()}
	s.use(raw)
	s.unhook = context.AfterFunc(ctx, s.abort)
	s.until = time.Now().Add(2 * c.t.Greet) // for all of it: a peer may be slow once, not at every step
	err = s.start(clear)
	s.until = time.Time{}
	if err != nil {
		s.close()
		var f *fault
		if errors.As(err, &f) {
			f.tls = s.tlsName
		}
		return nil, err
	}
	return s, nil
}

// use talks over conn from now on.
func (s *session) use(conn net.Conn) {
	if s.conn = conn; s.out == nil {
		l := lines.Get().(*line)
		s.in, s.out = l.in, l.out
	}
	s.pace = pacer{s: s}
	s.in.br.Reset(&s.pace)
	s.out.Reset(&s.pace)
}

// line is what a connection is read and written by, with nothing in it.
type line struct {
	in  replies
	out *bufio.Writer
}

// atOnce is how long a message may be to leave in one go with its final dot.
const atOnce = 16 << 10

// lines of connections that have ended serve others.
var lines = sync.Pool{New: func() any { return &line{newReplies(nil), bufio.NewWriterSize(nil, atOnce)} }}

func (s *session) start(clear bool) error {
	if s.implicit {
		if err := s.handshake(); err != nil {
			return at("starttls", err)
		}
	}
	r, err := s.read(s.t.Greet, 2)
	if err != nil {
		return at("greet", err)
	}
	s.banner = r.text
	if err := s.hello(); err != nil {
		return at("ehlo", err)
	}
	if err := s.secure(clear); err != nil {
		return at("starttls", err)
	}
	return at("auth", s.authenticate())
}

// hello says EHLO, and HELO to those who know no better (RFC 5321 section 3.2).
func (s *session) hello() error {
	s.ext = nil
	r, err := s.command(s.t.Greet, 2, "EHLO "+s.ehlo)
	if err == nil {
		s.ext, s.said = keywords(r.text), r.text
		return nil
	}
	if !permanent(err) {
		return err
	}
	said, e := s.command(s.t.Greet, 2, "HELO "+s.ehlo)
	if e == nil || answered(e) {
		s.said = said.text
		return e
	}
	return err // it refused and left: what it said is why
}

// keywords of an EHLO reply, in upper case (RFC 5321 section 4.1.1.1: they are
// not case sensitive). "AUTH=LOGIN" is an old way to say "AUTH LOGIN".
func keywords(text string) map[string]string {
	ext := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		if i == 0 {
			continue // their name
		}
		k, params, _ := strings.Cut(strings.TrimSpace(line), " ")
		k = strings.ToUpper(k)
		if mechs, old := strings.CutPrefix(k, "AUTH="); old {
			k, params = "AUTH", mechs+" "+params
		}
		if _, twice := ext[k]; !twice || k != "AUTH" {
			ext[k] = strings.TrimSpace(params)
		} else {
			ext[k] += " " + strings.TrimSpace(params)
		}
	}
	return ext
}

func (s *session) has(keyword string) bool { _, ok := s.ext[keyword]; return ok }

// quit says goodbye and does not insist on an answer.
func (s *session) quit() {
	if !s.ahead.empty() {
		s.dead = true // QUIT would be taken for text
		s.abort()
	}
	if !s.dead {
		s.until = time.Now().Add(lateWait)
		s.command(lateWait, 2, "QUIT")
	}
	s.close()
}

// close ends the connection.
func (s *session) close() {
	s.dead = true
	s.unhook()
	s.raw.Close()
	if s.out != nil {
		s.in.br.Reset(nil)
		s.out.Reset(nil)
		lines.Put(&line{s.in, s.out})
		s.in, s.out = replies{}, nil
	}
}

// abort ends the connection so that nothing in flight can be taken for the end
// of a message: what the system has buffered is thrown away.
func (s *session) abort() {
	if c, ok := s.raw.(*net.TCPConn); ok {
		c.SetLinger(0)
	}
	s.raw.Close()
}

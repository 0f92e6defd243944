package submit

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// session is what the commands of one connection mean: between EHLO and its
// end, or STARTTLS, which begins a new one.
type session struct {
	srv    *Server
	c      *smtp.Conn
	d      *dialogue
	remote string
	ip     netip.Addr // invalid on a unix socket
	who    string     // who may submit, for the log and the queue; "" nobody yet
	user   *user      // nil unless logged in

	mu sync.Mutex
	t  *transaction
}

// transaction is one message's envelope. Data takes it as it stands; a RSET
// while a chunk is under way finds another one.
type transaction struct {
	envelope   queue.Envelope
	from       address
	recipients []queue.Recipient
	seen       map[string]bool
	hold       hold // on the user's limits, given back unless the message is queued
	began      time.Time
}

// newSession is called by go-smtp at the first EHLO or HELO.
func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	d, ok := c.Conn().(*dialogue)
	if !ok {
		return nil, smtpError(421, "4.3.0", "local trouble")
	}
	ss := &session{srv: s, c: c, d: d, remote: remote(d)}
	ss.ip, _ = addrOf(d.RemoteAddr())
	ss.who = s.trusts(d.RemoteAddr())
	if ss.who != "" {
		d.raw.trust()
	}
	return ss, nil
}

// trusts names the trusted network that a client comes from, or "". Who comes
// by a unix socket could open it, and that is what its mode is for.
func (s *Server) trusts(a net.Addr) string {
	if _, ok := a.(*net.UnixAddr); ok {
		return "local"
	}
	ip, _ := addrOf(a)
	for _, p := range s.o.Trusted {
		if p.Contains(ip.WithZone("")) {
			return p.String()
		}
	}
	return ""
}

// Reset ends the transaction.
func (s *session) Reset() {
	s.mu.Lock()
	t := s.t
	s.t = nil
	s.mu.Unlock()
	if !s.d.moved { // to TLS: the connection is another session's
		s.d.raw.transaction(false)
	}
	if t != nil {
		t.hold.release()
	}
}

// Logout is called once, at the end. go-smtp does not recover from a panic
// here, and there is nothing in it that could.
func (s *session) Logout() error {
	defer func() {
		if r := recover(); r != nil {
			s.srv.panicked(s.d.RemoteAddr(), r)
		}
	}()
	s.Reset()
	return nil
}

func (s *session) transaction() *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.t
}

// Mail begins a transaction. Whether the client may submit is said at RCPT.
func (s *session) Mail(_ string, o *smtp.MailOptions) error {
	if s.transaction() != nil { // go-smtp takes a second MAIL and keeps the first one's recipients
		return s.reply(refuse(503, "5.5.1", "a transaction is open already: end it with DATA or RSET"))
	}
	t := &transaction{began: time.Now(), seen: map[string]bool{}}
	var err error
	if t.from, err = parsePath(s.d.line, "FROM:", o.UTF8); err != nil {
		return s.refused(t, nil, badAddress(err, 501, "5.1.7", "sender"))
	}
	t.envelope = queue.Envelope{
		From: t.from.String(), Body: string(o.Body), UTF8: o.UTF8,
		Return: string(o.Return), EnvelopeID: o.EnvelopeID,
	}
	if err := s.mayMail(t, o); err != nil {
		t.hold.release()
		return s.refused(t, nil, err)
	}
	s.mu.Lock()
	s.t = t
	s.mu.Unlock()
	s.d.raw.transaction(true)
	return nil
}

func (s *session) mayMail(t *transaction, o *smtp.MailOptions) error {
	switch {
	case s.d.raw.drains():
		s.d.hangUp()
		return refuse(421, "4.3.2", "%s is shutting down, try again later", s.srv.o.Hostname)
	case o.Size > s.srv.o.Size:
		return tooLarge(s.srv.o.Size)
	case len(o.EnvelopeID) > 100: // RFC 3461 section 4.4
		return refuse(501, "5.5.4", "ENVID is longer than 100 characters")
	case t.from.literal():
		return refuse(553, "5.1.7", "an address literal cannot be the sender: bounces would not find it")
	case s.who == "":
		return nil
	}
	if err := s.srv.press.room(); err != nil {
		return err
	}
	if err := s.maySendAs(t.from.domain, "MAIL FROM"); err != nil {
		return err
	}
	if err := s.user.count(&t.hold, 1, 0); err != nil {
		return err
	}
	return s.judge(preflight.Mail{Envelope: t.from.domain})
}

// maySendAs holds the domain of a sender against Options.Senders and the
// user's own list. The null sender may be used by all: the header's author
// decides.
func (s *session) maySendAs(domain, where string) error {
	if domain == "" {
		return nil
	}
	if s.srv.o.Senders != nil && !slices.Contains(s.srv.o.Senders, domain) {
		return refuse(550, "5.7.1", "%s: this relay does not send for the domain %s", where, domain)
	}
	if s.user != nil && s.user.from != nil && !slices.Contains(s.user.from, domain) {
		return refuse(550, "5.7.1", "%s: user %s may not send for the domain %s", where, s.user.name, domain)
	}
	return nil
}

// judge asks the gate. Whatever is not a rejection is accepted: the queue sees
// to the rest.
func (s *session) judge(m preflight.Mail) error {
	r := s.srv.gate.Judge(s.srv.ctx, m)
	if r.Do != preflight.ActReject {
		return nil
	}
	if r.Code/100 != 4 && r.Code/100 != 5 {
		r.Code, r.Status = 550, "5.7.1"
	}
	if r.Text == "" {
		r.Text = "mail of this domain cannot be sent from here"
	}
	return refuse(r.Code, r.Status, "%s", r.Text)
}

// Rcpt adds a recipient.
func (s *session) Rcpt(_ string, o *smtp.RcptOptions) error {
	t := s.transaction()
	if t == nil {
		return s.reply(refuse(503, "5.5.1", "MAIL first"))
	}
	if s.who == "" {
		s.srv.log.Info("relaying refused", "remote", s.remote, "from", t.envelope.From, "reason", "not trusted, not logged in")
		return s.reply(refuse(550, "5.7.1", "%s", s.howToSubmit()))
	}
	if err := s.addRecipient(t, o); err != nil {
		_, to, _ := strings.Cut(s.d.line, ":")
		return s.refused(t, []string{to[:min(len(to), 2*maxMailbox)]}, err)
	}
	return nil
}

// refused logs a no and makes it the reply.
func (s *session) refused(t *transaction, to []string, err error) error {
	var no *refusal
	if errors.As(err, &no) {
		s.srv.log.Info("message refused", "remote", s.remote, "from", t.envelope.From, "to", to, "user", s.who,
			"code", no.code, "status", no.status, "reason", no.text)
	}
	return s.reply(err)
}

func (s *session) howToSubmit() string {
	text := "relaying is not allowed from " + s.remote + ": "
	switch {
	case s.srv.o.Users == nil:
		return text + "the operator can add its network to submission.trusted"
	case s.d.secure == nil:
		return text + "use STARTTLS, then log in with AUTH"
	}
	return text + "log in with AUTH first"
}

func (s *session) addRecipient(t *transaction, o *smtp.RcptOptions) error {
	a, err := parsePath(s.d.line, "TO:", t.envelope.UTF8)
	switch {
	case err != nil:
		return badAddress(err, 501, "5.1.3", "recipient")
	case a.domain == "":
		return refuse(501, "5.1.3", "the null address cannot be a recipient")
	case a.literal():
		return refuse(550, "5.1.2", "mail to an address literal is not relayed: use a domain name")
	}
	original, err := originalOf(o)
	if err != nil {
		return err
	}
	mailbox := a.String()
	if t.seen[mailbox] { // once is enough
		return nil
	}
	if err := s.user.count(&t.hold, 0, 1); err != nil {
		return err
	}
	notify := make([]string, len(o.Notify))
	for i, n := range o.Notify {
		notify[i] = string(n)
	}
	t.seen[mailbox] = true
	t.recipients = append(t.recipients, queue.Recipient{
		Address: mailbox, Domain: a.domain, Notify: strings.Join(notify, ","), Original: original,
	})
	s.d.spent.Store(0)
	return nil
}

// originalOf is ORCPT as it goes on: in ASCII, in xtext (RFC 3461 section 4,
// RFC 6533 section 3).
func originalOf(o *smtp.RcptOptions) (string, error) {
	if o.OriginalRecipient == "" {
		return "", nil
	}
	var b strings.Builder
	form := "+%02X"
	if o.OriginalRecipientType == smtp.DSNAddressTypeUTF8 {
		form = `\x{%02X}`
	}
	for _, r := range o.OriginalRecipient {
		if r > ' ' && r <= '~' && r != '+' && r != '=' && (r != '\\' || form[0] == '+') {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, form, r)
		}
	}
	original := strings.ToLower(string(o.OriginalRecipientType)) + ";" + b.String()
	if len(original) > 500 { // RFC 3461 section 4.2
		return "", refuse(501, "5.5.4", "ORCPT is longer than 500 characters")
	}
	return original, nil
}

func badAddress(err error, code int, status, whose string) error {
	if errors.Is(err, errUTF8) { // RFC 6531 section 3.5
		return refuse(553, "5.6.7", "%s: %v", whose, err)
	}
	return refuse(code, status, "%s address: %v", whose, err)
}

func tooLarge(size int64) error {
	return refuse(552, "5.3.4", "message too large: at most %d octets", size)
}

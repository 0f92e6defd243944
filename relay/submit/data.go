package submit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/emersion/go-smtp"

	"smtprelay/preflight"
	"smtprelay/queue"
)

// message is one being received.
type message struct {
	t       *transaction
	header  header
	authors []string // domains, the first author's first
	added   []byte   // fields that it lacked
	id      string   // Message-ID
	size    int64    // of what is stored
	wide    bool     // a line of the body is too long for the way ahead
	eight   bool     // there are octets beyond ASCII
	bare    int      // line ends mended
}

// Data takes a message by DATA or BDAT. When it says 250 the message is in the
// queue for good. What it does not read of r go-smtp swallows; when the
// connection breaks within the message, the session ends with it.
func (s *session) Data(r io.Reader) error {
	if !s.srv.begin() {
		return s.reply(errDropped)
	}
	defer s.srv.work.Done()
	t := s.transaction()
	if t == nil || len(t.recipients) == 0 {
		return s.reply(refuse(503, "5.5.1", "no recipients"))
	}
	if !s.d.bdat { // said before anything is read: the next command does not wait for the goroutine of a chunk
		r = data{s.d}
	}
	began := time.Now()
	m, id, err := s.take(t, r)
	if err != nil {
		var b *broken
		if errors.As(err, &b) {
			if !errors.Is(b.err, smtp.ErrDataReset) { // RSET between two chunks breaks nothing
				s.d.hangUp()
			}
			s.srv.log.Info("message broke off", "remote", s.remote, "from", t.envelope.From, "user", s.who, "took", time.Since(began), "reason", b.err.Error())
			err = errDropped
		}
		return s.refused(t, listed(t.recipients), err)
	}
	t.hold.keep()
	s.d.spent.Store(0)
	if m.bare > 0 {
		s.srv.log.Debug("line ends mended", "id", string(id), "remote", s.remote, "reason", fmt.Sprintf("%d times LF without CR", m.bare))
	}
	s.srv.log.LogAttrs(s.srv.ctx, slog.LevelInfo, "accepted", slog.String("id", string(id)), slog.String("from", t.envelope.From),
		slog.Any("to", listed(t.recipients)), slog.String("user", s.who), slog.String("remote", s.remote), slog.Int64("size", m.size), slog.Duration("took", time.Since(began)))
	return queued(id)
}

// listed are the recipients for the log, no more than make sense there.
func listed(rs []queue.Recipient) []string {
	as := make([]string, 0, min(len(rs), 21))
	for _, r := range rs[:min(len(rs), 20)] {
		as = append(as, r.Address)
	}
	if len(rs) > 20 {
		as = append(as, "...")
	}
	return as
}

// take reads a message, stores it and commits it.
func (s *session) take(t *transaction, r io.Reader) (*message, queue.ID, error) {
	tx := &text{r: r, limit: s.srv.o.Size}
	br := reader(tx)
	defer handBack(br)
	h, err := readHeader(br)
	if err != nil {
		return nil, "", err
	}
	m := &message{t: t}
	if m.authors, err = h.vet(s.srv.o.Hops); err != nil {
		return nil, "", err
	}
	m.header = h.without("bcc", "resent-bcc")
	if err := s.mayAuthor(m); err != nil {
		return nil, "", err
	}
	m.added, m.id = h.added(s.srv.o.Hostname, time.Now())

	d, err := s.srv.in.Create(s.srv.ctx)
	if err != nil {
		return nil, "", err
	}
	defer func() { d.Abort() }() // the draft of that moment: mending changes it
	if err := s.spool(m, d, br); err != nil {
		return nil, "", err
	}
	m.bare = tx.bare
	if m.wide {
		if d, err = s.mended(m, d); err != nil {
			return nil, "", err
		}
	}
	id, err := s.commit(m, d)
	return m, id, err
}

// mayAuthor holds the authors against the policies: all of them may be sent
// for, the gate judges by the first, who is signed for.
func (s *session) mayAuthor(m *message) error {
	for _, d := range m.authors {
		if err := s.maySendAs(d, "From"); err != nil {
			return err
		}
	}
	if err := s.maySpeak(m.header); err != nil {
		return err
	}
	return s.judge(preflight.Mail{Envelope: m.t.from.domain, Author: m.authors[0]})
}

// spool writes header and body to the draft. A body that did not come whole is
// an error, even where go-smtp thinks it did: a chunk that broke off.
func (s *session) spool(m *message, d io.Writer, body io.Reader) error {
	rule := &ruler{w: d}
	if err := m.header.writeTo(rule); err != nil {
		return err
	}
	rule.widest = 0
	if _, err := io.Copy(onlyWriter{rule}, body); err != nil {
		return err
	}
	if s.d.cut {
		return &broken{io.ErrUnexpectedEOF}
	}
	m.size, m.wide, m.eight = rule.n, rule.widest > maxWidth, rule.eight
	return nil
}

// onlyWriter hides every other method, so that io.Copy goes by its buffer.
type onlyWriter struct{ io.Writer }

// commit signs what the draft holds and makes it durable.
func (s *session) commit(m *message, d queue.Draft) (queue.ID, error) {
	sig, err := s.sign(m, d)
	if err != nil {
		return "", err
	}
	leave, err := s.srv.press.enter(s.srv.ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	e := m.t.envelope
	if m.eight { // whatever was declared
		e.Body = string(smtp.Body8BitMIME)
	}
	return d.Commit(s.srv.ctx, &queue.Message{
		Envelope:  e,
		Author:    m.authors[0],
		MessageID: m.id,
		Submitter: s.who,
		Head:      bytes.Join([][]byte{s.received(m.t, d.ID(), time.Now()), sig, m.added}, nil),
		Lifetime:  s.srv.o.Lifetime,
	}, m.t.recipients)
}

// sign makes the signatures over the fields added and the stored message, a
// few at once.
func (s *session) sign(m *message, d queue.Draft) ([]byte, error) {
	select {
	case s.srv.signing <- struct{}{}:
		defer func() { <-s.srv.signing }()
	case <-s.srv.ctx.Done():
		return nil, s.srv.ctx.Err()
	}
	r, err := d.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return s.srv.signer.Sign(m.authors[0], io.MultiReader(bytes.NewReader(m.added), r))
}

//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// mailing is a message of a shape on its way by one application.
type mailing struct {
	shape    *shape
	app      *peer
	id, text string
	letter   letter // as it arrived
}

// cmdShapes: shapes N RECEIVER. Every application sends messages of every shape
// it can, N in all, and the receiver has them as they were sent.
func cmdShapes(s *server, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.receivers, func(r *receiver) bool { return r.name == args[1] })
	if i < 0 || len(s.receivers[i].verify) < 2 {
		return fmt.Errorf("no receiver %q with two verifiers", args[1])
	}
	r := s.receivers[i]
	all, err := s.mailings(n, r)
	if err != nil {
		return err
	}
	if err := arrived(all, r); err != nil {
		return err
	}
	var letters []letter
	for _, m := range all {
		letters = append(letters, m.letter)
	}
	return errors.Join(s.asSent(all), s.expect("DKIM", []string{"all signatures good"}, func() (string, error) {
		if err := r.verified(s.domain, letters...); err != nil {
			return "", err
		}
		return fmt.Sprintf("all signatures good: %d, %d verifiers", len(letters), len(r.verify)), nil
	}))
}

// arrived waits for all of them.
func arrived(all []*mailing, r *receiver) (err error) {
	late := time.Now().Add(2 * patience)
	for _, m := range all {
		if m.letter, err = r.find(m.id, late); err != nil {
			return fmt.Errorf("%s by %s: %w", m.shape.name, m.app.name, err)
		}
	}
	return nil
}

// asSent counts, shape by shape, what is as it was sent.
func (s *server) asSent(all []*mailing) error {
	var wrong []error
	good, sent := map[string]int{}, map[string]int{}
	for _, m := range all {
		sent[m.shape.name]++
		if err := m.compare(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s by %s, %s: %w", m.shape.name, m.app.name, m.id, err))
			continue
		}
		good[m.shape.name]++
	}
	wrong = wrong[:min(len(wrong), 10)]
	for _, shape := range shapes {
		err := s.expect(shape.name, []string{fmt.Sprintf("%d as sent", sent[shape.name])}, func() (string, error) {
			return fmt.Sprintf("%d as sent", good[shape.name]), nil
		})
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// mailings are handed in, a few at a time. Each application has its share of
// every shape that it can send.
func (s *server) mailings(n int, r *receiver) ([]*mailing, error) {
	if !slices.ContainsFunc(s.apps, func(a *peer) bool { return !a.ascii }) {
		return nil, errors.New("no application can send SMTPUTF8")
	}
	var all []*mailing
	var g errgroup.Group
	g.SetLimit(4)
	for i := range n {
		m := &mailing{shape: &shapes[i/len(s.apps)%len(shapes)], app: s.apps[i%len(s.apps)]}
		for m.shape.utf8 && m.app.ascii {
			m.app = s.apps[(slices.Index(s.apps, m.app)+1)%len(s.apps)]
		}
		var from, to string
		from, to, m.id, m.text = m.shape.message(i, s.domain, r.receives)
		all = append(all, m)
		g.Go(func() error {
			if err := s.post(m.app, strconv.Itoa(i), from, to, m.text); err != nil {
				return fmt.Errorf("%s: %w", m.shape.name, err)
			}
			return nil
		})
	}
	return all, g.Wait()
}

// traces are the fields that stand before what was sent, and how often: ours, and
// those of the receiver; -1 is once at least.
var traces = map[string]int{
	"Received": -1, "Dkim-Signature": 1,
	"Return-Path": 1, "X-Original-To": 1, "Delivered-To": 1, "Received-Spf": 1,
}

// compare what arrived with what was sent. SMTP ends each line with CRLF, the
// last one too.
func (m *mailing) compare() error {
	sent := []byte(strings.ReplaceAll(strings.Replace(m.text, m.shape.removed, "", 1), "\n", "\r\n"))
	if !bytes.HasSuffix(sent, []byte("\r\n")) {
		sent = append(sent, "\r\n"...)
	}
	if m.shape.mended {
		return m.compareMended(sent)
	}
	head, ok := bytes.CutSuffix(m.letter.raw, sent)
	if !ok {
		return fmt.Errorf("%d octets were sent, ending %q, and other ones arrived, ending %q", len(sent), tail(sent), tail(m.letter.raw))
	}
	added := maps.Clone(traces)
	if m.shape.undated {
		added["Date"], added["Message-Id"] = 1, 1
	}
	return only(added, head)
}

func tail(text []byte) []byte { return text[max(len(text)-60, 0):] }

// only these fields stand there, and so often.
func only(names map[string]int, head []byte) error {
	h, err := mail.ReadMessage(bytes.NewReader(append(slices.Clone(head), "\r\n"...)))
	if err != nil {
		return fmt.Errorf("before what was sent: %w", err)
	}
	for name, values := range h.Header {
		if n, ok := names[name]; !ok || n >= 0 && n != len(values) {
			return fmt.Errorf("the field %s was added %d times", name, len(values))
		}
	}
	for name := range names {
		if len(h.Header[name]) == 0 {
			return fmt.Errorf("the field %s is missing", name)
		}
	}
	return nil
}

// compareMended allows another transfer encoding: all else of the header is the
// same to the octet, and the body decodes to what was sent.
func (m *mailing) compareMended(sent []byte) error {
	was, body, _ := bytes.Cut(sent, []byte("\r\n\r\n"))
	now := bytes.ReplaceAll(append(was, "\r\n\r\n"...), []byte("Content-Transfer-Encoding: 8bit\r\n"), []byte("Content-Transfer-Encoding: quoted-printable\r\n"))
	head, encoded, ok := bytes.Cut(m.letter.raw, now)
	if !ok {
		return fmt.Errorf("its header is not %q", now)
	}
	is, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(encoded)))
	if err != nil {
		return err
	}
	if !bytes.Equal(is, body) {
		return errors.New("it does not decode to what was sent")
	}
	return only(traces, head)
}

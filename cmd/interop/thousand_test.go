//go:build interop

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// mailing is a message of a shape on its way by one application.
type mailing struct {
	shape    *shape
	app      *peer
	id, text string
}

// cmdShapes: shapes N RECEIVER. Every application sends messages of every shape
// it can, N in all, and the receiver has them as they were sent.
func cmdShapes(s *server, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.receivers, func(r *receiver) bool { return r.name == args[1] })
	if i < 0 {
		return fmt.Errorf("no receiver %q", args[1])
	}
	r := s.receivers[i]
	all, err := s.mailings(n, r)
	if err != nil {
		return err
	}
	s.count = n
	var errs []error
	counts, letters := map[string]int{}, map[string]letter{}
	for _, m := range all {
		l, err := r.find(m.id)
		if err == nil {
			letters[l.file] = l
			err = m.compare(l)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s by %s, %s: %w", m.shape.name, m.app.name, m.id, err))
			continue
		}
		counts[m.shape.name]++
	}
	for i := range shapes {
		name := shapes[i].name
		sent := len(slices.DeleteFunc(slices.Clone(all), func(m *mailing) bool { return m.shape.name != name }))
		errs = append(errs, s.expect(name, []string{fmt.Sprintf("%d as sent", sent)}, func() (string, error) {
			return fmt.Sprintf("%d as sent", counts[name]), nil
		}))
	}
	want := []string{fmt.Sprintf("%d signatures good", n)}
	errs = append(errs, s.expect("OpenDKIM", want, func() (string, error) {
		good := 0
		for id, l := range letters {
			if results := l.header.Get("Authentication-Results"); strings.Contains(results, "dkim=pass") {
				good++
			} else {
				errs = append(errs, fmt.Errorf("%s: %s", id, results))
			}
		}
		return fmt.Sprintf("%d signatures good", good), nil
	}), s.expect("dkimpy", want, func() (string, error) {
		out, err := r.run("", "sh", "-c", r.verify)
		if err != nil {
			return "", err
		}
		good := 0
		for line := range strings.Lines(out) {
			file, verdict, _ := strings.Cut(strings.TrimSpace(line), " ")
			if _, ours := letters[file]; !ours {
				continue
			}
			if verdict == "pass" {
				good++
			} else {
				errs = append(errs, fmt.Errorf("dkimpy: %s %s", letters[file].header.Get("Subject"), verdict))
			}
		}
		return fmt.Sprintf("%d signatures good", good), nil
	}))
	return errors.Join(errs[:min(len(errs), 20)]...)
}

// mailings are handed in, a few at a time. Each application has its share of
// every shape that it can send.
func (s *server) mailings(n int, r *receiver) ([]*mailing, error) {
	var all []*mailing
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(4)
	for i := range n {
		m := &mailing{shape: &shapes[i/len(s.apps)%len(shapes)], app: s.apps[i%len(s.apps)]}
		for m.shape.utf8 && m.app.ascii {
			m.app = s.apps[(slices.Index(s.apps, m.app)+1)%len(s.apps)]
		}
		from, to, id, text := m.shape.message(i, s.domain, r.receives)
		m.id, m.text = id, text
		g.Go(func() error {
			if err := s.post(m.app, strconv.Itoa(i), from, to, text); err != nil {
				return fmt.Errorf("%s: %w", m.shape.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, m)
			return nil
		})
	}
	return all, g.Wait()
}

// trace are the fields that may stand before what was sent: ours, and those of
// the receiver.
var trace = []string{"Received", "Dkim-Signature", "Return-Path", "X-Original-To", "Delivered-To", "Authentication-Results", "Received-Spf"}

// compare what arrived with what was sent. SMTP ends each line with CRLF, the
// last one too.
func (m *mailing) compare(l letter) error {
	sent := []byte(strings.ReplaceAll(strings.Replace(m.text, m.shape.removed, "", 1), "\n", "\r\n"))
	if !bytes.HasSuffix(sent, []byte("\r\n")) {
		sent = append(sent, "\r\n"...)
	}
	if m.shape.mended {
		return m.compareMended(l, sent)
	}
	head, ok := bytes.CutSuffix(l.raw, sent)
	if !ok {
		return fmt.Errorf("%d octets were sent, ending %.60q, and other ones arrived, ending %.60q", len(sent), tail(sent), tail(l.raw))
	}
	added := trace
	if m.shape.undated {
		added = append(slices.Clone(trace), "Date", "Message-Id")
	}
	return only(added, head)
}

func tail(text []byte) []byte { return text[max(len(text)-60, 0):] }

// only fields of these names stand there.
func only(names []string, head []byte) error {
	h, err := mail.ReadMessage(bytes.NewReader(append(head, "\r\n"...)))
	if err != nil {
		return fmt.Errorf("before what was sent: %w", err)
	}
	for name := range h.Header {
		if !slices.Contains(names, name) {
			return fmt.Errorf("the field %s was added", name)
		}
	}
	return nil
}

// compareMended allows another transfer encoding: what it decodes to is the same.
func (m *mailing) compareMended(l letter, sent []byte) error {
	got, err := mail.ReadMessage(bytes.NewReader(l.raw))
	if err != nil {
		return err
	}
	want, err := mail.ReadMessage(bytes.NewReader(sent))
	if err != nil {
		return err
	}
	if e := got.Header.Get("Content-Transfer-Encoding"); !strings.EqualFold(e, "quoted-printable") {
		return fmt.Errorf("its encoding is %q", e)
	}
	was, err := io.ReadAll(want.Body)
	if err != nil {
		return err
	}
	is, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	if err != nil {
		return err
	}
	if !bytes.Equal(is, was) {
		return errors.New("it does not decode to what was sent")
	}
	for name, values := range want.Header {
		if name != "Content-Transfer-Encoding" && !slices.Equal(got.Header[name], values) {
			return fmt.Errorf("the field %s is %q, was %q", name, got.Header[name], values)
		}
	}
	return nil
}

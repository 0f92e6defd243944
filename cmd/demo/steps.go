package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/smtp"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"smtprelay/relay/deliver/mxtest"
)

type step struct {
	title string
	do    func(ctx context.Context, t *tour) error
}

var steps = []step{
	{"A shop wants to send mail", introduce},
	{"Its DKIM key, and the record to publish", makeKey},
	{"The preflight: what will receivers find?", passPreflight},
	{"A message goes out, signed, straight to the receiver", sendDirect},
	{"The provider loses our PTR record", losePTR},
	{"Mail goes on, by the smart host", sendBySmartHost},
	{"The report says which record to publish; we publish just that", repairPTR},
	{"Mail goes direct again", sendDirectAgain},
}

func introduce(_ context.Context, t *tour) error {
	t.say("   shop.test sends from %s and calls itself mail.shop.test.\n   bob@dest.test reads his mail at mx1.dest.test (%s).\n   The provider offers smtp.isp.test (%s) as a smart host:\n   a server that passes mail on for its customers.\n   DNS for all of them is served by a small server at %s.",
		t.world.source, t.world.receiver.Addr(), t.world.smart.Addr(), t.world.dns.Addr())
	return nil
}

func makeKey(ctx context.Context, t *tour) error {
	out, code, err := t.relay.output(ctx, "dkim", "new", "shop.test")
	if err != nil || code != 0 {
		return fmt.Errorf("relay dkim new: exit %d: %w", code, errors.Join(err, errors.New(out)))
	}
	record := strings.TrimSpace(out)
	t.say("   $ relay dkim new shop.test\n     %s ...\n   relay will sign with the key; receivers check the signature by this record.\n   We publish it in the zone of shop.test.", record[:min(68, len(record))])
	return t.world.dns.Add(record)
}

func passPreflight(ctx context.Context, t *tour) error {
	out, code, err := t.relay.output(ctx, "preflight")
	t.say("   $ relay preflight\n%s", indent(out))
	if err != nil || code != 0 {
		return fmt.Errorf("relay preflight: exit %d, expected 0: %w", code, err)
	}
	t.say("   The address has a name (PTR) and the name leads back to it (A); relay greets by\n   that name (EHLO); SPF lists the address, the DKIM key is published, DMARC is\n   there. That is what receivers ask, so relay may start and send by itself.")
	return t.relay.start(ctx)
}

func sendDirect(ctx context.Context, t *tour) error {
	m, err := t.send(ctx, t.world.receiver, t.world.smart)
	if err != nil {
		return err
	}
	v, err := dkim.VerifyWithOptions(bytes.NewReader(m.Data), &dkim.VerifyOptions{LookupTXT: t.world.txt})
	switch {
	case err != nil:
		return fmt.Errorf("verify the signature: %w", err)
	case len(v) != 1 || v[0].Err != nil || v[0].Domain != "shop.test":
		return fmt.Errorf("the signature does not verify: %+v", v)
	}
	t.say("   mx1.dest.test got it from %s, EHLO %s,\n   and its DKIM signature (d=%s) verifies.", t.world.source, m.EHLO, v[0].Domain)
	return nil
}

func losePTR(ctx context.Context, t *tour) error {
	t.say("   We delete the PTR record %s, the name of\n   our address. Gmail, Outlook, GMX and others would now refuse our mail.\n   relay looks again every second or two here (its default is 15 minutes to\n   6 hours, by TTL), and believes the loss when it has seen it twice.", t.world.reverse)
	t.relay.forget()
	t.world.dns.Remove(t.world.reverse, "PTR")
	line, err := t.relay.awaitLog(ctx, `"msg":"preflight finding"`, `"check":"PTR-EXISTS"`, `"result":"fail"`)
	if err != nil {
		return err
	}
	if _, err := t.relay.awaitLog(ctx, `"msg":"preflight verdict"`, `"verdict":"fail"`); err != nil {
		return err
	}
	t.say("   relay: %s", findings(line))
	return nil
}

func sendBySmartHost(ctx context.Context, t *tour) error {
	m, err := t.send(ctx, t.world.smart, t.world.receiver)
	if err != nil {
		return err
	}
	t.say("   smtp.isp.test got it (%s, logged in), for %s. Nothing bounced, nothing waited.", m.TLS, strings.Join(m.To, ", "))
	return nil
}

func repairPTR(ctx context.Context, t *tour) error {
	text, code, err := t.relay.output(ctx, "preflight")
	if err != nil || code != 2 {
		return fmt.Errorf("relay preflight: exit %d, expected 2 (fail): %w", code, err)
	}
	t.say("   $ relay preflight\n%s", indent(text))
	out, _, err := t.relay.output(ctx, "preflight", "--json")
	if err != nil {
		return err
	}
	record, err := ptrRemedy(out)
	if err != nil {
		return err
	}
	if !strings.Contains(text, record) {
		return fmt.Errorf("the report does not print the record %q", record)
	}
	t.say("   We add that very line to the reverse zone:\n     %s", record)
	t.relay.forget()
	if err := t.world.dns.Add(record); err != nil {
		return err
	}
	if _, err := t.relay.awaitLog(ctx, `"msg":"preflight verdict"`, `"verdict":"pass"`); err != nil {
		return err
	}
	t.say("   relay has seen it.")
	return nil
}

// ptrRemedy reads the record to publish out of the report for machines.
func ptrRemedy(report string) (string, error) {
	var r struct {
		Sources []struct {
			Findings []struct {
				ID, Status string
				Records    []struct {
					ZoneFile string `json:"zone_file"`
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		return "", fmt.Errorf("relay preflight --json: %w", err)
	}
	for _, s := range r.Sources {
		for _, f := range s.Findings {
			if f.ID == "PTR-EXISTS" && f.Status == "fail" && len(f.Records) == 1 {
				return f.Records[0].ZoneFile, nil
			}
		}
	}
	return "", errors.New("the report has no record for PTR-EXISTS")
}

func sendDirectAgain(ctx context.Context, t *tour) error {
	// After a repair relay waits (settle) until the old answer has left the
	// caches of receivers: that is over when the log says so.
	if _, err := t.relay.awaitLog(ctx, `"msg":"preflight verdict"`, `"verdict":"pass"`, `"action":"direct"`); err != nil {
		return err
	}
	if _, err := t.send(ctx, t.world.receiver, t.world.smart); err != nil {
		return err
	}
	t.say("   mx1.dest.test got the third message, from us.")
	return nil
}

// send submits a message and waits until it arrives at one place, and sees
// that it did not arrive at the other.
func (t *tour) send(ctx context.Context, to, other *mxtest.Server) (mxtest.Message, error) {
	before, otherBefore := len(to.Messages()), len(other.Messages())
	subject := fmt.Sprintf("order %d", before+otherBefore+1)
	text := "From: The Shop <alice@shop.test>\r\nTo: bob@dest.test\r\nSubject: " + subject + "\r\n\r\nYour order is on its way.\r\n"
	if err := smtp.SendMail(t.world.submission, nil, "alice@shop.test", []string{"bob@dest.test"}, []byte(text)); err != nil {
		return mxtest.Message{}, fmt.Errorf("submit: %w", err)
	}
	t.say("   The shop hands %q to relay and hears 250: it is on disk.", subject)
	if err := to.Wait(ctx, before+1); err != nil {
		return mxtest.Message{}, fmt.Errorf("it did not arrive: %w", err)
	}
	m := to.Messages()[before]
	if !bytes.Contains(m.Data, []byte("Subject: "+subject)) || len(other.Messages()) != otherBefore {
		return mxtest.Message{}, errors.New("it went the wrong way")
	}
	return m, nil
}

// findings is a finding's log line in plain words.
func findings(line string) string {
	var f struct{ Check, Found, Expected string }
	if json.Unmarshal([]byte(line), &f) != nil {
		return line
	}
	return fmt.Sprintf("%s: found %s, expected %s", f.Check, f.Found, f.Expected)
}

func indent(text string) string {
	return "   | " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n   | ")
}

//go:build interop

package interop

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// shape is a kind of message that people and programs send.
type shape struct {
	name    string
	utf8    bool   // its addresses are not ASCII
	mended  bool   // its lines are too long for SMTP, so it arrives in another encoding
	undated bool   // it lacks Date and Message-ID, which are added
	removed string // a field of it that is taken out
	fields  string // after From, To, Subject and those
	body    func(r *rand.Rand) string
}

// shapes of the messages. Lines end in LF, as in files. What is mended on the
// way is what docs/standards.md says.
var shapes = []shape{
	{name: "plain", body: lines(20)},
	{name: "one word", body: fixed("Hello.\n")},
	{name: "empty body", body: fixed("")},
	{name: "no final newline", body: fixed("The last line has no end.")},
	{name: "empty lines at the end", body: fixed("Text.\n\n\n\n")},
	{name: "spaces at line ends", body: fixed("Two spaces:  \nA tab:\t\n \n\t\nand more.   \n")},
	{name: "dots at line starts", body: fixed(".\n..\n...\n.hidden\n. \n..\n\n.\n")},
	{name: "a lone dot as the whole body", body: fixed(".\n")},
	{name: "what looks like SMTP", body: fixed("DATA\n.\nQUIT\nMAIL FROM:<eve@example.test>\n")},
	{name: "From at a line start", body: fixed("From here on it is quoted.\n>From here too.\n")},
	{name: "8-bit, UTF-8", fields: "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
		body: fixed("Grüße aus Köln. Ελληνικά. 日本語。 \U0001F4EE\n")},
	{name: "8-bit, Latin-1", fields: "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n",
		body: fixed("Gr\xfc\xdfe aus K\xf6ln.\n")},
	{name: "SMTPUTF8", utf8: true, fields: "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nX-Note: Grüße an den Empfänger\n",
		body: fixed("Eine Adresse mit Umlaut.\n")},
	{name: "quoted-printable", fields: "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n",
		body: fixed("Gr=C3=BC=C3=9Fe, in einer Zeile, die so lang ist, dass sie gebrochen werden mu=\n=C3=9F.=20\n")},
	{name: "encoded words and folded fields", fields: "X-Long: a field\n that is folded\n\tover three lines\nComments: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n  =?utf-8?b?8J+Trg==?=\n" +
		"References: " + strings.Repeat("<0123456789abcdef0123456789abcdef@example.test>\n ", 20) + "<last@example.test>\n", body: lines(3)},
	{name: "HTML, long lines", fields: "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
		body: fixed("<html><body><p style=\"" + strings.Repeat("margin:0;", 100) + "\">Grüße</p></body></html>\n")},
	{name: "HTML, lines too long", mended: true, fields: "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
		body: fixed("<html><body>" + strings.Repeat("<p>ein Absatz – und noch einer</p>", 200) + "</body></html>\n")},
	{name: "raw UTF-8 in a field", fields: "Comments: Grüße, nicht verschlüsselt\n", body: lines(2)},
	{name: "no Date and Message-ID", undated: true, body: lines(2)},
	{name: "Bcc", removed: "Bcc: carol@example.test,\n dave@example.test\n", body: lines(2)},
	{name: "text and HTML", fields: "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"=_b1\"\n",
		body: fixed("This has parts.\n--=_b1\nContent-Type: text/plain\n\nHello.\n--=_b1\nContent-Type: text/html\n\n<p>Hello.</p>\n--=_b1--\nafter the end\n")},
	{name: "an attachment", fields: "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b2\"\n", body: attachment(40 << 10)},
	{name: "a large attachment", fields: "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b2\"\n", body: attachment(600 << 10)},
}

func fixed(text string) func(*rand.Rand) string { return func(*rand.Rand) string { return text } }

// lines are n of them, in paragraphs.
func lines(n int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		list := strings.Fields("mail relay queue zone record address name answer question host domain the a of and is not was")
		var b strings.Builder
		for i := range n {
			for range 3 + r.IntN(9) {
				b.WriteString(list[r.IntN(len(list))] + " ")
			}
			b.WriteString(".\n")
			if i%7 == 6 {
				b.WriteString("\n")
			}
		}
		return b.String()
	}
}

// attachment of n octets, beside a text.
func attachment(n int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		var b strings.Builder
		b.WriteString("--=_b2\nContent-Type: text/plain\n\nSee the file.\n--=_b2\nContent-Type: application/pdf; name=invoice.pdf\nContent-Transfer-Encoding: base64\n\n")
		for text := base64.StdEncoding.EncodeToString(data); text != ""; {
			line := text[:min(76, len(text))]
			text = text[len(line):]
			b.WriteString(line + "\n")
		}
		b.WriteString("--=_b2--\n")
		return b.String()
	}
}

// idField names the field by which a message is known again.
const idField = "X-Id"

// message number n of a shape, with the addresses of its envelope.
func (s shape) message(n int, domain, to string) (from, rcpt, id, text string) {
	from, rcpt = "alice@"+domain, "bob@"+to
	if s.utf8 {
		from, rcpt = "aliçe@"+domain, "bøb@"+to
	}
	id = fmt.Sprintf("shape-%d", n)
	head := fmt.Sprintf("From: Alice <%s>\nTo: <%s>\nSubject: %s\n%s: %s\n", from, rcpt, s.name, idField, id)
	if !s.undated {
		head += fmt.Sprintf("Date: Mon, 23 Nov 2026 09:14:07 +0000\nMessage-ID: <%s@%s>\n", id, domain)
	}
	return from, rcpt, id, head + s.removed + s.fields + "\n" + s.body(rand.New(rand.NewPCG(uint64(n), 1)))
}

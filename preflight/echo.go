package preflight

import (
	"net/netip"
	"slices"
	"strings"
)

// Echo finds our address in what a mail server said to us: Gmail's "at your
// service, [192.0.2.25]", Outlook's and Exim's "Hello ... [192.0.2.25]", Postfix's
// "mail.example.net[192.0.2.25]", Yahoo's "Messages from 192.0.2.25". remote is the
// server's address: ours is of the same family, and another one. A text that names
// two such addresses says nothing. loose takes addresses without brackets, which
// in a greeting might be the version of a program. Mail addresses are not ours,
// but words of the envelope; and an address that stands in what we said on that
// connection, the EHLO name and the envelope, is our own word come back.
func Echo(text string, remote netip.Addr, loose bool, said ...string) (netip.Addr, bool) {
	remote = remote.Unmap()
	text = withoutMailboxes(text[:min(len(text), maxEcho)])
	var ours netip.Addr
	for at := 0; at < len(text); {
		n := addressLike(text[at:])
		if n == 0 {
			at++
			continue
		}
		a, ok := addressAt(text, at, at+n, loose)
		at += n
		if !ok || a == remote || a.Is4() != remote.Is4() || sayAddress(said, a) {
			continue
		}
		if ours.IsValid() && ours != a {
			return netip.Addr{}, false
		}
		ours = a
	}
	return ours, ours.IsValid()
}

// sayAddress tells whether one of these words has an address in it.
func sayAddress(said []string, a netip.Addr) bool {
	for _, w := range said {
		w = w[:min(len(w), maxEcho)]
		for at := 0; at < len(w); {
			n := max(addressLike(w[at:]), 1)
			if x, ok := addressAt(w, at, at+n, true); ok && x == a {
				return true
			}
			at += n
		}
	}
	return false
}

// maxEcho is as much of a reply as is read: what concerns us stands in front.
const maxEcho = 4 << 10

func withoutMailboxes(text string) string {
	words := slices.DeleteFunc(strings.Fields(text), func(w string) bool { return strings.Contains(w, "@") })
	return strings.Join(words, " ")
}

// addressLike is the length of the run of address characters that text begins with.
func addressLike(text string) int {
	return len(text) - len(strings.TrimLeft(text, "0123456789abcdefABCDEF.:"))
}

// addressAt reads text[from:to] as an address that stands by itself.
func addressAt(text string, from, to int, loose bool) (netip.Addr, bool) {
	word := text[from:to]
	left, right := text[:from], text[to:]
	if v6, tagged := strings.CutPrefix(word, "6:"); tagged && strings.HasSuffix(strings.ToLower(left), "ipv") {
		word, left = v6, left[:len(left)-len("ipv")] // RFC 5321 section 4.1.3
	}
	bracketed := strings.HasSuffix(left, "[") && strings.HasPrefix(right, "]") ||
		strings.HasSuffix(left, "(") && strings.HasPrefix(right, ")")
	if !bracketed {
		word = strings.TrimRight(word, ".:") // the end of a sentence
		if !loose || partOfName(left, right) {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(word)
	return a.Unmap(), err == nil
}

// partOfName tells whether what stands beside an address makes it a piece of
// something longer, a host name for example.
func partOfName(left, right string) bool {
	name := func(c byte) bool {
		return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	return left != "" && name(left[len(left)-1]) || right != "" && (name(right[0]) || right[0] == '/')
}

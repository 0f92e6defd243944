package preflight

import (
	_ "embed"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"smtprelay/preflight/dns"
)

// Receivers tell a rented address by its name: one that is made of the address, or
// of a word for a pool of customers, was given by a machine and not by who sends.
// What each of them does precisely is not known; the score is made of what open
// filters do (rspamd, SpamAssassin, Haraka).

// genericFrom is the score from which a name counts as generic.
const genericFrom = 3

// scored is one rule that a name meets.
type scored struct {
	points int
	what   string // "the address", `"dyn"`
}

// generic scores the name of an address. What is no host name scores as it stands.
func generic(addr netip.Addr, name string) (score int, hits []scored) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	words := nameWords(name)
	hit := func(points int, what string) {
		if what != "" {
			score, hits = score+points, append(hits, scored{points, what})
		}
	}
	pool := anyOf(words, poolWords)
	whole := ""
	if embeds(addr.Unmap(), name) {
		whole = "the address"
	}
	hit(3, whole)
	if whole == "" && pool != "" && addr.Unmap().Is4() && runs(addr.Unmap().AsSlice(), name, 2) {
		hit(2, "a part of the address")
	}
	hit(3, pool)
	hit(1, anyOf(words, customerWords))
	hit(-2, anyOf(words, mailWords))
	hit(3, hosterOf(name))
	return score, hits
}

var (
	poolWords = strings.Fields(`dyn dynamic dhcp pool ppp pppoe dialup dsl adsl vdsl cable cpe broadband
		res catv unassigned unused`)
	customerWords = strings.Fields("client customer user host ip rev static vps node")
	mailWords     = strings.Fields("mail smtp mx mta out outbound relay mout")
)

// nameWords are the labels of a name and the words between their dashes. A
// number at either end does not make another word: "mx2", "pool-17".
func nameWords(name string) (words []string) {
	for _, w := range strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '-' || r == '_' }) {
		words = append(words, strings.Trim(w, "0123456789"))
	}
	return words
}

// anyOf quotes the first word that is in the list, "" if none is.
func anyOf(words, list []string) string {
	for _, w := range words {
		if slices.Contains(list, w) {
			return strconv.Quote(w)
		}
	}
	return ""
}

//go:embed hosters.txt
var hosterText string

// hosters are the endings of hosters.txt.
var hosters = func() map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(hosterText) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			all[line] = true
		}
	}
	return all
}()

// hosterOf is the longest ending of a name that is a hoster's, "" if none is. The
// ending itself is a name of the hoster's own.
func hosterOf(name string) string {
	for up := parent(name); up != ""; up = parent(up) {
		if hosters[up] {
			return up
		}
	}
	return ""
}

// embeds tells whether a name is made of the whole address.
func embeds(addr netip.Addr, name string) bool {
	switch {
	case addr.Is4():
		b := addr.AsSlice()
		return runs(b, name, 4) || joined(b, name)
	case addr.Is6():
		return nibbles(addr, name) || spelledOut(addr, name)
	}
	return false
}

// joined finds an IPv4 address written without separators: zero-padded, or in
// hexadecimal, either way round.
func joined(b []byte, name string) bool {
	for _, octets := range [][]byte{b, backwards(b)} {
		padded := ""
		for _, o := range octets {
			padded += strconv.Itoa(1000 + int(o))[1:]
		}
		if strings.Contains(name, padded) || strings.Contains(name, hex.EncodeToString(octets)) {
			return true
		}
	}
	return false
}

// runs finds n adjacent octets of an address as numbers with one letter, dot or
// dash between them, either way round: "25-2-0-192", "025x002".
func runs(b []byte, name string, n int) bool {
	said := numbers(name)
	for _, octets := range [][]byte{b, backwards(b)} {
		for from := 0; from+n <= len(octets); from++ {
			for at := 0; at+n <= len(said); at++ {
				if inRow(said[at:at+n], octets[from:from+n]) {
					return true
				}
			}
		}
	}
	return false
}

// number is one run of digits in a name.
type number struct {
	value    int // -1: too large to be an octet
	from, to int
}

func numbers(name string) (all []number) {
	for i := 0; i < len(name); {
		from := i
		for i < len(name) && '0' <= name[i] && name[i] <= '9' {
			i++
		}
		if i == from {
			i++
			continue
		}
		value, err := strconv.Atoi(name[from:i])
		if err != nil || i-from > 3 {
			value = -1
		}
		all = append(all, number{value, from, i})
	}
	return all
}

func inRow(said []number, octets []byte) bool {
	for i, n := range said {
		if n.value != int(octets[i]) || i > 0 && n.from != said[i-1].to+1 {
			return false
		}
	}
	return true
}

func backwards[T any](s []T) []T {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// fewNibbles of an IPv6 address in a name are no coincidence.
const fewNibbles = 16

// nibbles finds a half of an IPv6 address or more in a name, either way round,
// whatever stands between the digits.
func nibbles(addr netip.Addr, name string) bool {
	packed := strings.NewReplacer(".", "", "-", "", "_", "").Replace(name)
	ptr := strings.ReplaceAll(strings.TrimSuffix(dns.Reverse(addr), ".ip6.arpa"), ".", "")
	for _, digits := range []string{ptr, string(backwards([]byte(ptr)))} {
		for at := 0; at+fewNibbles <= len(digits); at++ {
			if strings.Contains(packed, digits[at:at+fewNibbles]) {
				return true
			}
		}
	}
	return false
}

// spelledOut finds an IPv6 address with dashes for colons: "2001-db8--25".
func spelledOut(addr netip.Addr, name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		for more := true; more; _, label, more = strings.Cut(label, "-") {
			if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":")); err == nil && a == addr {
				return true
			}
		}
	}
	return false
}

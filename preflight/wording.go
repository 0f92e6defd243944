package preflight

import (
	"slices"
	"strings"
)

// heard looks for the parts of a pattern in their order.
func heard(text, pattern string) bool {
	for part := range strings.SplitSeq(pattern, "..") {
		at := past(text, strings.TrimSpace(part))
		if at < 0 {
			return false
		}
		text = text[at:]
	}
	return true
}

// past tells where in a text what comes after a part begins; -1: it is not there.
// A code like "sc-001" is none within a longer word or a host name; digits may
// follow, for of some codes only the beginning is known.
func past(text, part string) int {
	code := !strings.Contains(part, " ") && strings.ContainsAny(part, "0123456789")
	for end := 0; ; {
		at := strings.Index(text[end:], part)
		if at < 0 {
			return -1
		}
		at += end
		end = at + len(part)
		if !code || !opens(text[:at]) && !goesOn(text[end:]) {
			return end
		}
	}
}

// opens tells whether a text ends within a word or a name.
func opens(left string) bool {
	return left != "" && (inWord(left[len(left)-1]) || left[len(left)-1] == '.')
}

// goesOn tells whether a text begins within one.
func goesOn(right string) bool {
	right = strings.TrimLeft(right, "0123456789")
	return right != "" && inWord(right[0]) || len(right) > 1 && right[0] == '.' && inWord(right[1])
}

func inWord(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
}

// plain is a reply's text as one line in lower case, without status codes:
// those that stand before each of its lines would break sentences. Addresses and
// what else stands in angle brackets is left out as well: those are words of the
// envelope, not of who replies.
func plain(text string) string {
	words := slices.DeleteFunc(strings.Fields(unquoted(strings.ToLower(text))), func(word string) bool {
		return isStatus(word) || strings.Contains(word, "@")
	})
	return strings.Join(words, " ")
}

// unquoted is a text without what stands in angle brackets.
func unquoted(text string) string {
	var out strings.Builder
	for {
		before, rest, _ := strings.Cut(text, "<")
		_, after, closed := strings.Cut(rest, ">")
		if !closed {
			return out.String() + text
		}
		out.WriteString(before + " ")
		text = after
	}
}

// isStatus: "5.7.25" (RFC 3463 section 2).
func isStatus(word string) bool {
	if len(word) < 5 || word[1] != '.' || word[0] != '4' && word[0] != '5' {
		return false
	}
	return strings.Trim(word, "0123456789.") == "" && strings.Count(word, ".") == 2
}

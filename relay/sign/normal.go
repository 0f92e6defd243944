package sign

import (
	"errors"
	"fmt"
	"io"
)

var errBare = errors.New("a CR or LF stands alone")

// maxEmpty bounds how many line ends in a row the library has to remember
// before it knows whether they end the body.
const maxEmpty = 512 << 10

// normal passes a body on whose lines end with CRLF and nothing else: what is
// signed is what will be sent. Anything else is an error.
type normal struct {
	r     io.Reader
	cr    bool // the last octet was CR
	empty int  // line ends since the last octet that is neither those nor white space
}

func (n *normal) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	for _, c := range p[:k] {
		if n.cr != (c == '\n') {
			return 0, errBare
		}
		n.cr = c == '\r'
		switch c {
		case '\n':
			if n.empty++; n.empty > maxEmpty {
				return 0, fmt.Errorf("body: more than %d empty lines in a row", maxEmpty)
			}
		case '\r', ' ', '\t':
		default:
			n.empty = 0
		}
	}
	if err == io.EOF && n.cr {
		return 0, errBare
	}
	return k, err
}

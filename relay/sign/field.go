package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// sign appends the DKIM-Signature field of a key, with its CRLF. hashed is the relaxed
// form of the fields that names pick, sum the hash of the body.
func (k Key) sign(out []byte, names []string, hashed, sum []byte) ([]byte, error) {
	algorithm, o, err := k.algorithm()
	if err != nil {
		return nil, err
	}
	if k.Domain == "" || k.Selector == "" {
		return nil, errors.New("has no domain or no selector")
	}
	f := folder{text: append(out, "DKIM-Signature:"...), line: len("DKIM-Signature:")}
	f.add(" v=1;")
	f.add(" a=" + algorithm + "-sha256;")
	f.add(" c=relaxed/relaxed;")
	f.add(" d=" + k.Domain + ";")
	f.add(" s=" + k.Selector + ";")
	f.add(" t=" + strconv.FormatInt(time.Now().Unix(), 10) + ";")
	for i, name := range names {
		before, after := "", ":"
		if i == 0 {
			before = " h="
		}
		if i == len(names)-1 {
			after = ";"
		}
		f.add(before + name + after)
	}
	f.add(" bh=" + base64.StdEncoding.EncodeToString(sum) + ";")
	f.add(" b=")
	digest := sha256.Sum256(relaxedField(hashed[:len(hashed):len(hashed)], f.text[len(out):]))
	sig, err := k.Signer.Sign(rand.Reader, digest[:], o)
	if err != nil {
		return nil, err
	}
	for b := base64.StdEncoding.EncodeToString(sig); b != ""; {
		n := min(len(b), max(1, width-f.line))
		f.add(b[:n])
		b = b[n:]
	}
	return append(f.text, "\r\n"...), nil
}

// algorithm is the a= of a key without the hash, and how it wants to be asked: RSA signs
// by PKCS#1 v1.5, Ed25519 what the hash is (RFC 8463 section 3).
func (k Key) algorithm() (string, crypto.SignerOpts, error) {
	switch k.Signer.Public().(type) {
	case *rsa.PublicKey:
		return "rsa", crypto.SHA256, nil
	case ed25519.PublicKey:
		return "ed25519", crypto.Hash(0), nil
	}
	return "", nil, fmt.Errorf("is a %T: expected RSA or Ed25519", k.Signer.Public())
}

// width of a line (RFC 5322 section 2.1.1), roughly: tags are not broken but for h= and b=.
const width = 76

// folder writes a field, folded between the pieces that are added.
type folder struct {
	text []byte
	line int // octets in the last line
}

func (f *folder) add(piece string) {
	if f.line+len(piece) > width && piece != " b=" {
		f.text = append(f.text, "\r\n"...)
		if piece[0] != ' ' {
			f.text = append(f.text, ' ')
			f.line = 1
		} else {
			f.line = 0
		}
	}
	f.text = append(f.text, piece...)
	f.line += len(piece)
}

package sign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	newBits  = 2048 // of an RSA key we make
	leastRSA = 1024 // verifiers ignore a shorter one (RFC 8301 section 3.2)
	maxFile  = 64 << 10
)

// Generate makes a key: "rsa" (of 2048 bits) or "ed25519".
func Generate(kind string) (crypto.Signer, error) {
	switch kind {
	case "rsa":
		return rsa.GenerateKey(rand.Reader, newBits)
	case "ed25519":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	}
	return nil, fmt.Errorf("key of kind %q: expected rsa or ed25519", kind)
}

// Save writes a key as PKCS#8 PEM into a new file of mode 0600. It never
// overwrites: the error is fs.ErrExist then.
func Save(path string, k crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return fmt.Errorf("save key %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("save key: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return errors.Join(fmt.Errorf("save key %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// syncDir makes a new name in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads a key that Save wrote, or one in PKCS#1 PEM as other tools make
// them. It refuses a file that anyone else could have read or put there: a
// symbolic link, one open to group or world, one of another user, one in a
// directory that everybody may write to; and an RSA key under 1024 bits.
func Load(path string) (crypto.Signer, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("key %s: is a symbolic link: expected the file itself", path)
	}
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	defer f.Close()
	if err := guarded(f); err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", path, err)
	}
	k, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return k, nil
}

// guarded looks at the open file, not at its name: what is checked is what is read.
func guarded(f *os.File) error {
	var st, dir unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	parent := filepath.Dir(f.Name())
	if err := unix.Stat(parent, &dir); err != nil {
		return fmt.Errorf("stat %s: %w", parent, err)
	}
	switch mode := st.Mode & 0o777; {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("is not a regular file")
	case mode&0o077 != 0:
		return fmt.Errorf("has mode %04o: expected 0600 (chmod 600 %s)", mode, f.Name())
	case st.Uid != 0 && int(st.Uid) != os.Geteuid() && (os.Geteuid() != 0 || st.Uid != dir.Uid):
		// Root, who looks in the relay's place, takes what the directory's owner put there.
		return fmt.Errorf("has mode %04o but belongs to user %d: expected 0600 and user %d", mode, st.Uid, os.Geteuid())
	case dir.Mode&0o002 != 0 && dir.Mode&unix.S_ISVTX == 0:
		return fmt.Errorf("directory %s has mode %04o, everybody may replace the file: expected 0700", parent, dir.Mode&0o777)
	}
	return nil
}

// parse reads the first block of a PEM text. No error of it shows the text.
func parse(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no PEM block: expected -----BEGIN PRIVATE KEY-----")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("holds a block %q: expected PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", block.Type, err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < leastRSA {
			return nil, fmt.Errorf("is an RSA key of %d bits: expected %d, at least %d", n, newBits, leastRSA)
		}
		return quick(k)
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("is a %T: expected RSA or Ed25519", key)
}

// Record is the TXT record that publishes a public key (RFC 6376 section 3.6.1,
// RFC 8463 section 4), in one string; a zone file splits it at 255 octets. It is
// "" for a key of another kind.
func Record(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return ""
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(k)
	}
	return ""
}

package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	for _, k := range testKeys() {
		path := filepath.Join(dir, k.Selector+".pem")
		if err := Save(path, k.Signer); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", path, st.Mode(), err)
		}
		got, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Signer.Public()) {
			t.Errorf("%s: another key came back", path)
		}
		before, _ := os.ReadFile(path)
		if err := Save(path, k.Signer); !errors.Is(err, fs.ErrExist) {
			t.Errorf("saved over %s: %v", path, err)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s has changed", path)
		}
	}
	if err := Save(filepath.Join(dir, "none", "x.pem"), testKeys()[0].Signer); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory missing: %v", err)
	}
}

func TestGenerate(t *testing.T) {
	if k := testKeys()[0].Signer.Public().(*rsa.PublicKey); k.N.BitLen() != 2048 {
		t.Errorf("rsa key of %d bits", k.N.BitLen())
	}
	if _, err := Generate("dsa"); err == nil || !strings.Contains(err.Error(), "expected rsa or ed25519") {
		t.Errorf("dsa: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	block := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	good, err := x509.MarshalPKCS8PrivateKey(testKeys()[1].Signer)
	key := block("PRIVATE KEY", good, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0") // the library makes none so short otherwise
	weak, err := rsa.GenerateKey(rand.Reader, 768)
	if err != nil {
		t.Fatal(err)
	}
	weakDER, err := x509.MarshalPKCS8PrivateKey(weak)

	for name, c := range map[string]struct {
		text, want string
		spoil      func(path string) error
	}{
		"world-readable":  {text: key, want: "has mode 0604: expected 0600", spoil: chmod(0o604)},
		"group-readable":  {text: key, want: "has mode 0640: expected 0600", spoil: chmod(0o640)},
		"group-writable":  {text: key, want: "has mode 0620: expected 0600", spoil: chmod(0o620)},
		"world directory": {text: key, want: "has mode 0777", spoil: func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) }},
		"symlink": {text: key, want: "symbolic link", spoil: func(p string) error {
			return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		}},
		"directory":  {text: key, want: "not a regular file", spoil: func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }},
		"absent":     {text: key, want: "no such file", spoil: os.Remove},
		"empty":      {text: "", want: "holds no PEM block"},
		"no PEM":     {text: "secret", want: "holds no PEM block"},
		"public":     {text: block("PUBLIC KEY", good, nil), want: "expected PRIVATE KEY"},
		"broken":     {text: block("PRIVATE KEY", good[:20], nil), want: "parse PRIVATE KEY"},
		"broken rsa": {text: block("RSA PRIVATE KEY", good, nil), want: "parse RSA PRIVATE KEY"},
		"elliptic":   {text: block("PRIVATE KEY", ecDER, nil), want: "expected RSA or Ed25519"},
		"short rsa":  {text: block("PRIVATE KEY", weakDER, err), want: "RSA key of 768 bits"},
	} {
		path := filepath.Join(t.TempDir(), "k1.pem")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.spoil != nil {
			if err := c.spoil(path); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q and the path", name, err, c.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the content: %v", name, err)
		}
	}
}

func TestLoadForeignOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k1.pem")
	if err := Save(path, testKeys()[1].Signer); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Logf("only root can give a file away: %v", err)
		return
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("got %v", err)
	}
}

func TestLoadPKCS1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k1.pem")
	k := testKeys()[0].Signer.(*rsa.PrivateKey)
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path); err != nil || !k.PublicKey.Equal(got.Public()) {
		t.Errorf("got %v", err)
	}
}

func chmod(m fs.FileMode) func(string) error {
	return func(path string) error { return os.Chmod(path, m) }
}

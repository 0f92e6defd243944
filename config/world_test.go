package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"smtprelay/relay/sign"
	"smtprelay/relay/submit"
)

// world is a directory with real files in it.
type world struct {
	t   *testing.T
	dir string
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{t, t.TempDir()}
	w.check(os.Mkdir(w.path("state"), 0o700))
	return w
}

func (w world) path(name string) string { return filepath.Join(w.dir, name) }

func (w world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w world) write(name, text string) {
	w.t.Helper()
	w.check(os.WriteFile(w.path(name), []byte(strings.ReplaceAll(text, "$DIR", w.dir)), 0o600))
}

// everyFile makes what a file with every key may name.
func (w world) everyFile() {
	w.do("key example.com k1")
	w.do("certificate cert.pem key.pem")
	w.do("user users alice")
	w.write("password", "hunter2\n")
}

// unpack lays out an archive and returns the problems it expects.
func (w world) unpack(a *txtar.Archive) (want string) {
	w.t.Helper()
	for _, f := range a.Files {
		if f.Name == "problems" {
			want = string(f.Data)
			continue
		}
		w.write(f.Name, string(f.Data))
	}
	for line := range strings.Lines(string(a.Comment)) {
		if order, ok := strings.CutPrefix(line, ">"); ok {
			w.do(order)
		}
	}
	return want
}

// do follows one order.
func (w world) do(order string) {
	w.t.Helper()
	f := append(strings.Fields(order), "", "", "")
	switch f[0] {
	case "key": // key DOMAIN SELECTOR
		k, err := sign.Generate("ed25519")
		w.check(err)
		path := filepath.Join(w.path("state/dkim"), f[1], f[2]+".pem")
		w.check(os.MkdirAll(filepath.Dir(path), 0o700))
		w.check(sign.Save(path, k))
	case "certificate": // certificate CERT KEY
		w.certificate(f[1], f[2])
	case "user": // user FILE NAME
		w.check(submit.AddUser(w.path(f[1]), f[2], "correct horse"))
	case "mkdir": // mkdir MODE DIR
		w.check(os.Mkdir(w.path(f[2]), 0o700))
		w.do("chmod " + f[1] + " " + f[2])
	case "chmod": // chmod MODE FILE
		mode, err := strconv.ParseUint(f[1], 8, 32)
		w.check(err)
		w.check(os.Chmod(w.path(f[2]), os.FileMode(mode)))
	case "symlink": // symlink TARGET LINK
		w.check(os.Symlink(f[1], w.path(f[2])))
	case "rename": // rename FROM TO
		w.check(os.Rename(w.path(f[1]), w.path(f[2])))
	case "remove": // remove FILE
		w.check(os.Remove(w.path(f[1])))
	default:
		w.t.Fatalf("no such order: %q", order)
	}
}

func (w world) certificate(cert, key string) {
	w.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.check(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.com"}, DNSNames: []string{"mail.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	w.check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	w.check(err)
	w.write(cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	w.write(key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

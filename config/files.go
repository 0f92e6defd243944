package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// credential begins a path that the service manager fills in: systemd puts what
// LoadCredential= names into $CREDENTIALS_DIRECTORY and guards it there.
const credential = "credential:"

// maxSecret is more than any password, key or chain of certificates needs.
const maxSecret = 1 << 20

// plain is an error of the file system without operation and path: the problem
// names them.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// secret reads a file that nobody else may read. strict: it must not be a
// symlink either. Certificates' keys are handed out by links (certbot does),
// so for those the file that the link leads to is judged.
func (l *loader) secret(key, path, remedy string, strict bool) []byte {
	if name, ok := strings.CutPrefix(path, credential); ok {
		return l.credential(key, name)
	}
	real := path
	if !strict {
		if p, err := filepath.EvalSymlinks(path); err == nil {
			real = p
		}
	}
	fi, err := os.Lstat(real)
	if err != nil {
		l.unreadable(key, err, remedy)
		return nil
	}
	if !l.private(key, real, fi) || !l.guarded(key, path) || real != path && !l.guarded(key, real) {
		return nil
	}
	return l.read(key, real, remedy)
}

// secretPath is where the file of a secret lies.
func secretPath(path string) string {
	if name, ok := strings.CutPrefix(path, credential); ok {
		return filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), name)
	}
	return path
}

func (l *loader) credential(key, name string) []byte {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if name == "" || filepath.Base(name) != name {
		l.bad(key, `write "credential:" and the name that LoadCredential= gives it`, "%q: not the name of a credential", name)
		return nil
	}
	hint := fmt.Sprintf("put LoadCredential=%s:/path/to/file into the [Service] section of the unit", name)
	if dir == "" {
		l.bad(key, hint, "credential %s: $CREDENTIALS_DIRECTORY is not set", name)
		return nil
	}
	return l.read(key, filepath.Join(dir, name), hint)
}

// private judges the file itself: regular, ours or root's, nothing for others.
func (l *loader) private(key, path string, fi fs.FileInfo) bool {
	mode := fi.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		l.bad(key, "name the file that it leads to", "%s: a symbolic link", path)
	case !mode.IsRegular():
		l.bad(key, "", "%s: not a regular file", path)
	case mode.Perm()&0o027 != 0:
		l.bad(key, "chmod 0600 "+path, "%s: mode %04o: others may read or change it", path, mode.Perm())
	case !l.ours(fi):
		l.bad(key, "chown it to the user that the relay runs as, or to root", "%s: owned by user %d", path, owner(fi))
	default:
		return true
	}
	return false
}

// guarded judges the directories above a file: whoever may write to one of
// them may put another file into its place.
func (l *loader) guarded(key, path string) bool {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err == nil && fi.Mode().Perm()&0o002 != 0 && fi.Mode()&fs.ModeSticky == 0 {
			l.bad(key, "chmod o-w "+dir, "%s: everybody may write to the directory %s", path, dir)
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// ours: the file is the user's that runs this, or root's. For root, who may run
// the check in the relay's place, the owner of the state directory counts too.
func (l *loader) ours(fi fs.FileInfo) bool {
	uid, me := owner(fi), os.Geteuid()
	if uid == 0 || uid == me {
		return true
	}
	state, err := os.Stat(l.file.State)
	return me == 0 && err == nil && owner(state) == uid
}

func owner(fi fs.FileInfo) int {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// read reads a file whole. remedy is the hint when it does not exist.
func (l *loader) read(key, path, remedy string) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		l.unreadable(key, err, remedy)
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		l.unreadable(key, err, remedy)
		return nil
	case len(text) > maxSecret:
		l.bad(key, "", "%s: more than %d octets", path, maxSecret)
		return nil
	}
	return text
}

func (l *loader) unreadable(key string, err error, remedy string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.bad(key, remedy, "%v", plain(err))
	case errors.Is(err, fs.ErrPermission):
		l.bad(key, "run this as the user that the relay runs as, and let that user read it", "%v", plain(err))
	default:
		l.bad(key, "", "%v", plain(err))
	}
}

// stateDirectory must be ours alone. One that is not there yet is made when
// the relay starts, if its parent lets us.
func (l *loader) stateDirectory(key, dir string) {
	make700 := "as root: install -d -m 0700 -o relay -g relay " + dir
	if !filepath.IsAbs(dir) {
		l.bad(key, `write "/var/lib/relay"`, "%q: expected the path of a directory", dir)
		return
	}
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := unix.Access(filepath.Dir(dir), unix.W_OK|unix.X_OK); err != nil {
			l.bad(key, make700, "%s: it does not exist and cannot be made: %v", dir, err)
			return
		}
	case err != nil:
		l.unreadable(key, err, make700)
		return
	case !fi.IsDir():
		l.bad(key, make700, "%s: not a directory", dir)
		return
	case fi.Mode().Perm()&0o077 != 0:
		l.bad(key, "chmod 0700 "+dir, "%s: mode %04o: the queue and the keys are open to others", dir, fi.Mode().Perm())
		return
	case os.Geteuid() != 0 && owner(fi) != os.Geteuid():
		l.bad(key, "run this as that user, or chown the directory", "%s: owned by user %d", dir, owner(fi))
		return
	}
	if real, err := filepath.EvalSymlinks(dir); l.guarded(key, dir) && err == nil && real != dir {
		l.guarded(key, real) // systemd's DynamicUser= makes it a link
	}
}

// certificate loads a chain and its key for the listeners; nil: there is none.
func (l *loader) certificate(certKey, certPath, keyKey, keyPath string) *pair {
	if certPath == "" || keyPath == "" {
		switch {
		case certPath != "":
			l.bad(certKey, "set submission.key_file to its private key", "a certificate without its key")
		case keyPath != "":
			l.bad(keyKey, "set submission.certificate to its certificate", "a key without its certificate")
		}
		return nil
	}
	p := &pair{files: []string{certPath, secretPath(keyPath)}}
	p.seen = p.stamps() // before it is read: what is written meanwhile is read again
	if p.cert = l.keyPair(certKey, certPath, keyKey, keyPath); p.cert == nil {
		return nil
	}
	p.load = func() (*tls.Certificate, error) {
		again := &loader{file: l.file}
		return again.keyPair(certKey, certPath, keyKey, keyPath), again.problems.first()
	}
	return p
}

func (l *loader) keyPair(certKey, certPath, keyKey, keyPath string) *tls.Certificate {
	remedy := "get a certificate for the host name, from Let's Encrypt for example; or take both keys out"
	chain := l.read(certKey, certPath, remedy)
	key := l.secret(keyKey, keyPath, remedy, false)
	if chain == nil || key == nil {
		return nil
	}
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		l.bad(certKey, "certificate and key_file must be PEM files that belong together", "%s with %s: %s", certPath, keyPath, strings.TrimPrefix(err.Error(), "tls: "))
		return nil
	}
	return &c
}

// authorities reads certificates to verify others by.
func (l *loader) authorities(key, path string) []byte {
	if path == "" {
		return nil
	}
	text := l.read(key, path, "leave it out to trust the system's authorities")
	if text != nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		l.bad(key, "it must hold at least one -----BEGIN CERTIFICATE-----", "%s: no certificate in it", path)
	}
	return text
}

package submit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// AddUser gives name a password in the users file at path, which is made when
// there is none (mode 0600). A user who is there already has it instead of all
// former ones; limits, comments and other lines stay as they are. The file is
// replaced at once, never half written.
func AddUser(path, name, password string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if password == "" || strings.ContainsAny(password, "\x00\r\n") {
		return errors.New("a password cannot be empty or have a line end in it")
	}
	return rewrite(path, true, func(old []byte) ([]byte, error) {
		v := newVerifier(password).String()
		var out []byte
		found := false
		for line := range bytes.Lines(old) {
			if nameOf(line) == name {
				found = true
				line = []byte(withVerifier(string(line), name, v))
			}
			out = append(out, line...)
		}
		if !found {
			if len(out) > 0 && out[len(out)-1] != '\n' {
				out = append(out, '\n')
			}
			out = append(out, name+" "+v+"\n"...)
		}
		return out, nil
	})
}

// withVerifier is the user's line with one verifier instead of those it has.
func withVerifier(line, name, v string) string {
	fields := []string{name, v}
	for _, f := range strings.Fields(line)[1:] {
		if !strings.HasPrefix(f, "$") {
			fields = append(fields, f)
		}
	}
	return strings.Join(fields, " ") + "\n"
}

// RemoveUser takes name out of the users file at path.
func RemoveUser(path, name string) error {
	return rewrite(path, false, func(old []byte) ([]byte, error) {
		var out []byte
		found := false
		for line := range bytes.Lines(old) {
			if nameOf(line) == name {
				found = true
				continue
			}
			out = append(out, line...)
		}
		if !found {
			return nil, fmt.Errorf("users file %s: no user %s", path, name)
		}
		return out, nil
	})
}

// rewrite replaces the file by what edit makes of it: a file that could not be
// loaded is left alone, and so is one that would not load afterwards.
func rewrite(path string, create bool, edit func(old []byte) ([]byte, error)) error {
	unlock, err := lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	var old []byte
	fi, err := os.Stat(path)
	switch {
	case create && errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("users file: %w", err)
	default:
		if _, err := LoadUsers(path); err != nil {
			return err
		}
		if old, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("users file: %w", err)
		}
	}
	text, err := edit(old)
	if err != nil {
		return err
	}
	if _, err := ParseUsers(path, bytes.NewReader(text)); err != nil {
		return err
	}
	if err := replace(path, text, fi); err != nil {
		return fmt.Errorf("users file %s: %w", path, err)
	}
	return nil
}

// lock keeps two commands from undoing each other's work: it locks the
// directory, since the file itself is replaced.
func lock(path string) (unlock func(), err error) {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		d.Close()
		return nil, fmt.Errorf("lock %s: %w", d.Name(), err)
	}
	return func() { d.Close() }, nil
}

// replace writes text beside path, syncs it and renames it, with the mode and
// owner of the file it replaces. A new one belongs to the group of its
// directory, which may read it: root makes it, the relay reads it.
func replace(path string, text []byte, was os.FileInfo) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".users-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := adopt(f, was); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = io.Copy(f, bytes.NewReader(text))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// adopt gives f the mode and owner that was has; nil: those of a new file.
func adopt(f *os.File, was os.FileInfo) error {
	mode, of := os.FileMode(0o600), was
	if was != nil {
		mode = was.Mode().Perm()
	} else if os.Geteuid() == 0 {
		mode = 0o640
		var err error
		if of, err = os.Stat(filepath.Dir(f.Name())); err != nil {
			return err
		}
	}
	if of != nil {
		if st, ok := of.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(int(st.Uid), int(st.Gid)) // only root may; everybody else owns it already
		}
	}
	return f.Chmod(mode)
}

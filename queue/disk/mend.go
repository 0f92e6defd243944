package disk

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkFiles looks for flipped octets in Pebble's log and manifest before
// Pebble does. In a log a chunk whose content changed gets a checksum again,
// so that what it holds is read and our own checksums put away the one message
// that was hit. Whatever else is damaged is an error that names file and place.
func (s *Store) checkFiles() error {
	noted, synced, err := s.readNote()
	if err != nil {
		return err
	}
	names, err := s.fs.List(s.path("db"))
	if err != nil {
		return err
	}
	for _, n := range names {
		name := s.path("db", n)
		number, isLog := logNumber(n)
		switch {
		case strings.HasPrefix(n, "MANIFEST-"):
			err = s.checkFile(name, 0, 0)
		case isLog && number == noted:
			err = s.checkFile(name, number, synced)
		case isLog:
			err = s.checkFile(name, number, 0)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkFile checks a manifest (number 0), or a log of which so many octets are
// known to have been synced.
func (s *Store) checkFile(name string, number uint32, synced int64) error {
	f, err := s.fs.Open(name)
	if err != nil {
		return err
	}
	file, err := readWhole(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if int64(len(file)) < synced {
		s.log.Error("queue file damaged", "err", fmt.Sprintf("%s: cut short at octet %d of %d; what they held is lost", name, len(file), synced))
	}
	flaws := damage(file, number, synced)
	if len(flaws) == 0 {
		return nil
	}
	for _, d := range flaws {
		if number == 0 || d.mended == nil {
			return errDamage("octets %d to %d are not as written; restore the file from a backup", d.at, d.end)
		}
		copy(file[d.at:], d.mended)
	}
	if err := readable(file, number, flaws); err != nil {
		return errDamage("a record at octet %d or later is not as written (%v); restore the file from a backup", flaws[0].at, err)
	}
	s.log.Error("queue file damaged", "err", fmt.Sprintf("%s: octets %d to %d; the rest is read", name, flaws[0].at, flaws[0].end))
	return s.rewrite(name, file)
}

// readWhole takes no more memory than the file is large.
func readWhole(f vfs.File) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, st.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// readable says whether a log holds nothing but batches as we write them, one
// after the other, when these flaws have been mended.
func readable(file []byte, number uint32, mended []flaw) error {
	good, bad := survey(file, number)
	var batch []byte
	whole, begun := true, 0 // whether the last batch has ended; where it began
	var next uint64         // the sequence number that the next batch begins with at the earliest
	for _, c := range good {
		if len(bad) > 0 && c.at > bad[0].at {
			break // what a power failure left counts to here
		}
		kind := file[c.at+6]
		if begins := kind == kindFull || kind == kindFirst; begins != whole {
			return errors.New("a piece of a batch is missing or out of order")
		} else if begins {
			begun = c.at
		}
		batch = append(batch, file[c.at+headSize(kind):c.end]...)
		if whole = kind == kindFull || kind == kindLast; !whole {
			continue
		}
		if err := checkBatch(batch, &next); err != nil {
			return err
		}
		batch = nil
	}
	if !whole && slices.ContainsFunc(mended, func(f flaw) bool { return f.at == begun }) {
		return errors.New("the end of a batch is missing")
	}
	return nil
}

// checkBatch holds a batch against what we write.
func checkBatch(batch []byte, next *uint64) error {
	h, ok := batchrepr.ReadHeader(batch)
	if !ok || uint64(h.SeqNum) < *next || *next > 0 && uint64(h.SeqNum) > *next+1<<32 {
		return errors.New("no batch, or out of order")
	}
	*next = uint64(h.SeqNum) + uint64(h.Count)
	count := uint32(0)
	for b := batchrepr.Read(batch); ; {
		kind, key, _, ok, err := b.Next()
		switch {
		case err != nil:
			return err
		case !ok && count != h.Count:
			return fmt.Errorf("%d of %d keys", count, h.Count)
		case !ok:
			return nil
		case kind == pebble.InternalKeyKindLogData:
			continue
		case kind != pebble.InternalKeyKindSet && kind != pebble.InternalKeyKindDelete && kind != pebble.InternalKeyKindSingleDelete, !known(string(key)):
			return fmt.Errorf("key %q of kind %d", key, kind)
		}
		count++
	}
}

// known says whether a key is one of ours.
func known(key string) bool {
	key = strings.TrimPrefix(key, quarantine)
	if _, _, ok := parseRcptKey([]byte(key)); ok {
		return true
	}
	for _, space := range []string{messageSpace, bodySpace} {
		if id, ok := strings.CutPrefix(key, space); ok && validID(id) {
			return true
		}
	}
	return key == formKey || key == clockKey
}

// rewrite replaces a file, keeping the old one beside it.
func (s *Store) rewrite(name string, content []byte) error {
	f, err := s.fs.Create(name+".mended", category)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	aside := s.path(s.fs.PathBase(name) + ".damaged")
	if err := s.fs.Rename(name, aside); err != nil {
		return err
	}
	return errors.Join(s.fs.Rename(name+".mended", name), syncDir(s.fs, s.path("db")), syncDir(s.fs, s.dir))
}

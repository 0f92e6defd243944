// Package config knows the form of relay.toml, and nobody else does: TOML,
// paths, defaults and the mode of files end here. Read takes the file apart
// strictly; Load goes on to read every file it names and returns values ready
// to use. Both tell every problem at once, each with its place, what was
// expected and what to do.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"smtprelay/relay"
)

// File is relay.toml, top to bottom. After Read every default is filled in and
// every path is absolute. It holds no secret: those stand in files of their own.
type File struct {
	State       string        `toml:"state"`
	Source      []Source      `toml:"source"`
	Domain      []Domain      `toml:"domain"`
	Preflight   Preflight     `toml:"preflight"`
	SmartHost   []SmartHost   `toml:"smarthost"`
	Submission  Submission    `toml:"submission"`
	Queue       Queue         `toml:"queue"`
	Destination []Destination `toml:"destination"`
	Delivery    Delivery      `toml:"delivery"`
	DNS         DNS           `toml:"dns"`
	Admin       Admin         `toml:"admin"`
	Log         Log           `toml:"log"`

	path   string // as the operator wrote it
	places places
	faults Problems // of the form: unknown keys, wrong types
}

// maxFile is more than any honest configuration needs.
const maxFile = 1 << 20

// Read parses the file at path. Its error is of type Problems: the file cannot
// be read, is not TOML, has unknown keys or values of the wrong type. Whether
// the values make sense, and the files they name, is Load's concern.
func Read(path string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// Load reads the file at path and everything it names. Its error is of type
// Problems.
func Load(path string) (relay.Options, error) {
	f, err := open(path)
	if err != nil {
		return relay.Options{}, err
	}
	return f.options()
}

func open(path string) (*File, error) {
	text, err := readAll(path)
	if err != nil {
		return nil, Problems{{File: path, What: err.Error(), Hint: readHint(err)}}
	}
	return parse(path, text)
}

func readAll(path string) (string, error) {
	fd, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the configuration: %w", plain(err))
	}
	defer fd.Close()
	text, err := io.ReadAll(io.LimitReader(fd, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("read the configuration: %w", plain(err))
	}
	if len(text) > maxFile {
		return "", fmt.Errorf("read the configuration: more than %d octets", maxFile)
	}
	return string(text), nil
}

func readHint(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "name the file with --config, or copy relay.example.toml to this place"
	case errors.Is(err, os.ErrPermission):
		return "run this as the user that the relay runs as, or as root"
	}
	return ""
}

// parse takes text apart. Its error is a text that is not TOML; what else is
// wrong with the form is in File.faults, so that the rest can be judged too.
func parse(path, text string) (*File, error) {
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		return nil, Problems{syntax(path, err)}
	}
	f := defaults()
	f.path, f.places = path, findPlaces(text)
	d := decoder{file: f}
	d.fill("", f, tree)
	f.faults = d.problems
	f.complete(filepath.Dir(path))
	return f, nil
}

func syntax(path string, err error) Problem {
	p := Problem{File: path, What: err.Error(), Hint: "the form of the file is TOML, see https://toml.io; relay.example.toml shows every key"}
	var pe toml.ParseError
	if errors.As(err, &pe) {
		p.Line, p.What = pe.Position.Line, pe.Message
	}
	return p
}

// defaults is what an empty file means.
func defaults() *File {
	return &File{
		State:      "/var/lib/relay",
		Preflight:  defaultPreflight(),
		Submission: defaultSubmission(),
		Queue:      defaultQueue(),
		Delivery:   defaultDelivery(),
		DNS:        DNS{Port: 53},
		Admin:      Admin{Socket: "/run/relay/admin.sock"},
		Log:        Log{Level: "info", Format: "json"},
	}
}

// complete fills in the defaults that follow from other values, and makes
// paths absolute: a relative one starts where the file lies.
func (f *File) complete(dir string) {
	for _, p := range f.paths() {
		*p = absolute(dir, *p)
	}
	f.Submission.complete(f)
	f.Preflight.complete(f)
	for i := range f.SmartHost {
		if f.SmartHost[i].TLS == "" {
			f.SmartHost[i].TLS = "required"
		}
	}
}

// paths are the values that name files.
func (f *File) paths() []*string {
	ps := []*string{&f.State, &f.Submission.UsersFile, &f.Submission.Certificate, &f.Submission.KeyFile, &f.Admin.Socket}
	for i := range f.SmartHost {
		ps = append(ps, &f.SmartHost[i].PasswordFile, &f.SmartHost[i].CAFile)
	}
	return ps
}

// options goes through the file top to bottom.
func (f *File) options() (relay.Options, error) {
	l := &loader{file: f, problems: slices.Clone(f.faults)}
	o := relay.Options{State: f.State}
	l.guarded("", f.path)
	l.stateDirectory("state", f.State)
	for _, s := range []interface {
		fill(l *loader, o *relay.Options)
	}{
		sources(f.Source), domains(f.Domain), smartHosts(f.SmartHost), f.Preflight, f.Submission, f.Queue, destinations(f.Destination), f.Delivery, f.DNS, f.Admin, f.Log,
	} {
		s.fill(l, &o)
	}
	if err := l.problems.err(); err != nil {
		return relay.Options{}, err
	}
	return o, nil
}

// loader collects the problems of one Load.
type loader struct {
	file     *File
	problems Problems
}

// bad notes a problem at a key; its text says what was found and what was
// expected. A value that could not even be read has its problem already.
func (l *loader) bad(key, hint, format string, args ...any) {
	if l.file.faulty(key) {
		return
	}
	l.problems = append(l.problems, l.file.problem(key, hint, fmt.Sprintf(format, args...)))
}

func (f *File) problem(key, hint, text string) Problem {
	return Problem{File: f.path, Line: f.places.line(key), Key: key, What: text, Hint: hint}
}

// faulty tells whether the form of a key, or of what lies around it, is wrong.
func (f *File) faulty(key string) bool {
	return slices.ContainsFunc(f.faults, func(p Problem) bool {
		rest, ok := strings.CutPrefix(key, p.Key)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

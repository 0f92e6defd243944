// Package interop shows the relay among programs that nobody here wrote: BIND
// as root, registry, hoster and provider, unbound as resolver, Postfix and Exim as
// strict receivers, Postfix as a smart host, systemd as what starts the relay, and
// the mail programs of applications. It is all tests, run by `make interop`
// as root on a Debian system.
//
// # What it makes, and takes away again
//
// The test starts itself anew in namespaces of its own: of processes, mounts and
// the network. In there each host has a network namespace, a cable to one
// switch and a root file system: an overlay over one of a few roots that hold
// Debian's packages, made by mmdebstrap and kept in the user's cache directory.
// There is no route to anywhere else. When the test ends, however it ends, the
// kernel takes all of it away. What the servers wrote is kept when something
// failed, and the test says where.
//
// The addresses are those set apart for documentation (RFC 5737, RFC 3849), and
// names end in .test; preflight.private lets the relay take them for public ones.
//
// # The files
//
// testdata/setup/NAME.txtar is a set-up: a server with an address, the zones of
// its domain NAME.test, and what is expected of a receiver, of the preflight and
// of the relay. It starts from testdata/common, which is all in order, says
// what is otherwise, and is a script of package testscript. Its commands are
// told in commands_test.go. What the preflight foretells of a set-up is held
// against what the receivers do; docs/forecasts.md is the table, written by -update.
//
// testdata/peer/NAME.txtar is a server of the others, testdata/app/NAME.txtar a
// program that sends mail. The words in them are told at type peer. A peer that
// "receives" is tried by every set-up, and so is every application: to add one,
// write one file.
package interop

// Package queue holds the mail we owe: what a message and a recipient are,
// what a store of them promises, and when each recipient is due. Stores
// remember and decide nothing; the Scheduler decides and remembers nothing, so
// a crash at any moment leaves a legal state. Nothing here speaks SMTP.
//
// One recipient is always in exactly one state:
//
//	state      how it gets there                          what moves it on
//	waiting    Commit; a deferred try; a release          its time comes, or what it awaits; it is tried
//	held       the operator; or it outlived its lifetime  the operator (release, bounce, remove),
//	           on a fault of ours                         or a 250 to a try under way meanwhile
//	failed     refused; or it outlived its lifetime on    its sender is told; or a 250 to a try
//	           others; or the operator gave it up         under way meanwhile
//	delivered  a remote 250                               nothing: it leaves the store
//	reported   failed, and its sender was told            nothing: it leaves the store
//	removed    the operator                               nothing: it leaves the store
//
//	Commit --> waiting <--deferred--+
//	             |  ^               |
//	             |  +-- release     |
//	     claimed |        |         |
//	             v        |         |
//	           a try ---> held      |
//	             |  +---------------+
//	             |--- sent ----> delivered
//	             +--- refused -> failed --> reported
//
// A message leaves with its last recipient. A state is on disk before anything
// is done because of it: no sender is told of a failure that a crash could
// undo, and no 250 is forgotten once it was settled. What a crash can do is
// repeat: a message whose 250 was not settled is sent again (and was marked, so
// that this is known), a notice may be sent twice.
package queue

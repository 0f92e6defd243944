package queue

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/netip"
	"time"
)

// ID names a message. IDs sort by arrival; it is the "queued as" of our 250.
type ID string

// Envelope is what SMTP said, not what the header says. Stores keep it as one
// opaque document, so a new SMTP extension touches no store.
type Envelope struct {
	From       string `json:"from"`                // "" is the null sender (RFC 5321 section 4.5.5)
	Body       string `json:"body,omitzero"`       // "", "7BIT" or "8BITMIME" (RFC 6152)
	UTF8       bool   `json:"smtputf8,omitzero"`   // SMTPUTF8 (RFC 6531)
	RequireTLS bool   `json:"requiretls,omitzero"` // REQUIRETLS (RFC 8689)
	Return     string `json:"return,omitzero"`     // RET: "", "FULL" or "HDRS" (RFC 3461)
	EnvelopeID string `json:"envid,omitzero"`      // ENVID, decoded (RFC 3461)
}

// Message is immutable once committed; its recipients are records of their own.
type Message struct {
	ID        ID            `json:"id"`
	Envelope  Envelope      `json:"envelope"`
	Author    string        `json:"author,omitzero"` // domain of the header From, lower case A-labels: the gate asks for it again at delivery
	MessageID string        `json:"message_id,omitzero"`
	Submitter string        `json:"submitter,omitzero"` // login, or the name of the trusted network; "" for our own notices
	Head      []byte        `json:"head,omitzero"`      // what we put before the stored body on the wire: Received, fields added, DKIM; CRLF lines
	Size      int64         `json:"size"`               // octets of the stored body, without Head
	Received  time.Time     `json:"received"`           // when it was committed
	Lifetime  time.Duration `json:"lifetime,omitzero"`  // how long a recipient's Age may grow before it fails
}

// State of one recipient. See the table in the package comment.
type State string

const (
	Waiting   State = "waiting"   // due at Next
	Held      State = "held"      // by the operator, or outlived its lifetime on a fault of ours: only the operator moves it
	Failed    State = "failed"    // for good, or given up by the operator; its sender has not been told yet
	Delivered State = "delivered" // a remote 250; leaves the store
	Reported  State = "reported"  // failed, and its sender told (or it has none); leaves the store
	Removed   State = "removed"   // by the operator; leaves the store
)

// Recipient is one address of a message and what became of it so far.
type Recipient struct {
	N        int           `json:"n"`                 // position in the message, from 0: with the message's ID the recipient's name
	Address  string        `json:"address"`           // as for RCPT TO, quoted again where it must be, without <>
	Domain   string        `json:"domain,omitzero"`   // where to deliver: lower case, A-labels. Parsed once, in submit
	Notify   string        `json:"notify,omitzero"`   // NOTIFY, comma-separated upper case ("" = not given) (RFC 3461)
	Original string        `json:"original,omitzero"` // ORCPT as it is relayed: "rfc822;..." ("" = not given)
	State    State         `json:"state"`
	Reason   string        `json:"reason,omitzero"` // why it waits or is held: "PTR-EXISTS of wan4", "421 4.7.28 from mx.example.net"
	Age      time.Duration `json:"age,omitzero"`    // waited, while we ran, on others
	Ours     time.Duration `json:"ours,omitzero"`   // waited, while we ran, on our own verdict or fault: does not count towards expiry
	Next     time.Time     `json:"next,omitzero"`   // when it is due, by the store's clock
	Tries    int           `json:"tries,omitzero"`
	Delayed  bool          `json:"delayed,omitzero"` // the sender had a delay notice
	Last     Attempt       `json:"last,omitzero"`
}

// Outcome of an attempt. What we cannot explain is Deferred.
type Outcome string

const (
	Sent     Outcome = "sent"
	Deferred Outcome = "deferred"
	Refused  Outcome = "refused"
)

// Attempt tells how one try for one recipient ended.
type Attempt struct {
	At      time.Time      `json:"at,omitzero"`
	Took    time.Duration  `json:"took,omitzero"`
	Waited  time.Duration  `json:"waited,omitzero"` // the recipient's Age and Ours then: tells attempts apart by the time we ran, whatever the clock says
	Outcome Outcome        `json:"outcome"`
	Ours    bool           `json:"ours,omitzero"`   // deferred by our own verdict or fault (gate, smart host, local I/O, what Class names): see Recipient.Ours
	Slow    bool           `json:"slow,omitzero"`   // the remote asks for less mail, or thinks little of what it had from us
	Source  string         `json:"source,omitzero"` // name of the source, or "smarthost"
	Host    string         `json:"host,omitzero"`   // exchanger
	Addr    netip.AddrPort `json:"addr,omitzero"`
	TLS     string         `json:"tls,omitzero"`    // "", "TLS1.3", ...
	DSN     bool           `json:"dsn,omitzero"`    // the remote offers DSN (RFC 3461): what was asked of it about success is its to tell
	Stage   string         `json:"stage,omitzero"`  // resolve gate policy connect greet ehlo starttls auth mail rcpt data dot
	Reply   Reply          `json:"reply,omitzero"`  // the remote's last word; empty when there was none
	Class   string         `json:"class,omitzero"`  // what Reply says is missing: "PTR-EXISTS", "rate"; "" when it names nothing
	Why     string         `json:"why,omitzero"`    // in our words, when Reply does not say it: "no route to host", "PTR-EXISTS of wan4"
	Wait    time.Duration  `json:"wait,omitzero"`   // try again after this, when the deferral knows better than the schedule; 0: the schedule's
	Awaits  string         `json:"awaits,omitzero"` // not "": it is due as soon as Scheduler.Wake says that this has come about
}

// tried tells whether a way was begun: the gate's word alone is no try.
func (a Attempt) tried() bool { return a.Awaits == "" || a.Host != "" }

// Reply of a remote, taken apart and made safe (printable ASCII, at most 4 KiB). Empty, never nil.
type Reply struct {
	Code   int    `json:"code,omitzero"`   // 451
	Status string `json:"status,omitzero"` // "4.7.1", or ""
	Text   string `json:"text,omitzero"`   // "try later"; lines joined by "\n"
}

// Job is the due recipients of one message at one destination.
type Job struct {
	Message    *Message
	Recipients []Recipient
}

// Lease is the right to work on one destination until it runs out.
type Lease struct {
	Destination string // Recipient.Domain
	Token       uint64 // fencing: a store refuses a result under a token that is no longer the destination's
}

// Result moves one recipient to its next state.
type Result struct {
	ID      ID
	N       int
	State   State
	Reason  string
	Delay   time.Duration // Waiting: due again after this, counted by the store's own clock
	Delayed bool          // a delay notice has been sent
	Attempt *Attempt      // nil when none was made
}

var (
	// ErrNotFound: no such message (or recipient) is in the store.
	ErrNotFound = errors.New("queue: no such message")
	// ErrLeaseLost: the lease ran out or was given to another; nothing was changed.
	ErrLeaseLost = errors.New("queue: lease lost")
	// ErrFull: there is no room; the client is told 452 4.3.1 and tries later.
	ErrFull = errors.New("queue: no space left")
	// ErrUnhealthy: an earlier write or sync failed; nothing is accepted until a restart.
	ErrUnhealthy = errors.New("queue: storage failed")
	// ErrDamaged: the record or body does not match its checksum; the message is in quarantine.
	ErrDamaged = errors.New("queue: damaged message")
)

// Draft is a message being written. Exactly one of Commit and Abort ends it;
// Abort after Commit does nothing, so it can be deferred.
type Draft interface {
	io.Writer
	// ID names the message that Commit will make: trace fields may say it before.
	ID() ID
	// Reader reads back, from its start, what was written so far. Nothing may
	// be written after it was called.
	Reader() (io.ReadCloser, error)
	// Commit makes message, body and recipients durable, in that order of
	// importance all at once: when it returns nil they survive power loss. The
	// store fills in ID, Size and Received of the message, and N and State
	// (Waiting and due now, where State is "") of each recipient.
	Commit(ctx context.Context, m *Message, rs []Recipient) (ID, error)
	Abort()
}

// Intake makes drafts.
type Intake interface {
	// Create opens a draft. ErrFull and ErrUnhealthy say why there is none.
	Create(ctx context.Context) (Draft, error)
}

// Work is what the scheduler needs of a store.
type Work interface {
	// Claim leases up to n destinations that have due recipients and no lease.
	// It waits until there is at least one or ctx ends.
	Claim(ctx context.Context, n int, ttl time.Duration) ([]Lease, error)
	// Take returns up to n due jobs of a leased destination: of its submitters
	// (Message.Submitter) in turn one each, and of each submitter the oldest, so
	// that nobody's mail waits until all of another's has gone.
	// Recipients taken are not due again until they are settled or the lease ends.
	// Age and Ours include the wait up to now. A damaged message is put into
	// quarantine, logged and left out.
	Take(ctx context.Context, l Lease, n int) ([]Job, error)
	// Body opens the stored body, without Head. Reading it to its end verifies
	// it: a mismatch is ErrDamaged instead of io.EOF.
	Body(ctx context.Context, id ID) (io.ReadSeekCloser, error)
	// Sending marks, without sync, that the final dot is about to be sent for
	// these recipients, so that a later duplicate can be known as one.
	Sending(ctx context.Context, l Lease, id ID, ns ...int) error
	// Settle makes results durable.
	Settle(ctx context.Context, l Lease, rs ...Result) error
	// Park puts off recipients taken under the lease of whom there is nothing new
	// to keep: only State, Delay and the attempt's Awaits of a result count. Nothing
	// is written; after a restart they are due as they were.
	Park(ctx context.Context, l Lease, rs ...Result) error
	// Wake makes due at once what waits (Attempt.Awaits) for anything that come
	// says has come about; it is asked once for each.
	Wake(ctx context.Context, come func(awaited string) bool) error
	// Renew extends a lease by ttl from now.
	Renew(ctx context.Context, l Lease, ttl time.Duration) error
	// Release ends a lease; what was taken and not settled is due at once. The
	// destination is not claimed again before rest has gone by.
	Release(ctx context.Context, l Lease, rest time.Duration) error
	// Unreported goes through the jobs whose recipients are Failed, oldest first;
	// those that a worker has in hand still are left out.
	// A job that cannot be read now is an error; those after it come all the same.
	Unreported(ctx context.Context) iter.Seq2[Job, error]
	// Reported makes results durable for Failed recipients, without a lease.
	Reported(ctx context.Context, rs ...Result) error
}

// Filter selects recipients. Zero fields select all.
type Filter struct {
	ID     ID
	Domain string
	From   string
	State  State
	Limit  int // of messages; 0: all
}

// Change is what an operator does to what a Filter selects.
type Change struct {
	State State         // Waiting (release, retry), Held, Failed (give up, and tell the sender) or Removed
	Only  []State       // recipients in other states are left alone; nil: all
	Delay time.Duration // Waiting: due after this
}

// Entry is one message as an operator sees it.
type Entry struct {
	Message    Message     `json:"message"`
	Recipients []Recipient `json:"recipients"`
}

// Desk is what an operator needs of a store.
type Desk interface {
	// List goes through messages in the order of arrival. Next of who waits is by the
	// clock as it is now, also when it was set since.
	List(ctx context.Context, f Filter) iter.Seq2[Entry, error]
	// Update changes what f selects and says how many recipients changed.
	Update(ctx context.Context, f Filter, c Change) (int, error)
	// Stat counts.
	Stat(ctx context.Context) (Stat, error)
}

// Stat counts what a store holds.
type Stat struct {
	Messages    int `json:"messages"`
	Waiting     int `json:"waiting"`
	Held        int `json:"held"`
	Failed      int `json:"failed"`
	Quarantined int `json:"quarantined"`
	// Twice counts the recipients of whom the store was told at some time that the
	// final dot was about to be sent (Work.Sending), and not what came of it, when
	// it was opened: they may get a message twice.
	Twice int `json:"maybe_duplicates"`
}

// Store is the sum; only what opens a store and the suite that tests it name it.
type Store interface {
	Intake
	Work
	Desk
	Close() error
}

// Deliverer tries one destination's mail. Its error means "we could not work",
// never "they refused": refusals are data in the attempts.
type Deliverer interface {
	// Lane tells what a destination shares with others. It may take the time of a
	// question to DNS.
	Lane(ctx context.Context, destination string) Lane
	// Deliver works until Next hands out nothing more. Several may work on one
	// trip at once.
	Deliver(ctx context.Context, t *Trip) error
}

// Reporter tells sender and operator. An error of it leaves what it was about
// in the store, to be reported again.
type Reporter interface {
	Report(ctx context.Context, e Event) error
}

// Event is what happened to some recipients of one message at one moment.
type Event struct {
	Kind       Kind
	Message    *Message
	Recipients []Recipient                   // as settled
	Head       func() (io.ReadCloser, error) // opens the stored body, for the header that a notice returns; may be nil
}

// Kind of an event.
type Kind string

const (
	WasDelivered Kind = "delivered"
	WasDeferred  Kind = "deferred"
	WasFailed    Kind = "failed"  // a notice is due unless the sender is null or asked for none
	WasDelayed   Kind = "delayed" // a delay notice is due, likewise
	WasHeld      Kind = "held"    // outlived its lifetime on a fault of ours
)

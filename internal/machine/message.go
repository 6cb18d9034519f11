package machine

import "time"

// SessionID is the name a client draws for one life of its session.
type SessionID [16]byte

// Life names one life of a session: the id drawn by the client and the log index of the entry that opened it.
// Everything but the opening names both, so that nothing of a dead life can run again.
type Life struct {
	ID    SessionID
	Index uint64
}

// A Message travels between the machine and a node. The set is closed; its form on the wire is not its business.
type Message interface{ message() }

// OpenRequest opens a life. A repeat with the same id renews nothing.
type OpenRequest struct {
	ID    SessionID
	TTL   time.Duration
	Grace time.Duration // ends the session this long after its connection closed; 0: only the TTL counts
}

// OpenAnswer tells the index of the life that carries ID.
type OpenAnswer struct {
	ID      SessionID
	Code    Code // Done, Retry or Refused
	Index   uint64
	Cluster time.Duration // cluster time at the answer, 0 if not told
	Wait    time.Duration // of Retry: repeat it no sooner than this
	Body    any           // of a refusal: why
}

// KeepAlive number Number of a life. Numbers rise.
type KeepAlive struct {
	Life   Life
	Number uint64
}

// KeepAliveAnswer is the answer to exactly one KeepAlive. Cluster is read by the leader after it received that KeepAlive; the clock of a
// node's applied state may be older, and then the next answer would look as if the own clock had stood still.
type KeepAliveAnswer struct {
	Life    Life
	Number  uint64
	Code    Code // Done, Retry (not renewed, which is not expired) or SessionUnknown
	Cluster time.Duration
}

// Request is one mutating request, the same in every repeat but for Acked, which may have grown.
type Request struct {
	Life  Life
	Seq   uint64
	Acked uint64   // every outcome up to here is known to the client
	Seen  []uint64 // waits whose outcome is known to the client
	Op    Op
}

// Answer is the answer to the request Seq, or what later became of it: the outcome of a wait, the end of a hold.
type Answer struct {
	Life    Life
	Seq     uint64
	Code    Code
	Token   uint64 // of Granted
	Cluster time.Duration
	Wait    time.Duration // of Retry: repeat it no sooner than this
	Body    any           // handed on to the caller
}

// CloseRequest ends a life and all it holds.
type CloseRequest struct{ Life Life }

// CloseAnswer says that the life has ended, now or before.
type CloseAnswer struct{ Life Life }

// NoQuorum is a node's word that it has had no confirmed round for a while, so that another should be tried.
type NoQuorum struct{}

func (OpenRequest) message()     {}
func (OpenAnswer) message()      {}
func (KeepAlive) message()       {}
func (KeepAliveAnswer) message() {}
func (Request) message()         {}
func (Answer) message()          {}
func (CloseRequest) message()    {}
func (CloseAnswer) message()     {}
func (NoQuorum) message()        {}

// Code is the kind of an answer.
type Code uint8

// The codes. All but Queued and Retry are final: the outcome of the request is known.
const (
	_              Code = iota
	Done                // it took effect
	Queued              // the wait stands in the queue; its outcome follows
	Granted             // the lock is held, by Token
	NotAcquired         // a try found the lock taken
	TimedOut            // the wait reached its limit
	Cancelled           // the request was cancelled; what it may have been granted is released
	NotHeld             // the hold to release was gone already
	Refused             // never to be repeated: Body says why
	Retry               // no outcome known: repeat it, here or elsewhere
	SessionUnknown      // this life has ended; said only by an entry's apply or at the read index of a round
	HoldEnded           // the hold made by this request was ended by somebody else, while the session lives
	SessionLost         // the life of the request ended before its outcome was known
)

var codeNames = [...]string{
	"?", "done", "queued", "granted", "not-acquired", "timed-out", "cancelled", "not-held", "refused", "retry",
	"session-unknown", "hold-ended", "session-lost",
}

// String returns the code in words.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return codeNames[0]
}

// OpKind is what the machine has to know of an operation.
type OpKind uint8

// The kinds of operations.
const (
	OpOther   OpKind = iota // anything else, repeated until answered
	OpAcquire               // asks for a lock and waits; asked again in the next life when this one is lost
	OpTry                   // asks for a lock and does not wait
	OpRelease               // ends the hold Token; made by Release
	OpCancel                // ends the wait or hold of the request Target; made by Abandon
)

// Op is an operation of a request.
type Op struct {
	Kind   OpKind
	Wait   time.Duration // of OpAcquire: the longest wait that is left, 0 for ever
	Token  uint64        // of OpRelease
	Target uint64        // of OpRelease and OpCancel: the seq of the request that acquired
	Lease  bool          // of OpAcquire and OpTry: what is granted outlives the session, and is not held here
	Body   any           // of the caller, handed on untouched
}

package wire

import "strconv"

// Code says how a request ended. Codes below 100 are outcomes that the log decided, the others are of the node that answers. The numbers
// never change their meaning.
type Code uint16

// The outcomes.
const (
	OK             Code = 1  // done
	Granted        Code = 2  // the hold exists; token, floor, behind and previous are set
	Reentered      Code = 3  // the owner's hold was entered once more; token is its token
	Queued         Code = 4  // it waits; the outcome comes as WaitOver, and to every repeat
	Held           Code = 5  // a try was refused: a holder or an earlier waiter stands before it
	TimedOut       Code = 6  // the limit of the wait passed
	Cancelled      Code = 7  // cancelled before any grant
	NotHeld        Code = 8  // no such hold of this session: the token is not, or no longer, its own
	Gone           Code = 9  // no such lease
	AlreadyHeld    Code = 10 // this owner holds the name, or waits for it, already
	WrongKind      Code = 11 // the lock exists with another kind or limit
	SessionUnknown Code = 12 // there is no such life (any more)
	StaleSeq       Code = 13 // the seq was answered and acknowledged before
	WindowFull     Code = 14 // the seq is too far above acked
	Invalid        Code = 15 // a field breaks a rule, such as a limit
	Embargo        Code = 16 // nothing is granted yet in this incarnation
	TooManyHolds   Code = 17 // of the session
	TooManyWaits   Code = 18 // of the session
	TooManyWaiters Code = 19 // of the lock
	TooManyHere    Code = 20 // holds and waits of one session on one lock
)

// The failures.
const (
	Malformed       Code = 100 // the body does not have the shape of its type
	Unsupported     Code = 101 // the node does not know the type, or not from this role
	TooLarge        Code = 102 // the request is beyond a limit of the node, or its answer would not fit a frame
	VersionMismatch Code = 103 // no version of the protocol in common
	WrongCluster    Code = 104 // the node belongs to another cluster, or to another incarnation of it
	Unauthenticated Code = 105 // the credential is missing or wrong
	Forbidden       Code = 106 // the identity may not do this
	Overloaded      Code = 107 // too much is waiting
	DiskFull        Code = 108 // what grows the state is refused; releases and reads go on
	NoLeader        Code = 109 // no leader could be reached
	Interrupted     Code = 110 // it was sent on, and the answer was lost
	ShuttingDown    Code = 111 // the node stops
	OutOfStep       Code = 112 // the stream makes no sense any more
	TooSlow         Code = 113 // the other side did not send or read in time
)

// Advice says what a client does after a code.
type Advice uint8

// The advice.
const (
	Final     Advice = 1 // the outcome is known; the same request would not fare better
	Again     Advice = 2 // repeat it, under the same seq, after Failure.Wait
	Elsewhere Advice = 3 // repeat it, under the same seq, over another node
	Follows   Advice = 4 // the outcome is still to come
)

// codes tells name and advice of every code.
var codes = map[Code]struct {
	name   string
	advice Advice
}{
	OK: {"ok", Final}, Granted: {"granted", Final}, Reentered: {"reentered", Final}, Queued: {"queued", Follows},
	Held: {"held", Final}, TimedOut: {"timed out", Final}, Cancelled: {"cancelled", Final}, NotHeld: {"not held", Final},
	Gone: {"gone", Final}, AlreadyHeld: {"already held", Final}, WrongKind: {"wrong kind", Final},
	SessionUnknown: {"session unknown", Final}, StaleSeq: {"stale", Final}, WindowFull: {"window full", Final},
	Invalid: {"invalid", Final}, Embargo: {"embargo", Final}, TooManyHolds: {"too many holds", Final},
	TooManyWaits: {"too many waits", Final}, TooManyWaiters: {"too many waiters", Final},
	TooManyHere: {"too many of the session here", Final},

	Malformed: {"malformed", Final}, Unsupported: {"unsupported", Final}, TooLarge: {"too large", Final},
	VersionMismatch: {"version mismatch", Final}, WrongCluster: {"wrong cluster", Final},
	Unauthenticated: {"unauthenticated", Final}, Forbidden: {"forbidden", Final}, Overloaded: {"overloaded", Again},
	DiskFull: {"disk full", Again}, NoLeader: {"no leader", Elsewhere}, Interrupted: {"interrupted", Elsewhere},
	ShuttingDown: {"shutting down", Elsewhere}, OutOfStep: {"out of step", Elsewhere}, TooSlow: {"too slow", Elsewhere},
}

// Advice returns what a client does after this code. A code it does not know is final.
func (c Code) Advice() Advice {
	if known, ok := codes[c]; ok {
		return known.advice
	}
	return Final
}

// Failed reports whether the code is one of a node: the log did not decide the request.
func (c Code) Failed() bool { return c >= Malformed }

// String returns the code in words.
func (c Code) String() string {
	if known, ok := codes[c]; ok {
		return known.name
	}
	return "code " + strconv.Itoa(int(c))
}

var adviceNames = map[Advice]string{Final: "final", Again: "repeat later", Elsewhere: "repeat elsewhere", Follows: "outcome follows"}

// String returns the advice in words.
func (a Advice) String() string { return adviceNames[a] }

package locktable

import (
	"time"

	"github.com/lockd/lockd/session"
)

// Code is the outcome of a command. The numbers are part of the stored state and never change their meaning.
type Code uint8

// The outcomes.
const (
	OK             Code = 1  // done
	Granted        Code = 2  // the hold exists; Token, Floor and Previous are set
	Reentered      Code = 3  // the owner's hold was entered once more; Token is its token
	Queued         Code = 4  // the request waits; its outcome comes as an effect and to every repeat
	Held           Code = 5  // a try was refused: a holder or an earlier waiter stands before it
	TimedOut       Code = 6  // the wait's limit passed
	Cancelled      Code = 7  // cancelled before any grant
	NotHeld        Code = 8  // no such hold of this session: the token is not, or no longer, its own
	Gone           Code = 9  // no such lease
	AlreadyHeld    Code = 10 // this owner holds the name, or waits for it, already
	WrongKind      Code = 11 // the lock exists with another kind or limit
	SessionUnknown Code = 12 // no such life of a session at this index
	Stale          Code = 13 // the seq was answered and acknowledged before
	WindowFull     Code = 14 // the seq is more than session.WindowMax above acked
	Invalid        Code = 15 // the command breaks a rule of its fields
	Embargo        Code = 16 // nothing is granted yet in this incarnation
	TooManyHolds   Code = 17 // HoldsMax of the session
	TooManyWaits   Code = 18 // WaitsMax of the session
	TooManyWaiters Code = 19 // WaitersMax of the lock
	TooManyHere    Code = 20 // RecordsPerNameMax of one session on one lock
	Ignored        Code = 21 // decided in another term than that of its entry
)

// How tells how a hold ended.
type How uint8

// How a hold, or a session, ended. Broken is the place of the operator's break.
const (
	NotEnded  How = 0 // no hold before this one is known
	Released  How = 1 // by its holder, or cancelled
	Closed    How = 2 // its session was closed
	Expired   How = 3 // its session's or its lease's time ran out
	Broken    How = 4 // by an operator
	HandedOn  How = 5 // a lease taken over
	Forgotten How = 6 // the cluster's incarnation ended, and its session with it
)

// Ending tells how the hold before a grant ended.
type Ending struct {
	How   How
	Token uint64 // of that hold
}

// Reply is the answer to one command. A repeat of the command is answered the same, but for Ahead and Behind, which tell how it was.
type Reply struct {
	Code     Code
	Index    uint64        // the entry at which it took effect; for a repeat, that of the first. For Open: the life's index
	Token    uint64        // of the hold
	Floor    uint64        // token of the last exclusive grant of the name; a gate refuses whatever is below it
	Deadline time.Duration // of a lease, in cluster time
	Ahead    int           // Queued: waiters before this one, in the longest of its queues. Held: waiters of the first name
	Behind   int           // Granted: waiters behind, in all its queues
	Previous Ending        // Granted: how the hold before ended; of several names the worst (Expired before Closed before Released)
}

// EffectKind says what an effect tells.
type EffectKind uint8

// The effects.
const (
	Opened   EffectKind = 1 // a session was opened: tell the Keeper
	Ended    EffectKind = 2 // a session ended (How): tell the Keeper and the client
	WaitOver EffectKind = 3 // the wait (Session, Seq) is decided; Reply is its outcome (Granted, TimedOut, Cancelled)
	Revoked  EffectKind = 4 // a lease ended (How), or a hold that its holder did not end, while the holder may be there to hear it
	Changed  EffectKind = 5 // the holders of Name or their values changed: tell its watchers
)

// Effect is something an entry did beyond its reply, in the order in which it happened.
type Effect struct {
	Kind    EffectKind
	Session session.Life // Opened, Ended, WaitOver, Revoked; zero for a lease
	Seq     uint64       // WaitOver
	Name    string       // Changed, Revoked: one effect for each name
	Token   uint64       // Revoked; Changed: of the newest holder, 0 if none
	How     How          // Ended, Revoked
	Reply   Reply        // WaitOver
}

// Timing tells how long a wait or a hold took that an entry ended, in cluster time. A request that was granted at once is a wait
// that took nothing. What ended because its session did is told when its record is collected, holds only, and took until the session's
// end. Exactly one of Code and How is set.
type Timing struct {
	Name string // the first of its names
	Took time.Duration
	Code Code // of a wait: Granted, TimedOut or Cancelled
	How  How  // of a hold
}

// Applied is what one entry did. Effects and Timings are valid until the next Apply.
type Applied struct {
	Reply   Reply
	Effects []Effect
	Timings []Timing
}

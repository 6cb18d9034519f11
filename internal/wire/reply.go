package wire

import (
	"strconv"
	"time"
)

// How tells how a hold or a session ended.
type How uint8

// How it ended.
const (
	NotEnded  How = 0 // no hold before this one is known
	Released  How = 1 // by its holder, or cancelled
	Closed    How = 2 // its session was closed
	Expired   How = 3 // its session's or its lease's time ran out
	Broken    How = 4 // by an operator
	HandedOn  How = 5 // a lease taken over
	Forgotten How = 6 // the cluster's incarnation ended, and its session with it
)

var howNames = [...]string{
	NotEnded: "not ended", Released: "released", Closed: "closed", Expired: "expired", Broken: "broken", HandedOn: "handed on",
	Forgotten: "forgotten",
}

// String returns how it ended, in words.
func (how How) String() string {
	if int(how) < len(howNames) {
		return howNames[how]
	}
	return "how " + strconv.Itoa(int(how))
}

// Ending tells how the hold before a grant ended.
type Ending struct {
	How   How    // 0: none known, 1: released, 2: closed, 3: expired, 4: broken, 5: handed on, 6: forgotten
	Token uint64 // of that hold
}

// Outcome is what the log decided about a command. A repeat of the command has the same, but for ahead and behind.
type Outcome struct {
	Code     Code          // see the codes below 100
	Token    uint64        // of the hold
	Floor    uint64        // token of the last exclusive grant of the name: a gate refuses whatever is below it
	Deadline time.Duration // of a lease: its end, in cluster time
	Ahead    uint64        // Queued: waiters before this one, in the longest of its queues. Held: waiters of the first name
	Behind   uint64        // Granted: waiters behind it, in all its queues
	Previous Ending        // Granted: how the hold before ended; of several names the worst
}

// Reply answers a command: Open to TakeLease.
type Reply struct {
	ID      uint64        // of the request
	Index   uint64        // log index at which it took effect; of a repeat: that of the first. For Open: the index of the life
	Clock   time.Duration // cluster time
	Outcome Outcome       // what was decided
}

// Failure answers a request that the log did not decide.
type Failure struct {
	ID    uint64        // of the request
	Code  Code          // see the codes from 100 on
	Known bool          // true: it had no effect and will have none. False: nobody knows; repeat it under the same seq
	Wait  time.Duration // repeat it no sooner than this
	Text  string        `wire:"1024"` // the same for people, and what may help
}

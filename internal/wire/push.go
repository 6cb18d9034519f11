package wire

import "time"

// WaitOver tells how a wait ended: it was granted, timed out, or was cancelled. A repeat of its Acquire is answered with the same.
type WaitOver struct {
	Life    Life          // of the session
	Seq     uint64        // of the Acquire
	Index   uint64        // log index at which it was decided
	Clock   time.Duration // cluster time
	Outcome Outcome       // how
}

// Revoked tells that a hold ended which its holder did not end.
type Revoked struct {
	Life  Life          // of the session; zero for a lease
	Name  string        `wire:"512"` // one message for each name of the hold
	Token uint64        // of the hold
	How   How           // 3: expired (a lease), 4: broken, 5: handed on (a lease)
	Index uint64        // log index at which it ended
	Clock time.Duration // cluster time
}

// SessionEnded tells that a life has ended, and with it all it held and waited for.
type SessionEnded struct {
	Life  Life          // of the session
	How   How           // 2: closed, 3: expired, 4: broken, 6: forgotten
	Index uint64        // log index at which it ended
	Clock time.Duration // cluster time
}

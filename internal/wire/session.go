package wire

import (
	"encoding/hex"
	"time"
)

// ID is 16 bytes: drawn at random for a session or a lease, the name of a cluster or of an incarnation.
type ID [16]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Life names one life of a session.
type Life struct {
	ID    ID     // drawn by the client
	Index uint64 // of the log entry that opened it
}

// TraceContext is nil, or 25 bytes of W3C trace context: trace id (16), span id (8), flags (1).
type TraceContext []byte

// Open opens a session. Opening an id that lives tells the index of its life and renews nothing.
type Open struct {
	ID       uint64        // of the request
	Trace    TraceContext  // of the caller
	Session  ID            // drawn at random by the client, for this life only
	TTL      time.Duration // how long the session lives without a KeepAlive
	Grace    time.Duration // end it this long after its connection closed; 0: only the TTL counts
	Metadata []byte        `wire:"4096"` // who the client is; see Metadata
}

// Close ends a session and all it holds. It may be repeated.
type Close struct {
	ID    uint64       // of the request
	Trace TraceContext // of the caller
	Life  Life         // the session's
}

// KeepAlive renews a session. It is no request: the number takes the place of an id.
type KeepAlive struct {
	Life   Life          // the session's
	Number uint64        // rises with every KeepAlive of the life, over all connections
	Age    time.Duration // how long ago the sender had it ready, never more than it is true; 0 is always right
}

// Verdict is what became of a KeepAlive.
type Verdict uint8

// The verdicts.
const (
	Renewed    Verdict = 1 // the session has its TTL again, from when the leader received this KeepAlive
	NotRenewed Verdict = 2 // it has not, and will probably expire; this is no proof that it has ended
	Ended      Verdict = 3 // there is no such life (any more)
)

// KeepAliveAnswer answers the KeepAlive it names. A later KeepAlive that it overtook is not answered by it.
type KeepAliveAnswer struct {
	Life    Life          // the session's
	Number  uint64        // of the KeepAlive that was confirmed
	Verdict Verdict       // 1: renewed, 2: not renewed, 3: ended
	Index   uint64        // read index of the round that confirmed it
	Clock   time.Duration // cluster time
}

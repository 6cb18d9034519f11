package wire

import "time"

// Forever as Acquire.Wait waits without limit.
const Forever time.Duration = 1<<63 - 1

// WindowMax is how far the seq of a request may be above acked.
const WindowMax = 1024

// Mode is how a lock is asked for.
type Mode uint8

// The modes. Exclusive and Shared make a read-write lock, Slot makes a lock of Limit slots.
const (
	Exclusive Mode = 1
	Shared    Mode = 2
	Slot      Mode = 3
)

// Request makes a command take effect once, however often it is sent and over whichever nodes.
type Request struct {
	Life  Life     // of the session
	Seq   uint64   // number of the command within the life, from 1; the same in every repeat
	Acked uint64   // the outcome of every seq up to here is known to the client
	Seen  []uint64 `wire:"64"` // waits whose outcome the client knows
}

// Acquire asks for a lock, or for several at once: all or nothing.
type Acquire struct {
	ID        uint64        // of the request
	Trace     TraceContext  // of the caller
	Request   Request       // makes it exactly-once
	Names     []string      `wire:"64,512"` // distinct names, at least one
	Mode      Mode          // 1: exclusive, 2: shared, 3: slot
	Limit     uint32        // of a slot lock: how many slots it has; else 0
	Wait      time.Duration // 0: try; 2^63-1: forever; else the longest wait, and the cluster ends it too
	Owner     uint64        // who inside the session asks: owners contend like strangers
	Reentrant bool          // if this owner holds the one name in this mode already, count up instead of refusing
	Delay     time.Duration // lock-delay: how long the name stays taken if the hold ends by expiry
	Lease     ID            // drawn by the client if the hold is to be a lease; else zero
	LeaseTTL  time.Duration // 0: the hold lives with the session; else it is a lease of this TTL
	Value     []byte        `wire:"65536"` // for whoever looks at the lock
	Metadata  []byte        `wire:"4096"`  // who holds it; see Metadata
}

// Release ends the hold with this token, or one level of a re-entered one.
type Release struct {
	ID      uint64       // of the request
	Trace   TraceContext // of the caller
	Request Request      // makes it exactly-once
	Name    string       `wire:"512"` // any of the names of the hold
	Token   uint64       // of the hold
}

// Cancel ends another request of the session, whatever became of it: a wait leaves its queues, a hold it made is released, and if it
// was never seen it will not run. The reply is the outcome of that request: Granted means that it was granted and is released now.
type Cancel struct {
	ID      uint64       // of the request
	Trace   TraceContext // of the caller
	Request Request      // makes it exactly-once
	Target  uint64       // seq of the Acquire
	Name    string       `wire:"512"` // a name that it asked for
}

// SetValue replaces the value of a hold: the leader of an election proclaims with it.
type SetValue struct {
	ID      uint64       // of the request
	Trace   TraceContext // of the caller
	Request Request      // makes it exactly-once
	Name    string       `wire:"512"` // any of the names of the hold
	Token   uint64       // of the hold
	Lease   ID           // if the hold is a lease: its id; else zero
	Value   []byte       `wire:"65536"` // the new value
}

// RenewLease moves the end of a lease to the TTL from now, never back. It needs no session and may be repeated.
type RenewLease struct {
	ID    uint64        // of the request
	Trace TraceContext  // of the caller
	Name  string        `wire:"512"` // any of the names of the lease
	Lease ID            // its id
	Token uint64        // its token
	TTL   time.Duration // how long it is to last from now
}

// ReleaseLease ends a lease. It needs no session and may be repeated: the second answer is Gone.
type ReleaseLease struct {
	ID    uint64       // of the request
	Trace TraceContext // of the caller
	Name  string       `wire:"512"` // any of the names of the lease
	Lease ID           // its id
	Token uint64       // its token
}

// TakeLease hands a lease on to whoever sends it: a grant, with a new id and a new token. It needs no session and may be repeated.
type TakeLease struct {
	ID       uint64        // of the request
	Trace    TraceContext  // of the caller
	Name     string        `wire:"512"` // any of the names of the lease
	Lease    ID            // its id before
	Token    uint64        // its token before
	NewLease ID            // its id from now on, drawn by the sender
	TTL      time.Duration // how long it is to last from now
	Metadata []byte        `wire:"4096"` // who holds it; see Metadata
}

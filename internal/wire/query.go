package wire

import "time"

// Limits of what is read in one piece.
const (
	TokensMax = 1000 // tokens of one CheckTokens
	MostMax   = 1000 // entries of one reply
)

// CheckTokens asks what tokens are worth, always linearizably.
type CheckTokens struct {
	ID     uint64       // of the request
	Trace  TraceContext // of the caller
	Tokens []Token      `wire:"1000"` // what to check, all at one moment
}

// Token is a token and the name it was granted for.
type Token struct {
	Name  string `wire:"512"` // of the lock
	Token uint64 // its token
}

// Validity says what a token is worth.
type Validity uint8

// What a token may be worth.
const (
	Valid Validity = 1 // a living holder has it
	Stale Validity = 2 // others hold the lock
	Free  Validity = 3 // nobody holds the lock
)

// Check is the answer about one token.
type Check struct {
	Validity Validity // 1: valid, a living holder has it; 2: stale, others hold the lock; 3: free, nobody holds it
	Newest   uint64   // newest token granted of the name, as far as it is known; 0 if there is no such lock
	Floor    uint64   // token of the last exclusive grant
}

// TokensReply answers CheckTokens.
type TokensReply struct {
	ID     uint64        // of the request
	Index  uint64        // read index
	Clock  time.Duration // cluster time
	Checks []Check       `wire:"1000"` // in the order of the request
}

// Get asks for one lock.
type Get struct {
	ID    uint64       // of the request
	Trace TraceContext // of the caller
	Stale bool         // true: as the node knows it, at once; false: linearizable
	Name  string       `wire:"512"` // of the lock
	Most  uint64       // how many holders, and how many waiters, to tell
}

// Holder is a hold as readers see it.
type Holder struct {
	Token    uint64        // of the hold
	Life     Life          // of the session; zero for a lease, and for nobody's hold
	Owner    uint64        // within the session
	Mode     Mode          // 1: exclusive, 2: shared, 3: slot
	Since    time.Duration // cluster time of the grant
	Levels   uint64        // how often it was entered
	Names    []string      `wire:"64,512"` // all it holds
	Lease    ID            // id of the lease, or zero. The token with it is what renews and releases the lease
	Until    time.Duration // cluster time at which the lease, or the lock-delay, ends; 0: with the session
	Ended    How           // not 0: it has ended, only its lock-delay keeps the lock taken
	Value    []byte        `wire:"65536"` // as it was set
	Metadata []byte        `wire:"4096"`  // as it was set
}

// Waiter is a wait as readers see it.
type Waiter struct {
	Life     Life          // of the session
	Seq      uint64        // of its Acquire
	Owner    uint64        // within the session
	Mode     Mode          // 1: exclusive, 2: shared, 3: slot
	Since    time.Duration // cluster time since which it waits
	Until    time.Duration // cluster time until which it waits; 2^63-1: forever
	Names    []string      `wire:"64,512"` // all it waits for
	Value    []byte        `wire:"65536"`  // as it will be set
	Metadata []byte        `wire:"4096"`   // as it was set
}

// Lock is a lock as readers see it.
type Lock struct {
	Name    string   `wire:"512"` // of the lock
	Limit   uint32   // its slots; 0: a read-write lock
	Held    uint64   // how many holds keep others out
	Queue   uint64   // how many wait
	Floor   uint64   // token of the last exclusive grant
	Newest  uint64   // newest token
	Last    Ending   // how the last hold that ended did so
	Holders []Holder `wire:"1000"` // the first of them, by token
	Waiters []Waiter `wire:"1000"` // the first of them, in their order
}

// LockReply answers Get. Holders and waiters that would not fit into a frame are left out; held and queue count them.
type LockReply struct {
	ID    uint64        // of the request
	Index uint64        // read index; of a stale read: what the node has applied
	Clock time.Duration // cluster time
	Age   time.Duration // of a stale read: the state may be this old
	Found bool          // false: nobody holds it, nobody waits for it, no lock-delay runs
	Lock  Lock          // empty if not found
}

// List asks for the locks whose names begin with a prefix, in the order of their names (by bytes).
type List struct {
	ID     uint64       // of the request
	Trace  TraceContext // of the caller
	Stale  bool         // true: as the node knows it, at once; false: linearizable
	Prefix string       `wire:"512"` // of the names; empty: all
	After  string       `wire:"512"` // begin behind this name: the last one of the reply before
	Most   uint64       // how many to tell
}

// Summary is one line of a list.
type Summary struct {
	Name   string `wire:"512"` // of the lock
	Limit  uint32 // its slots; 0: a read-write lock
	Held   uint64 // how many holds keep others out
	Queue  uint64 // how many wait
	Newest uint64 // newest token
}

// ListReply answers List.
type ListReply struct {
	ID    uint64        // of the request
	Index uint64        // read index; of a stale read: what the node has applied
	Clock time.Duration // cluster time
	Age   time.Duration // of a stale read: the state may be this old
	More  bool          // there are more behind the last one
	Locks []Summary     `wire:"1000"` // in the order of their names
}

// GetSession asks for one session.
type GetSession struct {
	ID    uint64       // of the request
	Trace TraceContext // of the caller
	Stale bool         // true: as the node knows it, at once; false: linearizable
	Life  Life         // which one; with index 0: the living one with this id
}

// ListSessions asks for the living sessions, in the order in which they were opened.
type ListSessions struct {
	ID    uint64       // of the request
	Trace TraceContext // of the caller
	Stale bool         // true: as the node knows it, at once; false: linearizable
	After uint64       // begin behind the life of this index: the last one of the reply before
	Most  uint64       // how many to tell
}

// Session is a session as readers see it.
type Session struct {
	Life     Life          // its name
	TTL      time.Duration // as it was opened
	Grace    time.Duration // as it was opened
	Metadata []byte        `wire:"4096"` // as it was opened
}

// SessionReply answers GetSession, with one session or none, and ListSessions.
type SessionReply struct {
	ID       uint64        // of the request
	Index    uint64        // read index; of a stale read: what the node has applied
	Clock    time.Duration // cluster time
	Age      time.Duration // of a stale read: the state may be this old
	More     bool          // there are more behind the last one
	Sessions []Session     `wire:"1000"` // in the order in which they were opened
}

// Status asks a node how it is, by its own knowledge.
type Status struct {
	ID    uint64       // of the request
	Trace TraceContext // of the caller
}

// StatusReply answers Status.
type StatusReply struct {
	ID       uint64        // of the request
	Index    uint64        // what the node has applied
	Clock    time.Duration // cluster time
	Node     uint64        // its id
	Leader   uint64        // id of the leader, 0 if not known
	Term     uint64        // of Raft
	Commit   uint64        // what the node knows to be committed
	Locks    uint64        // how many there are
	Sessions uint64        // how many live
	Agent    string        `wire:"128"` // name and version of the program
}

package locktable

import (
	"time"

	"github.com/lockd/lockd/session"
)

// Command is one of the structs of this file: what one log entry asks of the Table.
type Command interface {
	kind() kind
	stamp() time.Duration
	appendTo(b []byte) []byte
}

// Header starts every command: the cluster time the leader stamped on it when it proposed it. Clients and followers leave
// it zero; the leader sets it in the bytes with [SetStamp].
type Header struct {
	Stamp time.Duration
}

// Request starts every command of a session. It makes the command exactly-once.
type Request struct {
	Session session.Life // the life the request belongs to
	Seq     uint64       // number of this request within the life, from 1
	Acked   uint64       // every seq at or below it has been answered to the client
	Seen    []uint64     // waits whose outcome the client knows, so that their records can go; at most SeenMax
}

// Mode is how a lock is asked for. Exclusive and Shared make a read-write lock, Slot makes a lock of Limit slots.
type Mode uint8

// The modes.
const (
	Exclusive Mode = 1
	Shared    Mode = 2
	Slot      Mode = 3
)

// Forever as Acquire.Wait waits without limit.
const Forever time.Duration = 1<<63 - 1

// Open opens a session. Opening an id that lives answers with the index of its life and renews nothing.
type Open struct {
	Header
	ID       session.ID
	TTL      time.Duration // session.TTLMin to session.TTLMax
	Grace    time.Duration // release on disconnect after this time: 0 = off, else session.TTLMin to TTL
	Metadata []byte        // at most session.MetadataMax
}

// Close ends a session at its client's wish. It needs no seq: closing a dead life answers SessionUnknown.
type Close struct {
	Header
	Session session.Life
}

// Expire ends sessions whose time ran out. The leader's Keeper decides it; it is ignored if Term is not the term of its
// entry. Lives that are unknown are skipped.
type Expire struct {
	Header
	Term  uint64
	Lives []session.Life // at most ExpireMax
}

// Tick moves the cluster clock and goes on with what is left over: due deadlines, records of dead sessions, grants. It is
// ignored if Term is not the term of its entry.
type Tick struct {
	Header
	Term uint64
}

// Incarnate begins an incarnation of the cluster: at its birth, after a restore, after a recovery. Every session there is
// ends, leases stay, tokens start from Seed (or 2^42 above the old counter, whichever is higher), and nothing is granted for
// Wait, or for the longest TTL among the sessions and at least a minute if Wait is negative. The first incarnation of an
// empty table waits for nothing. A repeat of the incarnation there is changes nothing.
type Incarnate struct {
	Header
	Incarnation [16]byte // not zero
	Seed        uint64   // from TokenSeed, at most SeedMax
	Wait        time.Duration
}

// Acquire asks for one lock or for several at once, all or nothing.
type Acquire struct {
	Header
	Request
	Names     []string // 1 to NamesMax distinct names
	Mode      Mode
	Limit     uint32        // of a Slot lock, 1 to SlotsMax; else 0
	Wait      time.Duration // 0 = try, Forever, or the limit of the wait (at most WaitMax)
	Owner     uint64        // who inside the session asks; owners contend like strangers
	Reentrant bool          // if the owner holds the one name in this mode already, count up instead of refusing
	Delay     time.Duration // lock-delay, 0 to DelayMax
	LeaseID   session.ID    // drawn by the client, if the hold is to be a lease
	LeaseTTL  time.Duration // 0 = the hold lives with the session; else a lease, LeaseMin to LeaseMax
	Value     []byte        // at most ValueMax
	Metadata  []byte        // at most session.MetadataMax
}

// Release ends the hold with this token, or one level of a re-entered one. Name is any of its names.
type Release struct {
	Header
	Request
	Name  string
	Token uint64
}

// Cancel ends the request Target of the same session, whatever became of it: a wait leaves its queues, a hold that Target made
// is released, and a Target never seen will not run. The reply is Target's outcome: Granted means it was granted and its hold is
// ended now. Name is a name that Target asked for.
type Cancel struct {
	Header
	Request
	Target uint64
	Name   string
}

// SetValue replaces the value of a hold: an election's leader proclaims with it. A lease is named by its id also.
type SetValue struct {
	Header
	Request
	Name    string
	Token   uint64
	LeaseID session.ID
	Value   []byte
}

// RenewLease moves the deadline of a lease to now + TTL, never back. It needs no session and may be repeated.
type RenewLease struct {
	Header
	Name  string
	ID    session.ID
	Token uint64
	TTL   time.Duration
}

// ReleaseLease ends a lease. It needs no session and may be repeated: the second answer is Gone.
type ReleaseLease struct {
	Header
	Name  string
	ID    session.ID
	Token uint64
}

// TakeLease hands a lease on to whoever draws NewID: a grant with a new token. It needs no session and may be repeated.
type TakeLease struct {
	Header
	Name     string
	ID       session.ID
	Token    uint64
	NewID    session.ID
	TTL      time.Duration
	Metadata []byte
}

package client

import (
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// Mode is how a lock is held or asked for.
type Mode uint8

// The modes.
const (
	ModeExclusive Mode = 1
	ModeShared    Mode = 2
	ModeSlot      Mode = 3
)

// String returns the mode in a word.
func (m Mode) String() string {
	switch m {
	case ModeExclusive:
		return "exclusive"
	case ModeShared:
		return "shared"
	case ModeSlot:
		return "slot"
	default:
		return "?"
	}
}

// How tells how a hold ended.
type How uint8

// How a hold ended.
const (
	HowUnknown   How = 0 // no hold before this one is known
	HowReleased  How = 1 // by its holder
	HowClosed    How = 2 // its session was closed
	HowExpired   How = 3 // its session's or its lease's time ran out
	HowBroken    How = 4 // by an operator
	HowHandedOn  How = 5 // a lease taken over
	HowForgotten How = 6 // the cluster was restored from a snapshot, and forgot its sessions
)

// Validity is what a token is worth.
type Validity uint8

// What a token is worth.
const (
	TokenValid Validity = 1 // a living holder has it
	TokenStale Validity = 2 // others hold the lock
	TokenFree  Validity = 3 // nobody holds the lock
)

// NamedToken is a token and the name it was granted for.
type NamedToken struct {
	Name  string
	Token uint64
}

// Check is what the cluster says of a token.
type Check struct {
	Validity Validity
	Newest   uint64 // newest token of the name, 0 if it has none
	Floor    uint64 // token of the last exclusive grant
}

// Person says who holds a lock, waits for it, or has a session, in its own words.
type Person struct {
	Identity string
	Host     string
	PID      int
}

// Holder is a hold, as the cluster knows it.
type Holder struct {
	Person
	Token    uint64
	Session  SessionID // zero for a lease
	Owner    uint64    // within the session
	Mode     Mode
	Since    time.Duration // how long it has held
	Levels   int           // how often it was entered
	Names    []string      // all that this hold holds
	Lease    LeaseID       // zero: it lives with the session
	Left     time.Duration // until the lease or the lock-delay ends; 0: neither
	Ended    How           // not HowUnknown: it has ended, only its lock-delay keeps the lock taken
	Value    []byte
	Metadata []byte // as it was sent
}

// Waiter is a wait, as the cluster knows it.
type Waiter struct {
	Person
	Session  SessionID
	Owner    uint64
	Mode     Mode
	Since    time.Duration // how long it has waited
	Left     time.Duration // until it gives up; 0: it waits forever
	Names    []string      // all that it waits for
	Value    []byte
	Metadata []byte
}

// LockInfo is a lock, as the cluster knows it.
type LockInfo struct {
	Name    string
	Slots   int // 0: a read-write lock
	Held    int // how many holds keep others out
	Waiting int
	Floor   uint64 // token of the last exclusive grant
	Newest  uint64 // newest token
	Last    Previous
	Holders []Holder      // the first of them, by token
	Waiters []Waiter      // the first of them, in their order
	Index   uint64        // of the log, as of which this is told
	Age     time.Duration // of a stale read: it may be this old
}

// Summary is a lock in a list.
type Summary struct {
	Name    string
	Slots   int // 0: a read-write lock
	Held    int
	Waiting int
	Newest  uint64 // newest token
}

// SessionInfo is a session, as the cluster knows it.
type SessionInfo struct {
	Person
	ID       SessionID
	Index    uint64 // of the log, where it was opened
	TTL      time.Duration
	Grace    time.Duration
	Metadata []byte
}

// Node is a node of the cluster.
type Node struct {
	ID      uint64
	Name    string
	Address string // of its client port
	Voter   bool
	Leader  bool
}

// Status is what a node says of itself.
type Status struct {
	Node     uint64
	Name     string // "" if the node does not list itself
	Agent    string // its program and version
	Leader   uint64 // 0: it knows none
	Term     uint64
	Commit   uint64
	Applied  uint64
	Locks    uint64
	Sessions uint64
	Clock    time.Duration // cluster time
}

// String returns how it ended, in words.
func (h How) String() string {
	switch h {
	case HowUnknown:
		return "unknown"
	case HowReleased:
		return "released"
	case HowClosed:
		return "closed"
	case HowExpired:
		return "expired"
	case HowBroken:
		return "broken"
	case HowHandedOn:
		return "handed on"
	case HowForgotten:
		return "forgotten"
	default:
		return "?"
	}
}

// String returns what the token is worth, in a word.
func (v Validity) String() string {
	switch v {
	case TokenValid:
		return "valid"
	case TokenStale:
		return "stale"
	case TokenFree:
		return "free"
	default:
		return "?"
	}
}

// person reads the usual form of metadata. Another form, which is allowed, says nothing here.
func person(metadata []byte) Person {
	m, err := wire.DecodeMetadata(metadata)
	if err != nil {
		return Person{}
	}
	return Person{Identity: m.Identity, Host: m.Host, PID: int(m.PID)}
}

func lockInfo(r *wire.LockReply) LockInfo {
	l := &r.Lock
	info := LockInfo{
		Name: l.Name, Slots: int(l.Limit), Held: int(l.Held), Waiting: int(l.Queue), Floor: l.Floor, Newest: l.Newest,
		Last: Previous{How: How(l.Last.How), Token: l.Last.Token}, Index: r.Index, Age: r.Age,
	}
	for _, h := range l.Holders {
		holder := Holder{
			Person: person(h.Metadata), Token: h.Token, Session: SessionID(h.Life.ID), Owner: h.Owner, Mode: Mode(h.Mode),
			Since: max(r.Clock-h.Since, 0), Levels: int(h.Levels), Names: h.Names, Lease: LeaseID(h.Lease), Ended: How(h.Ended),
			Value: h.Value, Metadata: h.Metadata,
		}
		if h.Until != 0 {
			holder.Left = max(h.Until-r.Clock, 0)
		}
		info.Holders = append(info.Holders, holder)
	}
	for _, w := range l.Waiters {
		waiter := Waiter{
			Person: person(w.Metadata), Session: SessionID(w.Life.ID), Owner: w.Owner, Mode: Mode(w.Mode), Since: max(r.Clock-w.Since, 0),
			Names: w.Names, Value: w.Value, Metadata: w.Metadata,
		}
		if w.Until != wire.Forever {
			waiter.Left = max(w.Until-r.Clock, 0)
		}
		info.Waiters = append(info.Waiters, waiter)
	}
	return info
}

func sessionInfo(s *wire.Session) SessionInfo {
	return SessionInfo{
		Person: person(s.Metadata), ID: SessionID(s.Life.ID), Index: s.Life.Index, TTL: s.TTL, Grace: s.Grace, Metadata: s.Metadata,
	}
}

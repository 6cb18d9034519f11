package raft

import "time"

// Output is what a Core's owner has to do. Parts that are empty need nothing.
type Output struct {
	// Send may leave at once, in any order with the writes.
	Send []Message
	// Writes go to the Storage in order; when they are durable, their Then messages may leave and Core.Persisted is
	// due. A Write may be empty but for Then: it stands in line all the same.
	Writes []Write
	// Install, if its Index is not zero, names the snapshot that the state machine must now take over, before the
	// Writes of this and all later Outputs are done.
	Install Mark
	// Commit is the index up to which entries are committed.
	Commit Index
	// Reads are the answers to Core.Read.
	Reads []ReadDone
	// Fetches are entries that left memory and are needed again, to be given back by Core.Fetched.
	Fetches []Fetch
	// Snapshots are peers that need a snapshot; its end is to be told by Core.SnapshotSent.
	Snapshots []SnapshotOrder
	// Fatal says that the node must stop and why.
	Fatal error

	then []Message
}

// ReadDone answers a read: once state is applied up to Index, it holds all that was committed when the read began. An
// Err says that the read must be asked again.
type ReadDone struct {
	Read  uint64
	Index Index
	Err   error
}

// Fetch asks for entries Lo to Hi, or the first of them up to about MaxBytes, from the Storage.
type Fetch struct {
	Peer     PeerID
	Term     Term
	Lo, Hi   Index
	MaxBytes int
}

// SnapshotOrder asks for a snapshot at or after the log's base to be streamed to a peer.
type SnapshotOrder struct {
	To      PeerID
	Term    Term
	Session Index
}

// Output returns what is to be done since the last call, and forgets it.
func (c *Core) Output() Output {
	c.role.flush(c)
	out := &c.out
	switch late := c.confirmed < c.seq; {
	case c.hardNew || c.log.pending() || out.Install.Index > 0 || len(out.then) > 0 && late && !c.diskStalled():
		c.seq++
		w := Write{Seq: c.seq, Then: out.then}
		if c.hardNew {
			w.Hard, c.hardNew, c.hardSeq = c.hard, false, c.seq
		}
		if c.log.reset {
			w.Reset = Mark{Position: c.log.base, Config: c.configs[0]}
		}
		c.log.write(&w, c.now)
		out.Writes = append(out.Writes, w)
	case !late:
		out.Send = append(out.Send, out.then...) // nothing is on its way to the disk
	default:
		// The disk stands still. The peers ask on, and the answers would gather for as long as it does: they are lost.
	}
	out.then = nil
	out.Commit = c.commit
	done := *out
	c.out = Output{}
	return done
}

// nextSeq is the number that the next Write will have.
func (c *Core) nextSeq() uint64 { return c.seq + 1 }

// Role is what a node is in its term.
type Role uint8

// The roles. A pre-candidate asks whether it could win an election; it has not changed its term.
const (
	Follower Role = iota + 1
	PreCandidate
	Candidate
	Leader
)

func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case PreCandidate:
		return "pre-candidate"
	case Candidate:
		return "candidate"
	case Leader:
		return "leader"
	}
	return "none"
}

// Status describes a Core at one moment.
type Status struct {
	// Now is the Core's clock when it was last told the time.
	Now    time.Duration
	ID     PeerID
	Role   Role
	Term   Term
	Leader PeerID // zero if unknown
	Base   Position
	Last   Position
	Stable Index
	Commit Index
	Config Config
	// Stateless says that the state machine waits for a snapshot.
	Stateless bool
	// Ready says, on a leader, that its own first entry is committed.
	Ready bool
	// Transfer is the peer that a leader is handing over to, if any.
	Transfer PeerID
	// Peers is what a leader knows of the others.
	Peers []PeerStatus
	// Elections is what led to elections, as far as this node took part in it.
	Elections Elections
}

// PeerStatus is what a leader knows of a peer.
type PeerStatus struct {
	ID    PeerID
	Match Index
	Next  Index
	State string // probing, replicating or snapshot
	// Heard is when the last message of the peer came, on the clock of Status.Now.
	Heard time.Duration
}

// Status returns the Core's state. It allocates; to watch for changes, compare Standing.
func (c *Core) Status() Status {
	s := Status{
		Now: c.now,
		ID:  c.opt.ID, Term: c.hard.Term, Base: c.log.base, Last: c.log.lastPosition(), Stable: c.log.stable(),
		Commit: c.commit, Config: c.config(), Stateless: c.stateless, Elections: c.elections,
	}
	s.Role, s.Leader = c.standing()
	if l, ok := c.role.(*leader); ok {
		s.Ready = c.commit >= l.first
		s.Transfer = l.transfer.to
		for _, p := range l.peers {
			s.Peers = append(s.Peers, PeerStatus{p.id, p.match, p.next, p.state.String(), p.heard})
		}
	}
	return s
}

func (c *Core) standing() (Role, PeerID) {
	switch r := c.role.(type) {
	case *follower:
		return Follower, r.leader
	case *candidate:
		if r.pre {
			return PreCandidate, PeerID{}
		}
		return Candidate, PeerID{}
	case *leader:
		return Leader, c.opt.ID
	}
	return 0, PeerID{}
}

// Standing is what changes in a node's life, small enough to compare after each turn.
type Standing struct {
	Role   Role
	Term   Term
	Leader PeerID
	Config Index // of the configuration in force
}

// Standing returns the Core's role, term, leader and configuration.
func (c *Core) Standing() Standing {
	s := Standing{Term: c.hard.Term, Config: c.config().Index}
	s.Role, s.Leader = c.standing()
	return s
}

// Config returns the configuration in force.
func (c *Core) Config() Config { return c.config() }

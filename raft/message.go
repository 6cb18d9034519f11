package raft

// Message is what one core says to another. Transports may drop, duplicate, delay and reorder messages; they must not
// change them, forge From, or carry them between clusters.
type Message struct {
	From, To PeerID
	// Term is the sender's term; in a PreVote, and in the grant of one, the term of the election being asked about.
	Term Term
	Body Body
}

// Body is one of the message types of this file: a closed set.
type Body interface{ body() }

// Append asks a follower to hold Entries after Prev (AppendEntries, Raft section 5.3).
type Append struct {
	// Session names the leader's knowledge of this peer: the configuration that added it. Answers of another session
	// say nothing about the peer's log.
	Session Index
	Prev    Position
	Entries []Entry
	Commit  Index
}

// AppendReply answers an Append, a finished snapshot, or anything of a leader whose term is over.
type AppendReply struct {
	Session Index
	// OK: everything up to Match is the leader's log and is durable here.
	OK    bool
	Match Index
	// Otherwise: the log does not hold Prev, and Hint is the last position that may agree with the leader's log.
	Prev Index
	Hint Position
	// Stateless says that the node's state machine lost its state and waits for a snapshot.
	Stateless bool
}

// Heartbeat keeps followers from standing for election. Round zero wants no answer.
type Heartbeat struct {
	// Commit never exceeds what this peer has acknowledged in this session.
	Commit Index
	// Round numbers the leader's quorum rounds; it only rises within a term.
	Round uint64
}

// HeartbeatReply acknowledges a round. It says nothing about the log.
type HeartbeatReply struct {
	Round uint64
	// Stateless as in AppendReply: a leader with nothing to append learns it here.
	Stateless bool
}

// Vote asks for a vote; with Pre only whether it would be given (thesis, section 9.6).
type Vote struct {
	Pre bool
	// Round numbers the sender's attempts, so that an answer to an earlier one is not taken for this one's.
	Round uint64
	Last  Position
	// Transfer says that the leader itself asked for this election.
	Transfer bool
}

// VoteReply answers the Vote of the same Round.
type VoteReply struct {
	Pre     bool
	Round   uint64
	Granted bool
}

// Install tells a follower that a snapshot at Mark has been received whole and lies ready. The driver of the receiving
// node makes it from a finished stream; it never crosses the wire by itself.
type Install struct {
	Session Index
	Mark    Mark
}

// TimeoutNow asks a follower to stand for election at once (leadership transfer, thesis section 3.10).
type TimeoutNow struct{}

// ReadIndex asks the leader for a read index (thesis, section 6.4). Reads are numbered by the asking node.
type ReadIndex struct{ Read uint64 }

// ReadIndexReply answers a ReadIndex: state applied up to Index holds everything that was committed when the question
// arrived. OK is false when the asked node is no leader or may not answer yet.
type ReadIndexReply struct {
	Read  uint64
	OK    bool
	Index Index
}

func (Append) body()         {}
func (AppendReply) body()    {}
func (Heartbeat) body()      {}
func (HeartbeatReply) body() {}
func (Vote) body()           {}
func (VoteReply) body()      {}
func (Install) body()        {}
func (TimeoutNow) body()     {}
func (ReadIndex) body()      {}
func (ReadIndexReply) body() {}

// Urgent reports whether m should overtake Appends in a transport's queue: everything but log traffic, which is large,
// and may be dropped first.
func (m Message) Urgent() bool {
	switch m.Body.(type) {
	case Append, AppendReply:
		return false
	}
	return true
}

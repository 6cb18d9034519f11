package raft

// Cause is why a node stands for election.
type Cause uint8

// Causes of an election. Silence, a lost connection and a suspicion are hints: they make a follower stand before the election timeout
// has passed.
const (
	CauseTimeout    Cause = iota // no leader was heard for the election timeout, or there was none
	CauseSilence                 // the leader was not heard for some heartbeats
	CauseConnection              // the connection to the leader's process ended or was refused: Handler.Hint
	CauseSuspicion               // whoever watches processes holds the leader's for gone: Node.Suspect
	CauseTransfer                // the leader has asked for it
	Causes                       // how many there are
)

// String returns "timeout", "silence", "connection", "suspicion" or "transfer".
func (c Cause) String() string {
	switch c {
	case CauseSilence:
		return "silence"
	case CauseConnection:
		return "connection"
	case CauseSuspicion:
		return "suspicion"
	case CauseTransfer:
		return "transfer"
	default:
		return "timeout"
	}
}

// IsHint reports whether an election of this cause comes before the election timeout has passed.
func (c Cause) IsHint() bool { return c == CauseSilence || c == CauseConnection || c == CauseSuspicion }

// again is the cause of the attempt that follows one: a transfer skips the question to the others once.
func (c Cause) again() Cause {
	if c == CauseTransfer {
		return CauseTimeout
	}
	return c
}

// Elections counts, since the node's start, what led to elections.
type Elections struct {
	Hints      [Causes]uint64 // that brought an election forward, unless the leader was heard again in time
	Campaigns  [Causes]uint64 // times that the node asked the others for their votes
	Won        [Causes]uint64 // elections that it won
	EarlyVotes uint64         // promises of a vote to others that it gave because of a hint alone
}

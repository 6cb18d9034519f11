package raft

import (
	"errors"
	"fmt"
)

// Errors of proposals, reads and changes. All of them mean that nothing was changed, but for ErrUnknown.
var (
	// ErrBusy: the leader holds as much that is not committed as Options.MaxUncommittedBytes allows.
	ErrBusy = errors.New("raft: too much is waiting to be committed")
	// ErrTransferring: the leader is handing over; the next leader will answer in a moment.
	ErrTransferring = errors.New("raft: leadership is being transferred")
	// ErrTermOver: the proposal named a term in which this node does not lead now.
	ErrTermOver = errors.New("raft: the term the proposal was decided in is over")
	// ErrNoState: the leader's state machine waits for a snapshot; it will hand over.
	ErrNoState = errors.New("raft: the leader has no state yet")
	// ErrTooLarge: the data exceeds MaxDataBytes.
	ErrTooLarge = fmt.Errorf("raft: data exceeds %d bytes", MaxDataBytes)
	// ErrConfigChanged: the configuration is another one than the change was made for.
	ErrConfigChanged = errors.New("raft: the configuration has changed")
	// ErrConfigPending: an earlier change, or the leader's first entry, is not committed yet.
	ErrConfigPending = errors.New("raft: a configuration change is under way")
	// ErrNotCaughtUp: a new voter must first be a learner that holds the leader's log.
	ErrNotCaughtUp = errors.New("raft: a new voter must have caught up as a learner")
	// ErrBadTarget: leadership cannot go to that peer.
	ErrBadTarget = errors.New("raft: leadership can only go to another voter")
	// ErrUnknown: the outcome is unknown. The entry may be, or become, committed, or it may be lost.
	ErrUnknown = errors.New("raft: outcome unknown")
	// ErrClosed: the node has been closed.
	ErrClosed = errors.New("raft: node is closed")
	// ErrLogLost: the disk no longer holds what this node has acknowledged; it must not vote or acknowledge again.
	ErrLogLost = errors.New("raft: acknowledged entries are missing from the log")
	// ErrInconsistent: a leader, or the log, asks for what no correct peer can: this node or that one is damaged.
	ErrInconsistent = errors.New("raft: inconsistent log")
)

// NotLeaderError says that a node other than the one asked leads the cluster, or that none does.
type NotLeaderError struct {
	// Leader is zero when no leader is known.
	Leader PeerID
}

func (e *NotLeaderError) Error() string {
	if e.Leader.IsZero() {
		return "raft: not the leader; no leader is known"
	}
	return fmt.Sprintf("raft: not the leader; the leader is %v", e.Leader)
}

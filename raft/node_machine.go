package raft

import "io"

// StateMachine is what the log drives. Apply, and Commit of its Installations, are called by one goroutine at a time;
// meanwhile others may call Mark, Snapshot and Restore. It must be deterministic: the same entries give the same state
// and results on every node.
type StateMachine interface {
	// Apply applies committed entries in order; each exactly once in the life of the state. It may take long: that
	// delays results and reads, never elections. A panic here ends the process, as the state can no longer be trusted.
	Apply(b Batch)
	// Mark returns how far the state is durable without the log. At start that is the state the machine has; later it
	// bounds what of the log may be dropped. It must be cheap.
	Mark() Mark
	// Snapshot returns a consistent view of a state at or before the last applied entry, and no older than what Mark
	// has returned. Taking it must be cheap; reading it may go on while Apply is called.
	Snapshot() (Snapshot, error)
	// Restore reads a snapshot to io.EOF, without which it is not known to be whole, and makes it durable aside, while
	// the present state stays in use. An error leaves nothing behind.
	Restore(mark Mark, r io.Reader) (Installation, error)
}

// Batch is a run of committed entries for a StateMachine.
type Batch struct {
	// Entries is not empty and without a gap; entries that are no commands are among them, to be counted.
	Entries []Entry
	// Results has one element for each entry; the machine sets those that its proposers should get.
	Results []any
	// Config is the configuration in force after the last entry. A machine that is durable keeps it in its Mark.
	Config Config
}

// Snapshot is a state to be streamed to another node.
type Snapshot interface {
	io.ReadCloser
	Mark() Mark
}

// Installation is a state that lies ready beside the one in use.
type Installation interface {
	// Commit makes it the state, atomically and durably, with a Mark that says Installed.
	Commit() error
	// Discard removes it.
	Discard()
}

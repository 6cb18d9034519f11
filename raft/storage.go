package raft

import "errors"

// ErrDiskFull is wrapped by the error of a Storage.Write that found no room. The write has then left no trace, and the
// same writes may be tried again when there is room.
var ErrDiskFull = errors.New("raft: disk full")

// Storage keeps a node's log and hard state. Write, Compact and Close are called by one goroutine at a time; meanwhile
// others may call Read. The package raft/wal implements it; raft/rafttest has the suite of tests for implementations.
type Storage interface {
	// Load returns what the storage held when it was opened. It is called once, before anything else.
	Load() (State, error)
	// Write makes ws durable, in order, and returns when they are: it is all one may rely on after a crash, while a
	// crash before the return may leave any prefix of ws, a torn write counting as not written. An error that wraps
	// ErrDiskFull leaves things as they were; any other error is final.
	Write(ws []Write) error
	// Read returns entries from index lo on, in order, without a gap, at least one and no more than up to index hi
	// (inclusive) or about maxBytes. Only indices whose Write has returned are asked for. An index that has been
	// compacted gives an error that wraps ErrCompacted.
	Read(lo, hi Index, maxBytes int) ([]Entry, error)
	// Compact allows the storage to drop entries up to and including the index, and returns the position that now
	// precedes the first entry it still holds.
	Compact(upTo Index) (Position, error)
	// Close releases what the storage holds. It does not make anything durable.
	Close() error
}

// ErrCompacted is wrapped by the error of a Read below the first entry.
var ErrCompacted = errors.New("raft: log is compacted")

// State is what a Storage holds.
type State struct {
	Hard HardState
	// Base precedes the first entry, with the configuration in force there (the newest of the entries of KindConfig
	// that were compacted, or that of the last Reset), so that a log is of use without a state machine; zero for a log
	// that was never compacted. Installed is not kept.
	Base Mark
	// Last is the index of the last entry, Base.Index if there is none.
	Last Index
	// Runs gives the term of every entry after Base: each run begins where the term changes.
	Runs []TermRun
	// Configs holds the entries of KindConfig after Base, in order.
	Configs []Entry
}

// TermRun says that entries from First on, up to the next run, have Term.
type TermRun struct {
	First Index
	Term  Term
}

// Write is one step of a node's durable state. Its parts take effect in the order of the fields.
type Write struct {
	// Seq numbers the writes of a node's run without a gap.
	Seq uint64
	// Reset, if its Index is not zero, replaces the whole log by an empty one that begins after this mark: a snapshot
	// has been installed there.
	Reset Mark
	// Hard, if not zero, is the new hard state.
	Hard HardState
	// TruncateFrom, if not zero, removes the entries from this index on.
	TruncateFrom Index
	// Entries follow the last entry without a gap.
	Entries []Entry
	// Then may be sent once the write and all before it are durable. A Storage leaves it alone.
	Then []Message
}

// Empty reports whether there is nothing to make durable.
func (w Write) Empty() bool {
	return w.Reset.Index == 0 && w.Hard == HardState{} && w.TruncateFrom == 0 && len(w.Entries) == 0
}

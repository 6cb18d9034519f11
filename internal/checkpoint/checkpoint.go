package checkpoint

import (
	"errors"
	"fmt"
	"io"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// Limits of keys, values and sets. A set within them fits one transaction of badger with the memory tables of 8 MiB.
const (
	MaxKeyBytes   = 1 << 10
	MaxValueBytes = 512 << 10
	MaxMetaBytes  = 64 << 10
	// MaxSetRecords and MaxSetBytes bound a Set; its bytes are those of keys, values and head, and 16 for each record.
	MaxSetRecords = 12_000
	MaxSetBytes   = 1_200_000

	recordOverhead = 16
)

// MetaKey is the key under which the meta record counts in the hash of the state, as if it were a record. A state has
// nothing else of this name.
const MetaKey byte = 'm'

var (
	// ErrDamaged is wrapped by a DamagedError.
	ErrDamaged = errors.New("checkpoint: the state is damaged")
	// ErrVersion is wrapped by the error of Open for a state that another version of lockd has written. It stays as it is.
	ErrVersion = errors.New("checkpoint: unknown format version")
	// ErrTooLarge is wrapped by the error of a Flush that does not fit one transaction. Nothing was written.
	ErrTooLarge = errors.New("checkpoint: too large")
	// ErrOrder is wrapped by the error of a call that would take the state back or comes before Load. Nothing was written.
	ErrOrder = errors.New("checkpoint: out of order")
	// ErrInvalid is wrapped by the error of a Flush with a record or a head that cannot be stored. Nothing was written.
	ErrInvalid = errors.New("checkpoint: invalid")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("checkpoint: closed")
)

// DamagedError tells that what was found is no state that was ever written. The store is empty now.
type DamagedError struct {
	// Aside is where it lies, for whoever wants to look; it is removed when another state has taken its place.
	Aside string
	Err   error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%v: %v; put aside as %s. A node that has peers gets its state from the leader; a single node needs "+
		"its kept snapshot and the log after it, or a backup", ErrDamaged, e.Err, e.Aside)
}

// Unwrap returns ErrDamaged and the cause.
func (e *DamagedError) Unwrap() []error { return []error{ErrDamaged, e.Err} }

// Record is one record of the state. Its key is not empty, does not begin with a zero byte and is not MetaKey alone.
type Record struct {
	Key   []byte
	Value []byte // nil = the record is gone; only in a Set
}

// Head is what a state says of itself.
type Head struct {
	raft.Mark
	Meta  []byte       // the state's own counters and clock
	Hash  session.Hash // the sum over all records and the meta record, if there is one
	Count int          // of records, meta not counted
}

// Set is what changed from one entry to another. After Flush the store keeps none of its slices but the configuration, which is
// never changed.
type Set struct {
	Head    // at the later entry; Installed is of no account
	Records []Record
}

// State is a whole state.
type State interface {
	// Head returns what is durable; it is zero for no state at all. It is cheap. The caller must not change what it holds.
	Head() Head
	// Load calls add with every record in the order of the keys; add may keep nothing of it. It computes hash and count,
	// and what does not agree is a DamagedError, even after an error of add. Other errors leave everything as it is.
	Load(add func(Record) error) error
}

// Store keeps a State durable.
type Store interface {
	State
	// Flush makes a set durable. Sets come in the order of their entries. After an error that wraps ErrTooLarge, ErrOrder,
	// ErrInvalid or raft.ErrDiskFull nothing has changed; after any other the store is of no use: the process should end.
	Flush(s Set) error
	// Snapshot returns the durable state as a stream, without keeping Flush from going on. It may be read by one goroutine.
	Snapshot() (raft.Snapshot, error)
	// Restore reads a stream to its end and makes the state durable aside. The mark must be that of the stream. An error
	// leaves nothing behind.
	Restore(mark raft.Mark, r io.Reader) (Staged, error)
	// Close ends everything. It waits for calls that are under way.
	Close() error
}

// Staged is a state that lies ready beside the one of the Store. It must be loaded before it can be committed.
type Staged interface {
	State
	// Commit makes it the Store's state, atomically and durably, with Installed in its mark. What the Store had is removed
	// when nobody reads it any more. Without an error of ErrOrder, a failure is final for the Store.
	Commit() error
	// Discard removes it. It does nothing after Commit.
	Discard()
}

var (
	_ raft.Installation = Staged(nil)
	_ Store             = (*Disk)(nil)
	_ Store             = (*Memory)(nil)
)

// check reports what makes a set impossible to store after the state of before.
func (s *Set) check(before raft.Mark) error {
	if s.Index <= before.Index {
		return fmt.Errorf("%w: set of entry %d after one of entry %d", ErrOrder, s.Index, before.Index)
	}
	if err := s.Head.check(); err != nil {
		return err
	}
	size := len(s.encode(false)) + recordOverhead
	for _, r := range s.Records {
		if err := r.check(); err != nil {
			return fmt.Errorf("set of entry %d: %w", s.Index, err)
		}
		size += len(r.Key) + len(r.Value) + recordOverhead
	}
	if size > MaxSetBytes || len(s.Records) > MaxSetRecords {
		return fmt.Errorf("%w: the set of entry %d has %d records and %d bytes, more than %d or %d", ErrTooLarge, s.Index,
			len(s.Records), size, MaxSetRecords, MaxSetBytes)
	}
	return nil
}

func (r Record) check() error {
	switch n := len(r.Key); {
	case n == 0, n > MaxKeyBytes, r.Key[0] == headKey[0], n == 1 && r.Key[0] == MetaKey:
		return fmt.Errorf("%w: key %q", ErrInvalid, r.Key[:min(n, 64)])
	case len(r.Value) > MaxValueBytes:
		return fmt.Errorf("%w: record %q has a value of %d bytes, more than %d", ErrTooLarge, r.Key, len(r.Value), MaxValueBytes)
	}
	return nil
}

// tally computes the hash and the number of records.
type tally struct {
	hash    session.Hash
	count   int
	scratch []byte
}

func (t *tally) add(r Record) {
	t.scratch = append(append(t.scratch[:0], r.Key...), r.Value...)
	t.hash = t.hash.Plus(session.Digest(t.scratch))
	t.count++
}

// agree reports whether head tells of the records that were added.
func (t *tally) agree(head Head) error {
	hash := t.hash
	if len(head.Meta) > 0 {
		t.scratch = append(append(t.scratch[:0], MetaKey), head.Meta...)
		hash = hash.Plus(session.Digest(t.scratch))
	}
	if hash != head.Hash || t.count != head.Count {
		return fmt.Errorf("hash %s of %d records, not %s of %d", hash, t.count, head.Hash, head.Count)
	}
	return nil
}

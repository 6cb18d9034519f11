package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Kind tells what an entry carries.
type Kind uint8

// The kinds of entries. The numbers are part of the log format.
const (
	KindNoop    Kind = 1 // a new leader's first entry; no data
	KindCommand Kind = 2 // a command for the state machine
	KindConfig  Kind = 3 // a Config, in force from the moment it is in the log
)

func (k Kind) String() string {
	switch k {
	case KindNoop:
		return "noop"
	case KindCommand:
		return "command"
	case KindConfig:
		return "config"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

const (
	// EntryHeaderBytes is the size of an entry without its data.
	EntryHeaderBytes = 4 + 4 + 8 + 8 + 1 + 1
	// MaxDataBytes bounds the data of one entry.
	MaxDataBytes = 1 << 20

	entryVersion = 1
)

// Layout of an entry, little endian: length of the whole (4), CRC32C of all that follows (4), index (8), term (8),
// version (1), kind (1), data. The leader builds these bytes once; wire and log carry them untouched, so the sum
// protects an entry from the leader's memory to every disk.
const (
	entrySumAt     = 4
	entryIndexAt   = 8
	entryTermAt    = 16
	entryVersionAt = 24
	entryKindAt    = 25
)

// Entry is one entry of the log, in its encoded form. The bytes are shared and must not be changed. The zero Entry is
// no entry.
type Entry struct{ frame []byte }

var (
	// ErrBadEntry is wrapped by every error of ParseEntry.
	ErrBadEntry = errors.New("raft: bad entry")
	// ErrEntryVersion is wrapped too when the entry is whole, but of a version that this build does not know. The sum stands where it
	// is in all versions to come.
	ErrEntryVersion = errors.New("unknown version of an entry")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendEntry appends the encoded form of an entry to b and returns the extended slice. Data longer than MaxDataBytes
// is the caller's mistake.
func AppendEntry(b []byte, at Position, kind Kind, data []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(EntryHeaderBytes+len(data)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(at.Term))
	b = append(b, entryVersion, byte(kind))
	b = append(b, data...)
	frame := b[start:]
	binary.LittleEndian.PutUint32(frame[entrySumAt:], crc32.Checksum(frame[entryIndexAt:], castagnoli))
	return b
}

// NewEntry builds an entry in memory of its own.
func NewEntry(at Position, kind Kind, data []byte) Entry {
	return Entry{AppendEntry(make([]byte, 0, EntryHeaderBytes+len(data)), at, kind, data)}
}

// ParseEntry reads the entry at the beginning of b, checks its sum and returns what follows it. The entry keeps
// referring to b. The error wraps ErrBadEntry and says what is wrong.
func ParseEntry(b []byte) (e Entry, rest []byte, err error) {
	if len(b) < EntryHeaderBytes {
		return Entry{}, nil, fmt.Errorf("%w: %d bytes are less than a header of %d", ErrBadEntry, len(b), EntryHeaderBytes)
	}
	n := binary.LittleEndian.Uint32(b)
	if n < EntryHeaderBytes || n > EntryHeaderBytes+MaxDataBytes {
		return Entry{}, nil, fmt.Errorf("%w: length %d is outside %d to %d", ErrBadEntry, n, EntryHeaderBytes, EntryHeaderBytes+MaxDataBytes)
	}
	if uint64(n) > uint64(len(b)) {
		return Entry{}, nil, fmt.Errorf("%w: length %d exceeds the %d bytes present", ErrBadEntry, n, len(b))
	}
	frame := b[:n:n]
	sum := binary.LittleEndian.Uint32(frame[entrySumAt:])
	if got := crc32.Checksum(frame[entryIndexAt:], castagnoli); got != sum {
		return Entry{}, nil, fmt.Errorf("%w: checksum %08x, computed %08x", ErrBadEntry, sum, got)
	}
	if v := frame[entryVersionAt]; v != entryVersion {
		return Entry{}, nil, fmt.Errorf("%w: %w: version %d, this build knows %d", ErrBadEntry, ErrEntryVersion, v, entryVersion)
	}
	e = Entry{frame}
	if k := e.Kind(); k < KindNoop || k > KindConfig {
		return Entry{}, nil, fmt.Errorf("%w: unknown %v", ErrBadEntry, k)
	}
	if e.Index() == 0 || e.Term() == 0 {
		return Entry{}, nil, fmt.Errorf("%w: index %d, term %d", ErrBadEntry, e.Index(), e.Term())
	}
	return e, b[n:], nil
}

// Index returns the entry's place in the log.
func (e Entry) Index() Index { return Index(binary.LittleEndian.Uint64(e.frame[entryIndexAt:])) }

// Term returns the term of the leader that made the entry.
func (e Entry) Term() Term { return Term(binary.LittleEndian.Uint64(e.frame[entryTermAt:])) }

// Position returns index and term.
func (e Entry) Position() Position { return Position{e.Index(), e.Term()} }

// Kind returns what the entry carries.
func (e Entry) Kind() Kind { return Kind(e.frame[entryKindAt]) }

// Data returns the entry's data. It must not be changed.
func (e Entry) Data() []byte { return e.frame[EntryHeaderBytes:] }

// Bytes returns the encoded form, as wire and log carry it. It must not be changed.
func (e Entry) Bytes() []byte { return e.frame }

// Size returns the length of the encoded form.
func (e Entry) Size() int { return len(e.frame) }

func (e Entry) String() string {
	if e.frame == nil {
		return "none"
	}
	return fmt.Sprintf("%d/%d %v %q", e.Index(), e.Term(), e.Kind(), e.Data())
}

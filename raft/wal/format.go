package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/lockd/lockd/raft"
)

const (
	magic         = "lockdwal"
	formatVersion = 1

	segmentSuffix = ".wal"
	spareSuffix   = ".spare"
	retiredName   = "RETIRED"

	// A header takes whole pages, as a rule one.
	headerPage        = 4096
	headerBytesMax    = 32 * headerPage
	hardBytes         = 24
	markBytes         = 24 // without the configuration
	configBytesMax    = 96 << 10
	recordHeaderBytes = 24
	recordAlign       = 8
	// groupBytes is where a record of entries ends and the next one begins.
	groupBytes      = 64 << 10
	payloadBytesMax = groupBytes + raft.EntryHeaderBytes + raft.MaxDataBytes
	sealBytes       = recordHeaderBytes + 8
	// segmentBytesMax keeps offsets within a segment in 32 bits.
	segmentBytesMax = 1 << 31
	batchBytesMax   = segmentBytesMax - headerBytesMax - sealBytes
)

// Offsets in a segment's header.
const (
	headVersionAt  = 8
	headSumAt      = 12
	headLengthAt   = 16
	headClusterAt  = 24
	headNodeAt     = 40
	headLifeAt     = 48
	headNumberAt   = 56
	headBatchAt    = 64
	headHardAt     = 72
	headFlagsAt    = 96
	headMarkLenAt  = 104
	headMarkAt     = 108
	headFlagOrigin = 1
	headFlagProven = 2
)

// Offsets in a record's header.
const (
	recSumAt     = 4
	recBatchAt   = 8
	recKindAt    = 16
	recFlagsAt   = 17
	recHeadSumAt = 20
	recFlagLast  = 1
)

// The kinds of records.
const (
	kindHard     = 1
	kindTruncate = 2
	kindEntries  = 3
	kindSeal     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Identity says whose log it is. It is part of every segment.
type Identity struct {
	Cluster [16]byte
	Peer    raft.PeerID
}

func (id Identity) String() string { return fmt.Sprintf("node %v of cluster %x", id.Peer, id.Cluster) }

// header is the beginning of a segment.
type header struct {
	identity Identity
	number   uint64
	batch    uint64 // the last before this segment
	base     mark   // the last entry before this segment
	hard     raft.HardState
	origin   bool // older segments are void
	proven   bool // batch+1 was on disk before the segment had its name
}

var (
	errHeaderSum = errors.New("the segment's header has a wrong checksum")
	errNoMagic   = errors.New("not a segment of a log")
)

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func spareName(serial uint64) string { return fmt.Sprintf("%016x%s", serial, spareSuffix) }

// length returns the size of the encoded form, which is where the records begin.
func (h header) length() int64 {
	return int64((headMarkAt + markBytes + len(h.base.config.data) + headerPage - 1) / headerPage * headerPage)
}

func (h header) encode() []byte {
	b := make([]byte, h.length())
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint32(b[headVersionAt:], formatVersion)
	le.PutUint32(b[headLengthAt:], uint32(len(b)))
	copy(b[headClusterAt:], h.identity.Cluster[:])
	le.PutUint64(b[headNodeAt:], uint64(h.identity.Peer.Node))
	le.PutUint64(b[headLifeAt:], h.identity.Peer.Incarnation)
	le.PutUint64(b[headNumberAt:], h.number)
	le.PutUint64(b[headBatchAt:], h.batch)
	appendHard(b[:headHardAt], h.hard)
	var flags uint64
	if h.origin {
		flags |= headFlagOrigin
	}
	if h.proven {
		flags |= headFlagProven
	}
	le.PutUint64(b[headFlagsAt:], flags)
	le.PutUint32(b[headMarkLenAt:], uint32(markBytes+len(h.base.config.data)))
	appendMark(b[:headMarkAt], h.base)
	le.PutUint32(b[headSumAt:], headerSum(b))
	return b
}

// headerLength returns how long the header is whose first page is given.
func headerLength(b []byte) (int64, error) {
	n := int64(binary.LittleEndian.Uint32(b[headLengthAt:]))
	if n < headerPage || n > headerBytesMax || n%headerPage != 0 {
		return 0, errHeaderSum
	}
	return n, nil
}

// decodeHeader reads what encode wrote; b has the length that is written in it. Length and sum stand where they are in
// all versions to come, so an unknown version is no damage.
func decodeHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if headerSum(b) != le.Uint32(b[headSumAt:]) {
		return header{}, errHeaderSum
	}
	if string(b[:len(magic)]) != magic {
		return header{}, errNoMagic
	}
	if v := le.Uint32(b[headVersionAt:]); v != formatVersion {
		return header{}, fmt.Errorf("%w %d, this build knows %d", ErrVersion, v, formatVersion)
	}
	n := int64(le.Uint32(b[headMarkLenAt:]))
	if n < markBytes || n > int64(len(b)-headMarkAt) {
		return header{}, fmt.Errorf("a mark of %d bytes does not fit into the header", n)
	}
	flags := le.Uint64(b[headFlagsAt:])
	h := header{
		identity: Identity{Peer: raft.PeerID{Node: raft.NodeID(le.Uint64(b[headNodeAt:])), Incarnation: le.Uint64(b[headLifeAt:])}},
		number:   le.Uint64(b[headNumberAt:]),
		batch:    le.Uint64(b[headBatchAt:]),
		hard:     decodeHard(b[headHardAt:]),
		origin:   flags&headFlagOrigin != 0,
		proven:   flags&headFlagProven != 0,
		base:     decodeMark(b[headMarkAt : headMarkAt+n]),
	}
	copy(h.identity.Cluster[:], b[headClusterAt:])
	if h.length() != int64(len(b)) {
		return header{}, fmt.Errorf("the header has %d bytes, its parts %d", len(b), h.length())
	}
	return h, nil
}

func headerSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:headSumAt])
	return crc32.Update(sum, castagnoli, b[headSumAt+4:])
}

// seed is where the sums of a segment's records start.
func (h header) seed() uint32 {
	var b [40]byte
	copy(b[:], h.identity.Cluster[:])
	binary.LittleEndian.PutUint64(b[16:], uint64(h.identity.Peer.Node))
	binary.LittleEndian.PutUint64(b[24:], h.identity.Peer.Incarnation)
	binary.LittleEndian.PutUint64(b[32:], h.number)
	return crc32.Checksum(b[:], castagnoli)
}

func appendMark(b []byte, m mark) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Term))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.config.index))
	return append(b, m.config.data...)
}

// decodeMark reads what appendMark wrote; b has markBytes or more, and nothing else.
func decodeMark(b []byte) mark {
	le := binary.LittleEndian
	return mark{
		Position: raft.Position{Index: raft.Index(le.Uint64(b)), Term: raft.Term(le.Uint64(b[8:]))},
		config:   config{raft.Index(le.Uint64(b[16:])), bytes.Clone(b[markBytes:])},
	}
}

func appendHard(b []byte, h raft.HardState) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Term))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Vote.Node))
	return binary.LittleEndian.AppendUint64(b, h.Vote.Incarnation)
}

func decodeHard(b []byte) raft.HardState {
	le := binary.LittleEndian
	return raft.HardState{
		Term: raft.Term(le.Uint64(b)),
		Vote: raft.PeerID{Node: raft.NodeID(le.Uint64(b[8:])), Incarnation: le.Uint64(b[16:])},
	}
}

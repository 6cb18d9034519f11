package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/lockd/lockd/raft"
)

// keptBytesMax bounds the memory that a batch keeps for the next one.
const keptBytesMax = 4 << 20

// batch builds the records of one Write in memory that is used again and again.
type batch struct {
	buf []byte
	// offsets tells where each entry begins, counted from the first record.
	offsets []uint32
	record  int // where the last record begins in buf
}

func (b *batch) reset() {
	if cap(b.buf) > keptBytesMax {
		b.buf, b.offsets = nil, nil
	}
	b.buf, b.offsets = b.buf[:0], b.offsets[:0]
}

// encode appends the records of ws, whose resets have been dealt with, and moves t along. The sums are left open, as
// they depend on the segment.
func (b *batch) encode(ws []raft.Write, t *trail) error {
	for i := range ws {
		w := &ws[i]
		if w.Hard != (raft.HardState{}) {
			t.hard = w.Hard
			b.begin(kindHard)
			b.buf = appendHard(b.buf, t.hard)
			b.end()
		}
		if from := w.TruncateFrom; from != 0 && from != t.last+1 {
			if from <= t.base.Index || from > t.last {
				return fmt.Errorf("wal: truncation from %d is outside the log from %d to %d", from, t.base.Index+1, t.last)
			}
			t.truncate(from)
			b.begin(kindTruncate)
			b.buf = appendMark(b.buf, t.end())
			b.end()
		}
		if err := b.entries(w.Entries, t); err != nil {
			return err
		}
	}
	if len(b.buf) > batchBytesMax {
		return fmt.Errorf("wal: a batch of %d bytes is larger than %d", len(b.buf), batchBytesMax)
	}
	return nil
}

func (b *batch) entries(list []raft.Entry, t *trail) error {
	if len(list) == 0 {
		return nil
	}
	b.begin(kindEntries)
	for _, e := range list {
		if e.Size() == 0 || e.Size() > raft.EntryHeaderBytes+raft.MaxDataBytes {
			return errors.New("wal: an entry is empty or too large")
		}
		if err := t.append(e); err != nil {
			return fmt.Errorf("wal: %w", err)
		}
		if len(b.buf)-b.record >= recordHeaderBytes+groupBytes {
			b.end()
			b.begin(kindEntries)
		}
		b.offsets = append(b.offsets, uint32(len(b.buf)))
		b.buf = append(b.buf, e.Bytes()...)
	}
	b.end()
	return nil
}

func (b *batch) begin(kind byte) {
	b.record = len(b.buf)
	var head [recordHeaderBytes]byte
	head[recKindAt] = kind
	b.buf = append(b.buf, head[:]...)
}

func (b *batch) end() {
	binary.LittleEndian.PutUint32(b.buf[b.record:], uint32(len(b.buf)-b.record-recordHeaderBytes))
	for len(b.buf)%recordAlign != 0 {
		b.buf = append(b.buf, 0)
	}
}

// finish gives the records the number of their batch and their sums.
func (b *batch) finish(seed uint32, number uint64) {
	for rest := b.buf; len(rest) > 0; {
		size := align(recordHeaderBytes + int64(binary.LittleEndian.Uint32(rest)))
		finishRecord(rest[:size], seed, number, size == int64(len(rest)))
		rest = rest[size:]
	}
}

func finishRecord(rec []byte, seed uint32, number uint64, last bool) {
	le := binary.LittleEndian
	payload := rec[recordHeaderBytes : recordHeaderBytes+le.Uint32(rec)]
	le.PutUint32(rec[recSumAt:], crc32.Update(seed, castagnoli, payload))
	le.PutUint64(rec[recBatchAt:], number)
	if last {
		rec[recFlagsAt] = recFlagLast
	}
	le.PutUint32(rec[recHeadSumAt:], crc32.Update(seed, castagnoli, rec[:recHeadSumAt]))
}

// sealRecord says that the log goes on in another segment.
func sealRecord(seed uint32, number, next uint64) []byte {
	rec := make([]byte, sealBytes)
	binary.LittleEndian.PutUint32(rec, sealBytes-recordHeaderBytes)
	rec[recKindAt] = kindSeal
	binary.LittleEndian.PutUint64(rec[recordHeaderBytes:], next)
	finishRecord(rec, seed, number, true)
	return rec
}

func align(n int64) int64 { return (n + recordAlign - 1) &^ (recordAlign - 1) }

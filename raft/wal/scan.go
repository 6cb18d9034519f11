package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const windowBytes = 256 << 10

// record is a whole and sound record of a segment.
type record struct {
	at      int64 // where it begins
	batch   uint64
	kind    byte
	last    bool   // of its batch
	payload []byte // until the next call of the scanner
}

// scanner reads the records of a segment one after the other, in bounded memory.
type scanner struct {
	file io.ReaderAt
	seed uint32
	size int64
	at   int64 // of the next record

	buf   []byte // a part of the file
	bufAt int64  // where buf begins in it
}

func newScanner(s *segment) *scanner {
	return &scanner{file: s.file, seed: s.sums, size: s.size, at: s.length()}
}

// damage says why there is no record where one was looked for.
type damage string

func (d damage) Error() string { return string(d) }

// next returns the next record. The error is a damage, or an error of the disk.
func (s *scanner) next() (record, error) {
	if s.at+recordHeaderBytes > s.size {
		return record{}, damage("the segment ends")
	}
	head, err := s.window(s.at, recordHeaderBytes)
	if err != nil {
		return record{}, err
	}
	size, err := checkRecordHeader(head, s.seed)
	if err != nil {
		return record{}, err
	}
	if s.at+recordHeaderBytes+size > s.size {
		return record{}, damage("a record goes beyond the segment")
	}
	whole, err := s.window(s.at, recordHeaderBytes+size)
	if err != nil {
		return record{}, err
	}
	payload := whole[recordHeaderBytes:]
	if crc32.Update(s.seed, castagnoli, payload) != binary.LittleEndian.Uint32(whole[recSumAt:]) {
		return record{}, damage("a record has a wrong checksum")
	}
	r := record{
		at:      s.at,
		batch:   binary.LittleEndian.Uint64(whole[recBatchAt:]),
		kind:    whole[recKindAt],
		last:    whole[recFlagsAt]&recFlagLast != 0,
		payload: payload,
	}
	s.at += align(recordHeaderBytes + size)
	return r, nil
}

// checkRecordHeader returns the length of the payload.
func checkRecordHeader(head []byte, seed uint32) (int64, error) {
	size := binary.LittleEndian.Uint32(head)
	if size == 0 || size > payloadBytesMax {
		return 0, damage("there is no record")
	}
	if crc32.Update(seed, castagnoli, head[:recHeadSumAt]) != binary.LittleEndian.Uint32(head[recHeadSumAt:]) {
		return 0, damage("a record's header has a wrong checksum")
	}
	return int64(size), nil
}

// newest returns the highest batch that a record's header at or after the scanner's place names; 0 if there is none.
func (s *scanner) newest() (uint64, error) {
	var newest uint64
	for at := s.at; at+recordHeaderBytes <= s.size; {
		n := min(s.size-at, windowBytes)
		part, err := s.window(at, n)
		if err != nil {
			return 0, err
		}
		for ; len(part) >= recordHeaderBytes; part, at = part[recordAlign:], at+recordAlign {
			if binary.LittleEndian.Uint64(part) == 0 {
				continue
			}
			if _, err := checkRecordHeader(part, s.seed); err == nil {
				newest = max(newest, binary.LittleEndian.Uint64(part[recBatchAt:]))
			}
		}
	}
	return newest, nil
}

// window returns n bytes of the file.
func (s *scanner) window(at, n int64) ([]byte, error) {
	if at < s.bufAt || at+n > s.bufAt+int64(len(s.buf)) {
		want := min(max(n, windowBytes), s.size-at)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.bufAt = s.buf[:want], at
		if n, err := s.file.ReadAt(s.buf, at); n < len(s.buf) {
			s.buf = s.buf[:0]
			return nil, fmt.Errorf("read at byte %d: %w", at, err)
		}
	}
	return s.buf[at-s.bufAt:][:n], nil
}

// tail is how the last segment of a log ends.
type tail struct {
	batch uint64 // the last whole one
	start int64  // where it begins
	end   int64  // where it ends
	torn  bool   // something is left of a batch that never became whole
}

// findTail finds the end of the last segment of a log, and tells a torn batch from damage.
func findTail(s *segment) (tail, error) {
	scan := newScanner(s)
	t := tail{batch: s.batch, start: scan.at, end: scan.at}
	batch, whole, start := s.batch, true, scan.at
	var why damage
	for why == "" {
		r, err := scan.nextOf(batch, whole)
		if d, ok := errors.AsType[damage](err); ok {
			why = d
			continue
		}
		if err != nil {
			return tail{}, err
		}
		if r.kind == kindSeal {
			return tail{}, &CorruptError{s.name(), r.at, "the segment that follows is missing"}
		}
		if whole {
			start = r.at
		}
		batch, whole = r.batch, r.last
		if whole {
			t = tail{batch: batch, start: start, end: scan.at}
		}
	}
	newest, err := scan.newest()
	if err != nil {
		return tail{}, err
	}
	// A batch is begun only when the one before is on disk. So what a later batch follows, was.
	durable := s.batch
	if s.proven {
		durable++
	}
	if newest > 0 {
		durable = max(durable, newest-1)
	}
	if t.batch < durable {
		return tail{}, &CorruptError{s.name(), scan.at, fmt.Sprintf("%s; batch %d was durable", why, t.batch+1)}
	}
	t.torn = newest > 0 || !whole
	return t, nil
}

// nextOf returns the next record, which must continue a batch, or begin the one after it if that is whole.
func (s *scanner) nextOf(batch uint64, whole bool) (record, error) {
	if whole {
		batch++
	}
	r, err := s.next()
	if err == nil && r.batch != batch {
		s.at = r.at
		return record{}, damage(fmt.Sprintf("a record is of batch %d instead of %d", r.batch, batch))
	}
	return r, err
}

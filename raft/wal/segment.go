package wal

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"github.com/lockd/lockd/raft"
)

// segment is one file of the log. Its index is guarded by the Log's mu, but for the writer's own reading.
type segment struct {
	header
	file File
	sums uint32 // where the sums of the records start
	size int64
	end  int64 // of what is durable

	// first is the index of the first entry whose newest version lies here; offsets has one element for each.
	first   raft.Index
	offsets []uint32

	readers int
	dropped bool // no longer part of the log; the last reader closes the file
}

func (s *segment) name() string { return segmentName(s.number) }

// fits reports whether so many bytes of records can be appended, and the seal after them.
func (s *segment) fits(n int) bool { return s.end+int64(n)+sealBytes <= s.size }

// truncate forgets the entries from an index on.
func (s *segment) truncate(from raft.Index) {
	if from <= s.first {
		s.offsets = s.offsets[:0]
	} else if n := uint64(from - s.first); n < uint64(len(s.offsets)) {
		s.offsets = s.offsets[:n]
	}
}

// add notes where an entry lies.
func (s *segment) add(i raft.Index, offset uint32) {
	if len(s.offsets) == 0 {
		s.first = i
	}
	s.offsets = append(s.offsets, offset)
}

// span is a run of neighbouring entries in one segment.
type span struct {
	segment *segment
	first   raft.Index
	offsets []uint32
	bytes   int64 // from the first entry's offset
}

// span returns the entries from lo to hi, as far as they lie here and within maxBytes, but at least lo.
func (s *segment) span(lo, hi raft.Index, maxBytes int) span {
	offsets := s.offsets[lo-s.first:]
	start := int64(offsets[0])
	// What a truncation has left between two entries counts for the first of them.
	length := func(k int) int64 {
		if k+1 < len(offsets) {
			return int64(offsets[k+1]) - start
		}
		return s.end - start
	}
	n := int(min(uint64(len(offsets)), uint64(hi-lo)+1))
	n = max(1, sort.Search(n, func(k int) bool { return length(k) > int64(maxBytes) }))
	bytes := length(n - 1)
	if n == 1 {
		bytes = min(bytes, raft.EntryHeaderBytes+raft.MaxDataBytes)
	}
	return span{s, lo, append([]uint32(nil), offsets[:n]...), bytes}
}

// read reads and verifies the entries of a span into memory of their own.
func (p span) read() ([]raft.Entry, error) {
	buf := make([]byte, p.bytes)
	start := p.offsets[0]
	if n, err := p.segment.file.ReadAt(buf, int64(start)); n < len(buf) {
		return nil, fmt.Errorf("wal: read %s: %w", p.segment.name(), err)
	}
	entries := make([]raft.Entry, len(p.offsets))
	for k, offset := range p.offsets {
		e, _, err := raft.ParseEntry(buf[offset-start:])
		if err == nil && e.Index() != p.first+raft.Index(k) {
			err = fmt.Errorf("entry %d is where entry %d was written", e.Index(), p.first+raft.Index(k))
		}
		if err != nil {
			return nil, &CorruptError{p.segment.name(), int64(offset), err.Error()}
		}
		entries[k] = e
	}
	return entries, nil
}

// openSegment opens a segment's file and checks its header.
func openSegment(fs FS, number uint64) (*segment, error) {
	name := segmentName(number)
	f, err := fs.Open(name, false)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	s := &segment{file: f}
	if err := s.readHeader(name, number); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *segment) readHeader(name string, number uint64) error {
	size, err := s.file.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", name, err)
	}
	if size < headerPage || size > segmentBytesMax {
		return &CorruptError{name, 0, fmt.Sprintf("its size is %d bytes", size)}
	}
	b := make([]byte, headerPage)
	if _, err := s.file.ReadAt(b, 0); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	n, err := headerLength(b)
	if err != nil || n > size {
		return &CorruptError{name, headLengthAt, "the length of its header is impossible"}
	}
	b = make([]byte, n)
	if _, err := s.file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	switch s.header, err = decodeHeader(b); {
	case errors.Is(err, ErrVersion):
		return fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return &CorruptError{name, 0, err.Error()}
	case s.number != number:
		return &CorruptError{name, headNumberAt, fmt.Sprintf("it is segment %d", s.number)}
	}
	s.sums, s.size, s.end = s.seed(), size, n
	return nil
}

// replay brings an image forward by the segment's records, up to the end of a batch that was found whole or must be.
func (s *segment) replay(img *image, upTo uint64) error {
	scan := newScanner(s)
	for batch, whole := s.batch, true; batch < upTo || !whole; {
		at := scan.at
		r, err := scan.nextOf(batch, whole)
		if err == nil {
			err = img.apply(s, r)
		}
		if why, ok := errors.AsType[damage](err); ok {
			return &CorruptError{s.name(), at, string(why)}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		batch, whole = r.batch, r.last
	}
	s.end = scan.at
	return nil
}

// image is what a log holds, as far as its segments have been replayed.
type image struct {
	trail
	segments []*segment
}

func (img *image) apply(s *segment, r record) error {
	switch {
	case r.kind == kindHard && len(r.payload) == hardBytes:
		img.hard = decodeHard(r.payload)
		return nil
	case r.kind == kindTruncate && len(r.payload) >= markBytes:
		return img.truncateTo(decodeMark(r.payload))
	case r.kind == kindEntries:
		return img.applyEntries(s, r)
	}
	return damage(fmt.Sprintf("a record of kind %d has %d bytes", r.kind, len(r.payload)))
}

// truncateTo may go below the base: the segments that held those entries have been compacted since.
func (img *image) truncateTo(end mark) error {
	if end.Index > img.last {
		return damage(fmt.Sprintf("entry %d is to be the last of a log that ends at %d", end.Index, img.last))
	}
	if end.Index < img.base.Index {
		img.reset(end)
	} else {
		img.truncate(end.Index + 1)
	}
	if now := img.end(); !now.equal(end) {
		return damage(fmt.Sprintf("the log ends with %+v where a truncation says %+v", now, end))
	}
	for _, s := range img.segments {
		s.truncate(end.Index + 1)
	}
	return nil
}

func (img *image) applyEntries(s *segment, r record) error {
	for rest := r.payload; len(rest) > 0; {
		e, after, err := raft.ParseEntry(rest)
		if errors.Is(err, raft.ErrEntryVersion) {
			return fmt.Errorf("%w: %w", ErrVersion, err) // a later build wrote it: no damage
		}
		if err == nil {
			err = img.append(e)
		}
		if err != nil {
			return damage(err.Error())
		}
		s.add(e.Index(), uint32(r.at+recordHeaderBytes+int64(len(r.payload)-len(rest))))
		rest = after
	}
	return nil
}

// parseSegmentName returns the number in a segment's name.
func parseSegmentName(name string) (uint64, bool) {
	number, err := strconv.ParseUint(strings.TrimSuffix(name, segmentSuffix), 16, 64)
	return number, err == nil && name == segmentName(number)
}

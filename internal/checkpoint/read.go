package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrBadStream is wrapped by the errors of a stream that is no whole snapshot.
var ErrBadStream = errors.New("checkpoint: bad snapshot stream")

// reader checks a stream while it reads it. It holds one block at a time.
type reader struct {
	from  io.Reader
	head  Head
	sum   uint32 // of everything read
	tally tally
	last  []byte // key
	block []byte
	n     int // blocks read
}

func newReader(from io.Reader) (*reader, error) {
	r := &reader{from: from}
	pre, err := r.take(preambleBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: preamble: %w", ErrBadStream, err)
	}
	if string(pre[:len(streamMagic)]) != streamMagic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrBadStream, pre[:len(streamMagic)])
	}
	if v := binary.LittleEndian.Uint32(pre[len(streamMagic):]); v != streamVersion {
		return nil, fmt.Errorf("%w: version %d is unknown", ErrBadStream, v)
	}
	n := binary.LittleEndian.Uint32(pre[len(streamMagic)+4:])
	if n > maxHeadBytes {
		return nil, fmt.Errorf("%w: a head of %d bytes, more than %d", ErrBadStream, n, maxHeadBytes)
	}
	head, err := r.take(int(n))
	if err == nil {
		r.head, err = decodeHead(head)
	}
	if err == nil && r.head.Installed {
		err = fmt.Errorf("%w: installed", errBadHead)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadStream, err)
	}
	return r, nil
}

// take reads n bytes, which are good until the next call.
func (r *reader) take(n int) ([]byte, error) {
	if cap(r.block) < n {
		r.block = make([]byte, n)
	}
	b := r.block[:n]
	if _, err := io.ReadFull(r.from, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.sum = crc32.Update(r.sum, castagnoli, b)
	return b, nil
}

// records reads to the end of the stream. It calls add with every record, which is good until add returns; only when
// records has returned nil, were they those of a whole state. An error of add is returned as it is.
func (r *reader) records(add func(Record) error) error {
	var failed error
	for {
		more, err := r.next(func(record Record) error {
			failed = add(record)
			return failed
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return fmt.Errorf("%w: block %d: %w", ErrBadStream, r.n, err)
		}
		if !more {
			return nil
		}
		r.n++
	}
}

func (r *reader) next(add func(Record) error) (more bool, err error) {
	b, err := r.take(4)
	if err != nil {
		return false, err
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 {
		return false, r.footer()
	}
	if n > maxBlockBytes {
		return false, fmt.Errorf("%d bytes, more than %d", n, maxBlockBytes)
	}
	if b, err = r.take(4); err != nil {
		return false, err
	}
	sum := binary.LittleEndian.Uint32(b)
	if b, err = r.take(int(n)); err != nil {
		return false, err
	}
	if got := crc32.Checksum(b, castagnoli); got != sum {
		return false, fmt.Errorf("sum %08x, not %08x", got, sum)
	}
	for len(b) > 0 {
		var record Record
		if record, b, err = cutRecord(b); err != nil {
			return false, err
		}
		if bytes.Compare(record.Key, r.last) <= 0 {
			return false, fmt.Errorf("key %q after %q", record.Key, r.last)
		}
		r.last = append(r.last[:0], record.Key...)
		r.tally.add(record)
		if err := add(record); err != nil {
			return false, err
		}
	}
	return true, nil
}

func cutRecord(b []byte) (r Record, rest []byte, err error) {
	key, n := binary.Uvarint(b)
	if n <= 0 {
		return Record{}, nil, errors.New("the length of a key is cut")
	}
	value, m := binary.Uvarint(b[n:])
	if b = b[n+max(m, 0):]; m <= 0 || key > uint64(len(b)) || value > uint64(len(b))-key {
		return Record{}, nil, fmt.Errorf("a record with lengths %d and %d in %d bytes", key, value, len(b))
	}
	end := key + value
	r = Record{Key: b[:key:key], Value: b[key:end:end]}
	return r, b[end:], r.check()
}

func (r *reader) footer() error {
	b, err := r.take(8)
	if err != nil {
		return fmt.Errorf("footer: %w", err)
	}
	count, want := binary.LittleEndian.Uint64(b), r.sum
	if b, err = r.take(4); err != nil {
		return fmt.Errorf("footer: %w", err)
	}
	if sum := binary.LittleEndian.Uint32(b); sum != want {
		return fmt.Errorf("footer: sum %08x of the stream, not %08x", want, sum)
	}
	if count != uint64(r.tally.count) {
		return fmt.Errorf("footer: %d records, not %d", r.tally.count, count)
	}
	switch _, err := io.ReadFull(r.from, r.block[:1]); err {
	case io.EOF:
		return r.tally.agree(r.head)
	case nil:
		return errors.New("bytes after the footer")
	default:
		return fmt.Errorf("after the footer: %w", err)
	}
}

// Verify reads a stream to its end and returns its head. An error wraps ErrBadStream.
func Verify(r io.Reader) (Head, error) {
	return ReadStream(r, func(Head) error { return nil }, func(Record) error { return nil })
}

// ReadStream reads a stream to its end. It calls begin with the head, and then add with every record, in the order of the keys; add
// may keep nothing of it. Only when ReadStream has returned no error were they those of a whole state. Errors of begin and add are
// returned as they are, all others wrap ErrBadStream.
func ReadStream(r io.Reader, begin func(Head) error, add func(Record) error) (Head, error) {
	s, err := newReader(r)
	if err != nil {
		return Head{}, err
	}
	if err := begin(s.head); err != nil {
		return s.head, err
	}
	return s.head, s.records(add)
}

package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Errors of [Cursor.Close].
var (
	ErrShort    = errors.New("bytes are missing")
	ErrTrailing = errors.New("bytes follow the end")
	ErrRange    = errors.New("a value is out of range")
)

// Cursor reads the hand-written binary form of commands and records: unsigned varints, single bytes, ids, and strings of
// bytes with their length before them. The first error sticks, and everything read after it is zero. It allocates nothing.
type Cursor struct {
	rest []byte
	err  error
}

// NewCursor returns a Cursor at the start of b, whose bytes it hands out and never copies.
func NewCursor(b []byte) Cursor { return Cursor{rest: b} }

// Byte reads one byte.
func (c *Cursor) Byte() byte {
	if len(c.rest) == 0 {
		c.fail(ErrShort)
		return 0
	}
	v := c.rest[0]
	c.rest = c.rest[1:]
	return v
}

// Bool reads a byte that is 0 or 1.
func (c *Cursor) Bool() bool {
	v := c.Byte()
	if v > 1 {
		c.fail(ErrRange)
	}
	return v == 1
}

// Uint reads a varint that is at most limit.
func (c *Cursor) Uint(limit uint64) uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.fail(ErrShort)
		return 0
	}
	if v > limit {
		c.fail(ErrRange)
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

// Uint64 reads a varint.
func (c *Cursor) Uint64() uint64 { return c.Uint(math.MaxUint64) }

// Duration reads a varint of nanoseconds.
func (c *Cursor) Duration() time.Duration { return time.Duration(c.Uint(math.MaxInt64)) }

// Bytes reads a length of at most limit and that many bytes. They are a part of the input.
func (c *Cursor) Bytes(limit int) []byte {
	n := c.Uint(uint64(limit))
	if n > uint64(len(c.rest)) {
		c.fail(ErrShort)
		return nil
	}
	if n == 0 {
		return nil
	}
	v := c.rest[:n:n]
	c.rest = c.rest[n:]
	return v
}

// Fixed fills v.
func (c *Cursor) Fixed(v []byte) {
	if len(c.rest) < len(v) {
		c.fail(ErrShort)
		return
	}
	c.rest = c.rest[copy(v, c.rest):]
}

// Life reads the name of a life.
func (c *Cursor) Life() (l Life) {
	c.Fixed(l.ID[:])
	l.Index = c.Uint64()
	return l
}

// Failed reports whether an error has occurred; a loop over a count that was read stops on it.
func (c *Cursor) Failed() bool { return c.err != nil }

// Close returns the first error, ErrTrailing if bytes are left.
func (c *Cursor) Close() error {
	if c.err == nil && len(c.rest) > 0 {
		return fmt.Errorf("%w: %d", ErrTrailing, len(c.rest))
	}
	return c.err
}

func (c *Cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.rest = nil
}

// AppendDuration appends what [Cursor.Duration] reads; d is not negative.
func AppendDuration(b []byte, d time.Duration) []byte { return binary.AppendUvarint(b, uint64(d)) }

// AppendBytes appends what [Cursor.Bytes] reads.
func AppendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// AppendLife appends what [Cursor.Life] reads.
func AppendLife(b []byte, l Life) []byte { return binary.AppendUvarint(append(b, l.ID[:]...), l.Index) }

// AppendBool appends what [Cursor.Bool] reads.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

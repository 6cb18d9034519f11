package wire

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// depthMax is how deep arrays, maps and extensions may be nested, the message itself counted.
const depthMax = 8

// FormatError says what in a body is not as its type demands, and where.
type FormatError struct {
	Message string // name of the message
	Path    string // of the value within it, such as .names[3]; empty for the message itself
	Offset  int    // of the value within the body, in bytes
	Problem string
}

// Error returns all of it in one line.
func (e *FormatError) Error() string {
	return fmt.Sprintf("wire: %s%s, at byte %d of the body: %s", e.Message, e.Path, e.Offset, e.Problem)
}

// verify reports what is wrong with a body before anything is allocated for it: nil if it is one value of this shape and no byte more.
// After it, decoding can neither fail nor allocate more than a small multiple of the body.
func (s *shape) verify(body []byte, message string) error {
	c := cursor{body: body}
	err := s.check(&c, 1)
	if err == nil && c.left() > 0 {
		err = c.fail(c.at, "%d bytes follow the end", c.left())
	}
	if err == nil {
		return nil
	}
	err.Message = message
	return err
}

func (s *shape) check(c *cursor, depth int) *FormatError {
	start := c.at
	switch s.kind {
	case kindBool:
		if b, ok := c.byte(); !ok || b != isFalse && b != isTrue {
			return c.fail(start, "it is not a bool")
		}
		return nil
	case kindUint:
		v, ok := c.uint()
		switch {
		case !ok:
			return c.fail(start, "it is not a whole number from 0")
		case v > s.most:
			return c.fail(start, "%d is above %d", v, s.most)
		}
		return nil
	case kindString, kindBytes:
		return s.checkBytes(c, start)
	case kindList:
		return s.checkList(c, start, depth)
	default:
		return s.checkStruct(c, start, depth)
	}
}

func (s *shape) checkBytes(c *cursor, start int) *FormatError {
	what, of := "string", strFormats
	if s.kind == kindBytes {
		what, of = "bin", binFormats
	}
	n, ok := c.length(of)
	switch {
	case !ok:
		return c.fail(start, "it is not a %s", what)
	case n == 0 && s.optional:
	case n < s.least || n > s.most:
		return c.fail(start, "a %s of %d bytes, not of %s", what, n, s.lengths())
	}
	b, ok := c.take(n)
	if !ok {
		return c.fail(start, "a %s of %d bytes, of which %d are there", what, n, c.left())
	}
	if s.kind == kindString && !utf8.Valid(b) {
		return c.fail(start, "it is not UTF-8")
	}
	return nil
}

func (s *shape) lengths() string {
	if s.least == s.most {
		return fmt.Sprint(s.most)
	}
	return fmt.Sprintf("at most %d", s.most)
}

func (s *shape) checkList(c *cursor, start, depth int) *FormatError {
	n, ok := c.length(listFormats)
	switch {
	case !ok:
		return c.fail(start, "it is not an array")
	case n > s.most:
		return c.fail(start, "%d elements, not at most %d", n, s.most)
	}
	for i := range n {
		if err := s.elem.check(c, depth+1); err != nil {
			err.Path = fmt.Sprintf("[%d]%s", i, err.Path)
			return err
		}
	}
	return nil
}

func (s *shape) checkStruct(c *cursor, start, depth int) *FormatError {
	n, ok := c.length(arrayFormats)
	switch {
	case !ok:
		return c.fail(start, "it is not an array")
	case n < uint64(len(s.fields)):
		return c.fail(start, "an array of %d elements, not of %d", n, len(s.fields))
	}
	for i := range s.fields {
		f := &s.fields[i]
		if err := f.check(c, depth+1); err != nil {
			err.Path = "." + f.name + err.Path
			return err
		}
	}
	for range n - uint64(len(s.fields)) { // fields of a later version
		at := c.at
		if problem := c.skip(depth + 1); problem != "" {
			return c.fail(at, "a field of a later version: %s", problem)
		}
	}
	return nil
}

// Formats of msgpack.
const (
	isNil   = 0xc0
	isFalse = 0xc2
	isTrue  = 0xc3
)

// formats is a family of formats that begin with a length.
type formats struct {
	fix, fixBits    byte // format with the length in its low bits
	len8            byte // first format with the length in bytes behind it
	widths          int  // how many there are of these: of 1, 2 and 4 bytes
	firstWidth      int
	nilMeansNothing bool
}

// nil stands for an empty list and for no bytes, as in many languages; never for a struct or a string.
var (
	strFormats   = formats{fix: 0xa0, fixBits: 5, len8: 0xd9, firstWidth: 1, widths: 3}
	binFormats   = formats{len8: 0xc4, firstWidth: 1, widths: 3, nilMeansNothing: true}
	arrayFormats = formats{fix: 0x90, fixBits: 4, len8: 0xdc, firstWidth: 2, widths: 2}
	listFormats  = formats{fix: 0x90, fixBits: 4, len8: 0xdc, firstWidth: 2, widths: 2, nilMeansNothing: true}
	mapFormats   = formats{fix: 0x80, fixBits: 4, len8: 0xde, firstWidth: 2, widths: 2}
	extFormats   = formats{len8: 0xc7, firstWidth: 1, widths: 3}
)

// cursor walks over msgpack without keeping anything of it.
type cursor struct {
	body []byte
	at   int // 0 to len(body)
}

// left returns how many bytes are to come.
func (c *cursor) left() int { return len(c.body) - c.at }

func (c *cursor) fail(at int, format string, args ...any) *FormatError {
	return &FormatError{Offset: at, Problem: fmt.Sprintf(format, args...)}
}

func (c *cursor) byte() (byte, bool) {
	if c.at >= len(c.body) {
		return 0, false
	}
	b := c.body[c.at]
	c.at++
	return b, true
}

func (c *cursor) take(n uint64) ([]byte, bool) {
	if n > uint64(c.left()) {
		return nil, false
	}
	b := c.body[c.at : c.at+int(n)]
	c.at += int(n)
	return b, true
}

// fixed reads a big-endian number of 1, 2, 4 or 8 bytes.
func (c *cursor) fixed(width int) (uint64, bool) {
	b, ok := c.take(uint64(width))
	if !ok {
		return 0, false
	}
	switch width {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), true
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), true
	default:
		return binary.BigEndian.Uint64(b), true
	}
}

// uint reads a whole number that is not negative, in any format.
func (c *cursor) uint() (uint64, bool) {
	f, ok := c.byte()
	switch {
	case !ok:
		return 0, false
	case f <= 0x7f:
		return uint64(f), true
	case 0xcc <= f && f <= 0xcf:
		return c.fixed(1 << (f - 0xcc))
	case 0xd0 <= f && f <= 0xd3:
		width := 1 << (f - 0xd0)
		v, ok := c.fixed(width)
		return v, ok && v>>(8*width-1) == 0
	default:
		return 0, false
	}
}

// length reads the format of a family and the length in it. The cursor may have moved if it is another format.
func (c *cursor) length(of formats) (uint64, bool) {
	f, ok := c.byte()
	switch {
	case !ok:
		return 0, false
	case of.fixBits > 0 && f>>of.fixBits == of.fix>>of.fixBits:
		return uint64(f & (1<<of.fixBits - 1)), true
	case f >= of.len8 && f < of.len8+byte(of.widths):
		return c.fixed(of.firstWidth << (f - of.len8))
	default:
		return 0, f == isNil && of.nilMeansNothing
	}
}

// skip passes over one value of any kind, and tells what is wrong with it.
func (c *cursor) skip(depth int) (problem string) {
	if c.left() == 0 {
		return "bytes are missing"
	}
	if depth > depthMax {
		return fmt.Sprintf("nested deeper than %d", depthMax)
	}
	f := c.body[c.at]
	ok := true
	var n, inner uint64
	switch {
	case f <= 0x7f || f >= 0xe0 || f == isNil || f == isFalse || f == isTrue: // in the format itself
		_, ok = c.byte()
	case f>>5 == strFormats.fix>>5 || 0xd9 <= f && f <= 0xdb:
		n, ok = c.length(strFormats)
	case 0xc4 <= f && f <= 0xc6:
		n, ok = c.length(binFormats)
	case f>>4 == arrayFormats.fix>>4 || 0xdc <= f && f <= 0xdd:
		inner, ok = c.length(arrayFormats)
	case f>>4 == mapFormats.fix>>4 || 0xde <= f && f <= 0xdf:
		inner, ok = c.length(mapFormats)
		inner *= 2
	case 0xca <= f && f <= 0xd3: // floats and numbers
		c.at++
		n = [...]uint64{4, 8, 1, 2, 4, 8, 1, 2, 4, 8}[f-0xca]
	case 0xd4 <= f && f <= 0xd8: // extensions of a fixed length, and their type
		c.at++
		n = 1<<(f-0xd4) + 1
	case 0xc7 <= f && f <= 0xc9:
		n, ok = c.length(extFormats)
		n++
	default:
		return fmt.Sprintf("format %#02x means nothing", f)
	}
	if _, there := c.take(n); !ok || !there {
		return "bytes are missing"
	}
	for range inner {
		if problem := c.skip(depth + 1); problem != "" {
			return problem
		}
	}
	return ""
}

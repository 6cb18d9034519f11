package wire

import (
	"encoding/binary"
	"math"
	"reflect"
)

// put appends a value of this shape: numbers in their shortest form, strings and bytes apart, structs as arrays in the order of
// their fields. It checks nothing: verify finds in the bytes what breaks a limit.
func (s *shape) put(b []byte, v reflect.Value) []byte {
	switch s.kind {
	case kindBool:
		if v.Bool() {
			return append(b, isTrue)
		}
		return append(b, isFalse)
	case kindUint:
		if v.CanUint() {
			return putUint(b, v.Uint())
		}
		return putInt(b, v.Int())
	case kindString:
		text := v.String()
		return append(putLength(b, strFormats, len(text)), text...)
	case kindBytes:
		if v.Kind() == reflect.Slice && v.IsNil() {
			return append(b, isNil)
		}
		content := v.Bytes()
		return append(putLength(b, binFormats, len(content)), content...)
	case kindList:
		if v.IsNil() {
			return append(b, isNil)
		}
		b = putLength(b, listFormats, v.Len())
		for i := range v.Len() {
			b = s.elem.put(b, v.Index(i))
		}
		return b
	default:
		b = putLength(b, arrayFormats, len(s.fields))
		for i := range s.fields {
			b = s.fields[i].put(b, v.Field(i))
		}
		return b
	}
}

// get sets a new value to what stands at the cursor, which has been verified to be of this shape. Nothing of it is a part of the body.
func (s *shape) get(c *cursor, v reflect.Value) {
	switch s.kind {
	case kindBool:
		b, _ := c.byte()
		v.SetBool(b == isTrue)
	case kindUint:
		n, _ := c.uint()
		if v.CanUint() {
			v.SetUint(n)
		} else {
			v.SetInt(int64(n))
		}
	case kindString:
		n, _ := c.length(strFormats)
		b, _ := c.take(n)
		v.SetString(string(b))
	case kindBytes:
		n, _ := c.length(binFormats)
		b, _ := c.take(n)
		switch {
		case v.Kind() == reflect.Array:
			copy(v.Bytes(), b)
		case n > 0:
			v.SetBytes(append([]byte(nil), b...))
		}
	case kindList:
		n, _ := c.length(listFormats)
		if n > 0 {
			v.Grow(int(n))
			v.SetLen(int(n))
		}
		for i := range int(n) {
			s.elem.get(c, v.Index(i))
		}
	default:
		n, _ := c.length(arrayFormats)
		for i := range s.fields {
			s.fields[i].get(c, v.Field(i))
		}
		for range n - uint64(len(s.fields)) { // fields of a later version
			c.skip(1)
		}
	}
}

// putUint appends a number in its shortest form.
func putUint(b []byte, n uint64) []byte {
	switch {
	case n <= 0x7f:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, 0xcc, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
	}
}

// putInt appends a number that must not be negative; one that is stays so, for verify to find.
func putInt(b []byte, n int64) []byte {
	if n >= 0 {
		return putUint(b, uint64(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n))
}

// putLength appends the shortest format of a family that holds a length.
func putLength(b []byte, of formats, n int) []byte {
	if of.fixBits > 0 && n < 1<<of.fixBits {
		return append(b, of.fix|byte(n))
	}
	f := of.len8
	width := of.firstWidth
	for width < 4 && n >= 1<<(8*width) {
		f++
		width *= 2
	}
	b = append(b, f)
	switch width {
	case 1:
		return append(b, byte(n))
	case 2:
		return binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		return binary.BigEndian.AppendUint32(b, uint32(n))
	}
}

package wire

import (
	"encoding/binary"
	"math"
	"reflect"
	"unicode/utf8"
	"unsafe"
)

// pen appends values to a buffer, and notices when one of them breaks a limit of its shape.
type pen struct {
	b     []byte
	wrong bool
}

// put appends the value of this shape that lies at p: numbers in their shortest form, strings and bytes apart, structs as arrays in the
// order of their fields.
func (s *shape) put(w *pen, p unsafe.Pointer) {
	switch s.kind {
	case kindBool:
		if *(*bool)(p) {
			w.b = append(w.b, isTrue)
		} else {
			w.b = append(w.b, isFalse)
		}
	case kindUint:
		n := s.load(p)
		w.wrong = w.wrong || n > s.most
		w.b = putUint(w.b, n)
	case kindString:
		text := *(*string)(p)
		w.wrong = w.wrong || uint64(len(text)) > s.most || uint64(len(text)) < s.least || !utf8.ValidString(text)
		w.b = append(putLength(w.b, strFormats, len(text)), text...)
	case kindBytes:
		s.putBytes(w, p)
	case kindList:
		s.putList(w, p)
	default:
		w.b = putLength(w.b, arrayFormats, len(s.fields))
		for i := range s.fields {
			f := &s.fields[i]
			f.put(w, unsafe.Add(p, f.offset))
		}
	}
}

func (s *shape) putBytes(w *pen, p unsafe.Pointer) {
	content := s.bytes(p)
	if n := uint64(len(content)); n > s.most || n < s.least && (n > 0 || !s.optional) {
		w.wrong = true
	}
	if content == nil {
		w.b = append(w.b, isNil)
		return
	}
	w.b = append(putLength(w.b, binFormats, len(content)), content...)
}

func (s *shape) putList(w *pen, p unsafe.Pointer) {
	// All slices lie in memory alike; the elements are found by their size.
	list := *(*[]byte)(p)
	if list == nil {
		w.b = append(w.b, isNil)
		return
	}
	w.wrong = w.wrong || uint64(len(list)) > s.most
	w.b = putLength(w.b, listFormats, len(list))
	first, size := unsafe.Pointer(unsafe.SliceData(list)), s.elem.memory.Size()
	for i := range uintptr(len(list)) {
		s.elem.put(w, unsafe.Add(first, i*size))
	}
}

// bytes returns the bytes that lie at p.
func (s *shape) bytes(p unsafe.Pointer) []byte {
	if s.array {
		return unsafe.Slice((*byte)(p), s.most)
	}
	return *(*[]byte)(p)
}

// load returns the number that lies at p. One that is negative is above every limit.
func (s *shape) load(p unsafe.Pointer) uint64 {
	switch s.number {
	case number8:
		return uint64(*(*uint8)(p))
	case number16:
		return uint64(*(*uint16)(p))
	case number32:
		return uint64(*(*uint32)(p))
	case numberSigned:
		return uint64(*(*int64)(p))
	default:
		return *(*uint64)(p)
	}
}

// store sets the number that lies at p.
func (s *shape) store(p unsafe.Pointer, n uint64) {
	switch s.number {
	case number8:
		*(*uint8)(p) = uint8(n)
	case number16:
		*(*uint16)(p) = uint16(n)
	case number32:
		*(*uint32)(p) = uint32(n)
	case numberSigned:
		*(*int64)(p) = int64(n)
	default:
		*(*uint64)(p) = n
	}
}

// get sets the new value that lies at p to what stands at the cursor, which has been verified to be of this shape. Nothing of it is a
// part of the body.
func (s *shape) get(c *cursor, p unsafe.Pointer) {
	switch s.kind {
	case kindBool:
		b, _ := c.byte()
		*(*bool)(p) = b == isTrue
	case kindUint:
		n, _ := c.uint()
		s.store(p, n)
	case kindString:
		n, _ := c.length(strFormats)
		b, _ := c.take(n)
		*(*string)(p) = string(b)
	case kindBytes:
		n, _ := c.length(binFormats)
		b, _ := c.take(n)
		switch {
		case s.array:
			copy(s.bytes(p), b)
		case n > 0:
			*(*[]byte)(p) = append([]byte(nil), b...)
		}
	case kindList:
		s.getList(c, p)
	default:
		n, _ := c.length(arrayFormats)
		for i := range s.fields {
			f := &s.fields[i]
			f.get(c, unsafe.Add(p, f.offset))
		}
		for range n - uint64(len(s.fields)) { // fields of a later version
			c.skip(1)
		}
	}
}

func (s *shape) getList(c *cursor, p unsafe.Pointer) {
	n, _ := c.length(listFormats)
	if n == 0 {
		return
	}
	list := reflect.NewAt(s.memory, p).Elem()
	list.Grow(int(n))
	list.SetLen(int(n))
	first, size := list.UnsafePointer(), s.elem.memory.Size()
	for i := range uintptr(n) {
		s.elem.get(c, unsafe.Add(first, i*size))
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

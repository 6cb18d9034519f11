package wire

import (
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// kind is what a value is on the wire.
type kind uint8

const (
	kindBool kind = iota
	kindUint
	kindString
	kindBytes
	kindList
	kindStruct
)

// shape is what a value must look like on the wire. It is made from a Go type once, and never changes.
//
//	uint                   0 to most
//	string, bytes, list    least to most bytes or elements; also none at all if optional
//	struct                 an array of at least len(fields) elements
type shape struct {
	kind        kind
	name        string // of a struct or a named type
	least, most uint64
	optional    bool
	elem        *shape  // of a list
	fields      []field // of a struct

	// Where it lies in memory.
	memory reflect.Type
	number numberKind // of a uint
	array  bool       // of bytes: they are not behind a slice
}

type field struct {
	name   string
	offset uintptr // in its struct
	*shape
}

// numberKind is how a number lies in memory.
type numberKind uint8

const (
	number8 numberKind = iota
	number16
	number32
	number64
	numberSigned // a duration
)

var traceContext = reflect.TypeFor[TraceContext]()

func shapeFor[T any]() *shape { return shapeOf(reflect.TypeFor[T](), "") }

// shapeOf makes the shape of a type. The tag `wire:"n"` gives the greatest length of a string, of bytes or of a list, "n,m" that of a
// list and of its elements, "=n" the only length. It panics on what messages must not have, so a mistake does not outlive the first test.
func shapeOf(t reflect.Type, tag string) *shape {
	s := &shape{name: t.Name(), memory: t}
	switch t.Kind() {
	case reflect.Bool:
		s.kind = kindBool
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.kind, s.most = kindUint, math.MaxUint64>>(64-t.Bits())
		s.number = numberKind(bits.TrailingZeros(uint(t.Bits() / 8)))
	case reflect.Int64: // a duration, never negative
		s.kind, s.most, s.number = kindUint, math.MaxInt64, numberSigned
	case reflect.String:
		s.kind = kindString
		s.bound(t, tag)
	case reflect.Array:
		s.kind, s.least, s.most, s.array = kindBytes, uint64(t.Len()), uint64(t.Len()), true
	case reflect.Slice:
		s.slice(t, tag)
	case reflect.Struct:
		s.kind = kindStruct
		for f := range t.Fields() {
			s.fields = append(s.fields, field{name: snake(f.Name), offset: f.Offset, shape: shapeOf(f.Type, f.Tag.Get("wire"))})
		}
	default:
		panic(fmt.Sprintf("a message cannot have a %v", t))
	}
	return s
}

func (s *shape) slice(t reflect.Type, tag string) {
	if t == traceContext {
		s.kind, s.least, s.most, s.optional = kindBytes, 25, 25, true
		return
	}
	own, elem, _ := strings.Cut(tag, ",")
	s.kind = kindBytes
	s.bound(t, own)
	if t.Elem().Kind() != reflect.Uint8 {
		s.kind, s.elem = kindList, shapeOf(t.Elem(), elem)
	}
}

func (s *shape) bound(t reflect.Type, tag string) {
	n, err := strconv.ParseUint(strings.TrimPrefix(tag, "="), 10, 31)
	if err != nil {
		panic(fmt.Sprintf("a %v of a message has no limit: %v", t, err))
	}
	s.most = n
	if strings.HasPrefix(tag, "=") {
		s.least = n
	}
}

// snake returns the name of a field on the wire: LeaseTTL is lease_ttl.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		begins := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

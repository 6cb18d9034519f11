package wire_test

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// explain writes the bytes of a value, a line for each part, and returns the bytes behind it. It reads msgpack by itself, so that the
// examples do not rest on the code that wrote them.
func explain(t *testing.T, b *strings.Builder, indent int, of reflect.Type, name string, in []byte) (rest []byte) {
	t.Helper()
	label := name
	if name != "" {
		label += ": "
	}
	switch f := in[0]; {
	case f == 0xc0:
		line(b, indent, in[:1], "%snone", label)
		return in[1:]
	case f == 0xc2 || f == 0xc3:
		line(b, indent, in[:1], "%s%t", label, f == 0xc3)
		return in[1:]
	case f>>4 == 9 || f == 0xdc:
		return explainArray(t, b, indent, of, label, in)
	case f>>5 == 5 || f == 0xd9 || f == 0xc4:
		head, n := 2, int(in[1])
		if f>>5 == 5 {
			head, n = 1, int(f&31)
		}
		line(b, indent, in[:head+n], "%s%s", label, describe(of, in[head:head+n]))
		return in[head+n:]
	default:
		width := 0
		if f >= 0xcc && f <= 0xcf {
			width = 1 << (f - 0xcc)
		} else if f > 0x7f {
			t.Fatalf("an example has the format %#02x", f)
		}
		v := uint64(f)
		if width > 0 {
			v = binary.BigEndian.Uint64(append(make([]byte, 8-width, 8), in[1:1+width]...))
		}
		text := fmt.Sprint(v)
		if of == reflect.TypeFor[time.Duration]() && v > 0 {
			text += fmt.Sprintf(" (%v)", time.Duration(v))
		}
		if code, ok := reflect.TypeAssert[wire.Code](reflect.Zero(of)); ok {
			code += wire.Code(v)
			text += fmt.Sprintf(" (%v)", code)
		}
		line(b, indent, in[:1+width], "%s%s", label, text)
		return in[1+width:]
	}
}

func explainArray(t *testing.T, b *strings.Builder, indent int, of reflect.Type, label string, in []byte) []byte {
	head, n := 1, int(in[0]&15)
	if in[0] == 0xdc {
		head, n = 3, int(binary.BigEndian.Uint16(in[1:]))
	}
	what := "array"
	if of.Kind() == reflect.Slice {
		what = "list"
	}
	line(b, indent, in[:head], "%s%s of %d", label, what, n)
	rest := in[head:]
	for i := range n {
		if of.Kind() == reflect.Slice {
			rest = explain(t, b, indent+1, of.Elem(), fmt.Sprintf("[%d]", i), rest)
			continue
		}
		rest = explain(t, b, indent+1, of.Field(i).Type, snake(of.Field(i).Name), rest)
	}
	return rest
}

func describe(of reflect.Type, b []byte) string {
	switch {
	case of.Kind() == reflect.String:
		return fmt.Sprintf("%q", b)
	case of == reflect.TypeFor[wire.TraceContext]():
		return "a trace context"
	case of.Kind() == reflect.Array:
		return "an id"
	default:
		return fmt.Sprintf("%d bytes", len(b))
	}
}

// line writes bytes and what they say.
func line(b *strings.Builder, indent int, bytes []byte, format string, args ...any) {
	in := strings.Repeat("  ", indent)
	text := in + fmt.Sprintf(format, args...)
	const width = 36 // digits in a line
	digits := fmt.Sprintf("%x", bytes)
	for len(digits) > width {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %s", width, digits[:width], text), " ") + "\n")
		digits, text = digits[width:], ""
	}
	b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %s", width, digits, text), " ") + "\n")
}

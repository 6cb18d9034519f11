package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/wire"
)

// The bound of what decoding allocates: so many bytes for each byte of the input, and a constant for what the codec keeps for itself.
const (
	allocatedPerByte = 32
	allocatedOnce    = 64 << 10
)

// FuzzStream reads any bytes as a stream. Every message that comes out can be written, and reads as the same again.
func FuzzStream(f *testing.F) {
	var all []byte
	for line := range strings.Lines(string(golden(f))) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b...)
		f.Add(b)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, stream []byte) {
		var messages []wire.Message
		used := allocated(func() { messages = readAll(t, stream) })
		if most := uint64(allocatedPerByte*len(stream) + allocatedOnce); used > most {
			t.Errorf("%d bytes of a stream took %d bytes of memory, not at most %d", len(stream), used, most)
		}
		for _, m := range messages {
			again, err := wire.Append(nil, m)
			if err != nil {
				t.Fatalf("%+v was read and cannot be written: %v", m, err)
			}
			back, err := wire.Decode(m.Type(), again[5:])
			if err != nil {
				t.Fatalf("%+v was written and cannot be read: %v", m, err)
			}
			if diff := same(m, back); diff != "" {
				t.Fatalf("read differently (-first +again):\n%s", diff)
			}
		}
	})
}

// readAll returns the messages of a stream that this version knows.
func readAll(t *testing.T, stream []byte) (messages []wire.Message) {
	r := wire.NewReader(bytes.NewReader(stream), wire.FrameMax)
	for {
		m, err := r.Read()
		var body *wire.BodyError
		var format *wire.FormatError
		switch {
		case errors.As(err, &body):
			if !errors.As(err, &format) || format.Problem == "" || format.Message == "" {
				t.Fatalf("an error that does not say what and where: %v", err)
			}
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, wire.ErrOutOfStep):
			return messages
		case err != nil:
			t.Fatal(err)
		default:
			if _, ok := m.(*wire.Unknown); !ok {
				messages = append(messages, m)
			}
		}
	}
}

// FuzzMetadata reads any bytes as metadata.
func FuzzMetadata(f *testing.F) {
	known := wire.Metadata{Identity: "billing", Host: "h1", PID: 4711, Trace: bytes.Repeat([]byte{1}, 25)}
	b, err := known.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.DecodeMetadata(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", m, err)
		}
		if back, err := wire.DecodeMetadata(again); err != nil || same(m, back) != "" {
			t.Fatalf("%+v was read again as %+v, %v", m, back, err)
		}
	})
}

// TestSmallestElements decodes messages whose lists are as long as they may be and whose elements are as small as they can be: what
// costs most memory for each byte.
func TestSmallestElements(t *testing.T) {
	worst, worstType := 0.0, wire.Type(0)
	for _, example := range examples() {
		m := reflect.New(reflect.TypeOf(example).Elem())
		crowd(m.Elem(), "", 1<<30)
		b, err := wire.Append(nil, message(t, m))
		for most := 1000; errors.Is(err, wire.ErrFrameTooLarge); most = most * 3 / 4 {
			crowd(m.Elem(), "", most)
			b, err = wire.Append(nil, message(t, m))
		}
		if err != nil {
			t.Fatal(err)
		}
		var back wire.Message
		used := allocated(func() { back, err = wire.Decode(example.Type(), b[5:]) })
		if err != nil {
			t.Fatal(err)
		}
		if most := uint64(allocatedPerByte*len(b) + allocatedOnce); used > most {
			t.Errorf("%v of %d bytes took %d bytes of memory, not at most %d", back.Type(), len(b), used, most)
		}
		if ratio := float64(used) / float64(len(b)); len(b) > 10_000 && ratio > worst {
			worst, worstType = ratio, example.Type()
		}
	}
	t.Logf("at worst %.1f bytes for each byte of the frame, by %v", worst, worstType)
}

// TestUnknownFieldsCostNothing decodes messages that are mostly fields of a later version.
func TestUnknownFieldsCostNothing(t *testing.T) {
	for what, filling := range map[string][]byte{
		"nils":       {0xc0},
		"numbers":    {0xcd, 1, 2},
		"strings":    {0xa1, 'x'},
		"bins":       {0xc4, 1, 0},
		"arrays":     {0x90},
		"maps":       {0x81, 0xa1, 'k', 0xa1, 'v'},
		"nested":     {0x91, 0x91, 0x91, 0x91, 0xa1, 'x'},
		"extensions": {0xd4, 7, 1},
		"longer":     {0xc7, 3, 7, 1, 2, 3},
		"floats":     {0xca, 0, 0, 0, 0},
	} {
		n := wire.FrameMax / 2 / len(filling)
		body := binary.BigEndian.AppendUint32([]byte{0x93, 5, 0xc0, 0xdd}, uint32(n))
		body = append(body, bytes.Repeat(filling, n)...)
		var m wire.Message
		var err error
		used := allocated(func() { m, err = wire.Decode(wire.TypeStatus, body) })
		if err != nil || same(&wire.Status{ID: 5}, m) != "" {
			t.Fatalf("%s: %+v, %v", what, m, err)
		}
		if used > allocatedOnce {
			t.Errorf("%d bytes of %s took %d bytes of memory", len(body), what, used)
		}
	}
}

// crowd fills the lists of a value with empty elements, at most so many.
func crowd(v reflect.Value, tag string, most int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			crowd(v.Field(i), v.Type().Field(i).Tag.Get("wire"), most)
		}
	case reflect.String:
		if strings.HasPrefix(tag, "=") {
			v.SetString(strings.Repeat("=", limits(tag)[0]))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		n := min(limits(tag)[0], most)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			crowd(v.Index(i), "", most)
		}
	default:
	}
}

package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/lockd/lockd/internal/wire"
)

// TestRoundTripOfRandomMessages sends random messages of all types, up to their limits, through a Writer and a Reader that gets them in
// random pieces.
func TestRoundTripOfRandomMessages(t *testing.T) {
	types := examples()
	rapid.Check(t, func(t *rapid.T) {
		var stream bytes.Buffer
		w := wire.NewWriter(&stream)
		var sent []wire.Message
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			m := draw(t, reflect.TypeOf(rapid.SampledFrom(types).Draw(t, "type")).Elem())
			switch err := w.Write(m); {
			case err == nil:
				sent = append(sent, m)
			case !errors.Is(err, wire.ErrFrameTooLarge):
				t.Fatalf("%v was refused: %v", m.Type(), err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		var src io.Reader = &stream
		if rapid.Bool().Draw(t, "pieces") {
			src = iotest.HalfReader(src)
		}
		r := wire.NewReader(src, wire.FrameMax)
		for _, m := range sent {
			back, err := r.Read()
			if err != nil {
				t.Fatal(err)
			}
			if diff := same(m, back); diff != "" {
				t.Fatalf("read differently (-want +got):\n%s", diff)
			}
		}
		if _, err := r.Read(); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last message: %v", err)
		}
	})
}

// TestBeyondALimit sets one field of a random message beyond its limit: it is refused where it is written, by name.
func TestBeyondALimit(t *testing.T) {
	var tried int
	for _, m := range examples() {
		beyond(reflect.ValueOf(m).Elem(), "", func(path string) {
			tried++
			_, err := wire.Append(nil, m)
			var wrong *wire.FormatError
			if !errors.As(err, &wrong) || wrong.Message != m.Type().String() || wrong.Path != path {
				t.Errorf("%v%s is beyond its limit: %v", m.Type(), path, err)
			}
		})
	}
	if tried < 60 {
		t.Errorf("only %d limits were tried", tried)
	}
}

// beyond sets each limited value of a message beyond its limit, calls try, and sets it back.
func beyond(v reflect.Value, path string, try func(path string)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			at := path + "." + snake(v.Type().Field(i).Name)
			if f.Kind() != reflect.String && f.Kind() != reflect.Slice && f.Kind() != reflect.Int64 {
				beyond(f, at, try)
				continue
			}
			before := reflect.ValueOf(f.Interface())
			f.Set(tooMuch(f.Type(), v.Type().Field(i).Tag.Get("wire")))
			try(at)
			if f.Kind() == reflect.String {
				f.SetString("\xff") // not UTF-8
				try(at)
			}
			f.Set(before)
			if f.Kind() == reflect.Slice {
				beyond(f, at, try)
			}
		}
	case reflect.Slice:
		switch {
		case v.Len() == 0:
		case v.Index(0).Kind() == reflect.Struct:
			beyond(v.Index(0), path+"[0]", try)
		case v.Index(0).Kind() == reflect.String:
			before := v.Index(0).String()
			v.Index(0).SetString("\xff")
			try(path + "[0]")
			v.Index(0).SetString(before)
		}
	default:
	}
}

func tooMuch(t reflect.Type, tag string) reflect.Value {
	switch {
	case t.Kind() == reflect.Int64:
		return reflect.ValueOf(int64(-1)).Convert(t)
	case t == reflect.TypeFor[wire.TraceContext]():
		return reflect.ValueOf(wire.TraceContext(make([]byte, 24)))
	case t.Kind() == reflect.String:
		return reflect.ValueOf(strings.Repeat("x", limits(tag)[0]+1))
	default:
		return reflect.MakeSlice(t, limits(tag)[0]+1, limits(tag)[0]+1)
	}
}

func limits(tag string) (all []int) {
	for part := range strings.SplitSeq(strings.TrimPrefix(tag, "="), ",") {
		n, err := strconv.Atoi(part)
		if err != nil {
			panic(fmt.Sprintf("tag %q: %v", tag, err))
		}
		all = append(all, n)
	}
	return all
}

// draw returns a random message of a type, mostly small and sometimes at the limits of its fields.
func draw(t *rapid.T, of reflect.Type) wire.Message {
	v := reflect.New(of)
	drawInto(t, v.Elem(), "")
	return message(t, v)
}

// message returns what a reflected pointer points to as a message.
func message(t interface{ Fatalf(string, ...any) }, v reflect.Value) wire.Message {
	m, ok := reflect.TypeAssert[wire.Message](v)
	if !ok {
		t.Fatalf("%v is no message", v.Type())
	}
	return m
}

func drawInto(t *rapid.T, v reflect.Value, tag string) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Max(1<<v.Type().Bits()-1).Draw(t, "uint"))
	case reflect.Int64:
		v.SetInt(rapid.Int64Min(0).Draw(t, "duration"))
	case reflect.String:
		v.SetString(drawString(t, tag))
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(rapid.SliceOfN(rapid.Byte(), v.Len(), v.Len()).Draw(t, "bytes")))
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Field(i), v.Type().Field(i).Tag.Get("wire"))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[wire.TraceContext]() {
			if rapid.Bool().Draw(t, "traced") {
				v.SetBytes(rapid.SliceOfN(rapid.Byte(), 25, 25).Draw(t, "trace"))
			}
			return
		}
		own, elem, _ := strings.Cut(tag, ",")
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(drawString(t, own)))
			return
		}
		n := rapid.IntRange(0, min(3, limits(own)[0])).Draw(t, "elements")
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			drawInto(t, v.Index(i), elem)
		}
	default:
		panic(v.Type().String())
	}
}

func drawString(t *rapid.T, tag string) string {
	most := limits(tag)[0]
	switch {
	case strings.HasPrefix(tag, "="):
		return strings.Repeat("=", most)
	case rapid.IntRange(0, 20).Draw(t, "rare") == 0:
		return strings.Repeat("m", most)
	default:
		return rapid.StringN(-1, -1, min(most, 40)).Draw(t, "string")
	}
}

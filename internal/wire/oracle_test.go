package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"pgregory.net/rapid"

	"github.com/lockd/lockd/internal/wire"
)

// TestAnotherCodecAgrees has a general msgpack library write and read random messages of all types: the same bytes, the same values.
func TestAnotherCodecAgrees(t *testing.T) {
	handle := &codec.MsgpackHandle{WriteExt: true, PositiveIntUnsigned: true}
	handle.StructToArray = true
	types := examples()
	rapid.Check(t, func(t *rapid.T) {
		m := draw(t, reflect.TypeOf(rapid.SampledFrom(types).Draw(t, "type")).Elem())
		ours, err := wire.Append(nil, m)
		if err != nil {
			t.Skip(err) // it is too large for a frame
		}
		var theirs []byte
		if err := codec.NewEncoderBytes(&theirs, handle).Encode(m); err != nil {
			t.Fatal(err)
		}
		if body := ours[5:]; !bytes.Equal(body, theirs) {
			t.Fatalf("%+v\nours   %x\ntheirs %x", m, body, theirs)
		}
		back := reflect.New(reflect.TypeOf(m).Elem())
		if err := codec.NewDecoderBytes(ours[5:], handle).Decode(back.Interface()); err != nil {
			t.Fatal(err)
		}
		if diff := same(m, message(t, back)); diff != "" {
			t.Fatalf("they read differently (-want +got):\n%s", diff)
		}
	})
}

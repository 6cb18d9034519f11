package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// raw returns a frame of any type and body.
func raw(typ wire.Type, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(b, byte(typ)), body...)
}

// TestStreamGoesOnBehindAWrongBody reads frames with wrong bodies, of unknown types, and a right one behind them.
func TestStreamGoesOnBehindAWrongBody(t *testing.T) {
	want := &wire.Status{ID: 77}
	stream := bytes.Join([][]byte{
		raw(wire.TypeStatus, 0x92, 5, 0xc0, 0xc0), // a byte too many
		raw(wire.TypeStatus, 0x92, 0xa1, 'x', 0xc0),
		raw(0x3f, 0x91, 6),          // a request of a later version
		raw(0x3f, 0x80),             // one without an id
		raw(0x5f, 0x91, 0xc1, 0xc1), // a push of a later version, whatever it says
		frame(t, want),
	}, nil)
	r := wire.NewReader(iotest.OneByteReader(bytes.NewReader(stream)), wire.FrameMax)

	wrong := func(typ wire.Type, id uint64, text string) {
		t.Helper()
		_, err := r.Read()
		var body *wire.BodyError
		if !errors.As(err, &body) || body.Type != typ || body.ID != id || !body.IsRequest() || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want an error of request %d with %q", err, id, text)
		}
	}
	unknown := func(typ wire.Type, id uint64, request bool) {
		t.Helper()
		m, err := r.Read()
		u, ok := m.(*wire.Unknown)
		if err != nil || !ok || u.Type() != typ || u.ID != id || u.IsRequest() != request {
			t.Errorf("got %+v, %v, want the unknown type %v, id %d", m, err, typ, id)
		}
		if _, err := wire.Append(nil, m); err == nil {
			t.Error("an unknown message was written")
		}
	}
	wrong(wire.TypeStatus, 5, "Status, at byte 3 of the body: 1 bytes follow the end")
	wrong(wire.TypeStatus, 0, "Status.id, at byte 1 of the body: it is not a whole number from 0")
	unknown(0x3f, 6, true)
	wrong(0x3f, 0, "a request of a later version without an id")
	unknown(0x5f, 0, false)
	if m, err := r.Read(); err != nil || same(want, m) != "" {
		t.Errorf("behind them: %+v, %v", m, err)
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestStreamOutOfStep reads streams that cannot be trusted.
func TestStreamOutOfStep(t *testing.T) {
	for text, stream := range map[string]string{
		"0 bytes, not of 2 to 1024":              "\x00\x00\x00\x00\x10",
		"1 bytes, not of 2 to 1024":              "\x00\x00\x00\x01\x10\x90",
		"1025 bytes, not of 2 to 1024":           "\x00\x00\x04\x01\x10",
		"4294967295 bytes, not of 2 to 1024":     "\xff\xff\xff\xff\x10",
		"2 to 1024 (it looks like HTTP)":         "GET / HTTP/1.1\r\n",
		"2 to 1024 (it looks like an answer of ": "HTTP/1.1 400 Bad Request\r\n",
		"2 to 1024 (it looks like TLS)":          "\x16\x03\x01\x02\x00\x01\x00",
	} {
		r := wire.NewReader(strings.NewReader(stream), 1024)
		for range 2 {
			if _, err := r.Read(); !errors.Is(err, wire.ErrOutOfStep) || !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %v, want one with %q", stream, err, text)
			}
		}
	}
	whole := frame(t, examples()[0])
	for n := 1; n < len(whole); n++ {
		if _, err := wire.NewReader(bytes.NewReader(whole[:n]), wire.HelloMax).Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := wire.NewReader(bytes.NewReader(whole), 16).Read(); !errors.Is(err, wire.ErrOutOfStep) {
		t.Errorf("a frame above the limit: %v", err)
	}
}

// TestReadGoesOnAfterADeadline interrupts a Reader after every byte.
func TestReadGoesOnAfterADeadline(t *testing.T) {
	want := examples()[7]
	r := wire.NewReader(&slow{rest: frame(t, want)}, wire.FrameMax)
	for interrupted := 0; ; interrupted++ {
		m, err := r.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil || same(want, m) != "" || interrupted < 100 {
			t.Fatalf("after %d interruptions: %+v, %v", interrupted, m, err)
		}
		return
	}
}

// slow gives one byte, then a deadline, and so on.
type slow struct {
	rest  []byte
	pause bool
}

func (s *slow) Read(b []byte) (int, error) {
	if s.pause = !s.pause; s.pause {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b[:1], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// TestReaderKeepsWhatArrivedOnly opens many streams that announce a large frame and send little of it.
func TestReaderKeepsWhatArrivedOnly(t *testing.T) {
	const streams, sent = 1000, 600
	half := append(raw(wire.TypeAcquire, make([]byte, wire.FrameMax-1)...)[:5], make([]byte, sent-5)...)
	readers := make([]*wire.Reader, streams)
	used := allocated(func() {
		for i := range readers {
			readers[i] = wire.NewReader(bytes.NewReader(half), wire.FrameMax)
			if _, err := readers[i].Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
		}
	})
	if most := uint64(streams * (3*sent + 1024)); used > most {
		t.Errorf("%d streams took %d bytes, not at most %d", streams, used, most)
	}
	runtime.KeepAlive(readers)
}

// TestMessagesOwnTheirBytes reads a message, and writes over the buffer that it came through.
func TestMessagesOwnTheirBytes(t *testing.T) {
	for _, m := range examples() {
		b := frame(t, m)
		back, err := wire.Decode(m.Type(), b[5:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] = 0xff
		}
		if diff := same(m, back); diff != "" {
			t.Errorf("%v changed with the buffer (-want +got):\n%s", m.Type(), diff)
		}
	}
}

// TestWriterWritesManyAtOnce counts the writes to the stream.
func TestWriterWritesManyAtOnce(t *testing.T) {
	var got writes
	w := wire.NewWriter(&got)
	for i := range 100 {
		if err := w.Write(&wire.Status{ID: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(&wire.Get{Name: strings.Repeat("x", 513)}); err == nil {
		t.Error("a name too long was written")
	}
	if err := w.WriteFrames(frame(t, &wire.Status{ID: 100})); err != nil {
		t.Fatal(err)
	}
	if len(got.sizes) > 0 || w.Buffered() == 0 {
		t.Errorf("%d writes before Flush", len(got.sizes))
	}
	for range 2 {
		if err := w.Flush(); err != nil || len(got.sizes) != 1 || w.Buffered() != 0 {
			t.Errorf("%d writes after Flush, %d bytes left, %v", len(got.sizes), w.Buffered(), err)
		}
	}
	r := wire.NewReader(bytes.NewReader(got.all), wire.FrameMax)
	for i := range 101 {
		if m, err := r.Read(); err != nil || same(&wire.Status{ID: uint64(i)}, m) != "" {
			t.Fatalf("message %d: %+v, %v", i, m, err)
		}
	}

	large := &wire.SetValue{Name: "n", Value: make([]byte, 40<<10)}
	for range 10 {
		if err := w.Write(large); err != nil {
			t.Fatal(err)
		}
		if w.Buffered() >= 64<<10 {
			t.Errorf("%d bytes wait", w.Buffered())
		}
	}
	if len(got.sizes) != 1+5 {
		t.Errorf("400 KiB took %d writes", len(got.sizes)-1)
	}
	got.err = io.ErrClosedPipe
	if err := w.Write(large); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Flush(); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after the stream broke: %v", err)
		}
	}
	if err := w.Write(large); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after the stream broke: %v", err)
	}
}

type writes struct {
	sizes []int
	all   []byte
	err   error
}

func (w *writes) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.sizes = append(w.sizes, len(b))
	w.all = append(w.all, b...)
	return len(b), nil
}

// TestLaterVersion reads messages to which a later version has appended fields, at the end and within, and refuses shorter ones.
func TestLaterVersion(t *testing.T) {
	later := []byte{0x94, 0x81, 0xa1, 'k', 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0xc7, 2, 5, 1, 2, 0xc4, 1, 9, 0xd6, 0, 1, 2, 3, 4}
	body := []byte{0x94, 0x93, 0xc4, 16}
	body = append(body, bytes.Repeat([]byte{7}, 16)...)
	body = append(body, 9)
	body = append(body, later...)
	body = append(body, 3, 0)
	body = append(body, later...)
	m, err := wire.Decode(wire.TypeKeepAlive, body)
	want := &wire.KeepAlive{Life: wire.Life{ID: idOf(7), Index: 9}, Number: 3}
	if err != nil || same(want, m) != "" {
		t.Errorf("got %+v, %v", m, err)
	}
	for nested := 1; nested < 12; nested++ {
		deep := append([]byte{0x93, 5, 0xc0}, bytes.Repeat([]byte{0x91}, nested)...)
		_, err := wire.Decode(wire.TypeStatus, append(deep, 1))
		var format *wire.FormatError
		if ok := nested+2 <= 8; ok != (err == nil) || !ok && !errors.As(err, &format) {
			t.Errorf("%d arrays in a field of a later version: %v", nested, err)
		}
	}
	if _, err := wire.Decode(wire.TypeStatus, []byte{0x91, 5}); err == nil {
		t.Error("a message without its last field was read")
	}
}

// TestNumbersInAnyFormat reads a number in each format that can carry it.
func TestNumbersInAnyFormat(t *testing.T) {
	for _, number := range [][]byte{
		{5},
		{0xcc, 5},
		{0xcd, 0, 5},
		{0xce, 0, 0, 0, 5},
		{0xcf, 0, 0, 0, 0, 0, 0, 0, 5},
		{0xd0, 5},
		{0xd1, 0, 5},
		{0xd2, 0, 0, 0, 5},
		{0xd3, 0, 0, 0, 0, 0, 0, 0, 5},
	} {
		m, err := wire.Decode(wire.TypeNoQuorum, append([]byte{0x91}, number...))
		if err != nil || same(&wire.NoQuorum{Since: 5}, m) != "" {
			t.Errorf("% x: %+v, %v", number, m, err)
		}
		m, err = wire.Decode(wire.TypeStatus, append(append([]byte{0x92}, number...), 0xc0))
		if err != nil || same(&wire.Status{ID: 5}, m) != "" {
			t.Errorf("% x: %+v, %v", number, m, err)
		}
	}
	for _, number := range [][]byte{{0xff}, {0xd0, 0x80}, {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0xca, 0, 0, 0, 0}} {
		if m, err := wire.Decode(wire.TypeNoQuorum, append([]byte{0x91}, number...)); err == nil {
			t.Errorf("% x was read as the duration %+v", number, m)
		}
	}
}

// TestVersions wants the newest common version, and no other.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		magic    string
		from, to uint64
		ok       bool
	}{{"lockd", 1, 1, true}, {"lockd", 0, 9, true}, {"lockd", 2, 9, false}, {"lockd", 0, 0, false}, {"lockd", 1, 0, false}, {"locke", 1, 1, false}} {
		v, err := (&wire.Hello{Magic: c.magic, VersionMin: c.from, VersionMax: c.to}).Version()
		if c.ok != (err == nil && v == 1) {
			t.Errorf("%+v: version %d, %v", c, v, err)
		}
	}
}

// TestMetadata reads what it wrote, and refuses other forms.
func TestMetadata(t *testing.T) {
	want := wire.Metadata{Identity: "billing", Host: "h1", PID: 4711, Trace: bytes.Repeat([]byte{1}, 25)}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := wire.DecodeMetadata(b); err != nil || same(want, m) != "" {
		t.Errorf("got %+v, %v", m, err)
	}
	long := wire.Metadata{Host: strings.Repeat("h", 257)}
	if _, err := long.Encode(); err == nil || !strings.Contains(err.Error(), "Metadata.host") {
		t.Errorf("a host too long: %v", err)
	}
	for _, b := range [][]byte{nil, []byte("plain text"), {0x90}, make([]byte, wire.MetadataMax+1)} {
		if _, err := wire.DecodeMetadata(b); err == nil {
			t.Errorf("% x was read", b[:min(len(b), 8)])
		}
	}
}

// TestHostileBodies decodes small bodies that claim to be large. Each is refused for its reason, and costs next to nothing.
func TestHostileBodies(t *testing.T) {
	nils := bytes.Repeat([]byte{0xc0}, wire.FrameMax-16)
	for _, h := range []struct {
		what string
		typ  wire.Type
		body []byte
		text string
	}{
		{"4 G elements", wire.TypeDisconnected, []byte{0x91, 0xdd, 0xff, 0xff, 0xff, 0xff}, ".lives, at byte 1 of the body: 4294967295 elements"},
		{"4 G bytes", wire.TypeGoodbye, []byte{0x92, 1, 0xdb, 0xff, 0xff, 0xff, 0xff}, ".text, at byte 2 of the body: a string of 4294967295"},
		{"missing bytes", wire.TypeGoodbye, []byte{0x92, 1, 0xd9, 200, 'x'}, "of 200 bytes, of which 1 are there"},
		{"nils for structs", wire.TypeDisconnected, append([]byte{0x91, 0xdc, 0x40, 0x00}, nils...), ".lives[0], at byte 4 of the body: it is not an array"},
		{"empty structs", wire.TypeDisconnected, append([]byte{0x91, 0xdc, 0x40, 0x00}, bytes.Repeat([]byte{0x90}, 1<<14)...), ".lives[0], at byte 4 of the body: an array of 0"},
		{"a later field of 4 G", wire.TypeStatus, []byte{0x93, 1, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xff}, "bytes are missing"},
		{"a later map of 4 G", wire.TypeStatus, []byte{0x93, 1, 0xc0, 0xdf, 0xff, 0xff, 0xff, 0xff}, "bytes are missing"},
		{"a format without meaning", wire.TypeStatus, []byte{0x93, 1, 0xc0, 0xc1}, "means nothing"},
		{"no UTF-8", wire.TypeGoodbye, []byte{0x92, 1, 0xa1, 0xff}, "it is not UTF-8"},
		{"bin for a string", wire.TypeGoodbye, []byte{0x92, 1, 0xc4, 1, 'x'}, "it is not a string"},
		{"a string for bin", wire.TypeCheckTokens, []byte{0x93, 1, 0xa0, 0x90}, "it is not a bin"},
		{"a short trace", wire.TypeStatus, []byte{0x92, 1, 0xc4, 1, 0}, ".trace, at byte 2 of the body: a bin of 1 bytes, not of 25"},
		{"a map", wire.TypeStatus, []byte{0x82, 1, 1, 2, 2}, "Status, at byte 0 of the body: it is not an array"},
		{"a number out of range", wire.TypeGoodbye, []byte{0x92, 0xce, 0, 1, 0, 0, 0xa0}, ".code, at byte 1 of the body: 65536 is above 65535"},
		{"nothing", wire.TypeStatus, nil, "it is not an array"},
	} {
		used := allocated(func() {
			if m, err := wire.Decode(h.typ, h.body); err == nil || !strings.Contains(err.Error(), h.text) {
				t.Errorf("%s: %+v, %v, want an error with %q", h.what, m, err, h.text)
			}
		})
		if used > 4096 {
			t.Errorf("%s: %d bytes were allocated", h.what, used)
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestDurationsOfAnyUnit guards against a unit that changed: nanoseconds everywhere.
func TestDurationsOfAnyUnit(t *testing.T) {
	b := frame(t, &wire.NoQuorum{Since: time.Millisecond})
	if got := fmt.Sprintf("%x", b[5:]); got != "91ce000f4240" {
		t.Errorf("a millisecond is %s", got)
	}
}

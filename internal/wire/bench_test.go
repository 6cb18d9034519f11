package wire_test

import (
	"bytes"
	"testing"

	"github.com/lockd/lockd/internal/wire"
)

// BenchmarkEncode appends the frame of a hot message to a buffer, its check included.
func BenchmarkEncode(b *testing.B) {
	for _, m := range hot() {
		b.Run(m.Type().String(), func(b *testing.B) {
			size := len(frame(b, m))
			buf := make([]byte, 0, 4096)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Append(buf, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode reads the body of a hot message, its check included.
func BenchmarkDecode(b *testing.B) {
	for _, m := range hot() {
		b.Run(m.Type().String(), func(b *testing.B) {
			buf := frame(b, m)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.Decode(m.Type(), buf[5:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStream writes a hot message to a stream and reads it from there, a hundred at a time.
func BenchmarkStream(b *testing.B) {
	const batch = 100
	for _, m := range hot() {
		b.Run(m.Type().String(), func(b *testing.B) {
			var stream bytes.Buffer
			w, r := wire.NewWriter(&stream), wire.NewReader(&stream, wire.FrameMax)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if err := w.Write(m); err != nil {
					b.Fatal(err)
				}
				if n%batch < batch-1 {
					continue
				}
				if err := w.Flush(); err != nil {
					b.Fatal(err)
				}
				for range batch {
					if _, err := r.Read(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// hot returns the messages that most of the traffic is made of.
func hot() (all []wire.Message) {
	for _, m := range examples() {
		switch m.Type() {
		case wire.TypeAcquire, wire.TypeRelease, wire.TypeReply, wire.TypeKeepAlive, wire.TypeKeepAliveAnswer:
			all = append(all, m)
		default:
		}
	}
	return all
}

package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
)

// FuzzStream reads any bytes as a snapshot.
func FuzzStream(f *testing.F) {
	_, small := sampleStream(f, newModel().set(1, put("a", "b")))
	_, larger := sampleStream(f, newModel().step(3))
	f.Add(small)
	f.Add(larger)
	f.Add(small[:len(small)-1])
	f.Add(append(bytes.Clone(small), 0))
	f.Add([]byte("lockdsnp\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, stream []byte) { checkStream(t, stream) })
}

func checkStream(t *testing.T, stream []byte) {
	head, err := checkpoint.Verify(bytes.NewReader(stream))
	if err != nil {
		if !errors.Is(err, checkpoint.ErrBadStream) {
			t.Fatalf("not told as a bad stream: %v", err)
		}
		return
	}
	s := mustLoad(t, checkpoint.OpenMemory(&checkpoint.Media{}))
	staged := mustRestore(t, s, head.Mark, stream)
	if records, err := load(staged); err != nil || len(records) != head.Count {
		t.Fatalf("%d records of %d, %v", len(records), head.Count, err)
	}
}

// FuzzBlock puts any bytes where the records of a stream are, with sums that fit.
func FuzzBlock(f *testing.F) {
	_, stream := sampleStream(f, newModel().set(1, put("a", "b"), put("c", "")))
	const footer, block = 16, 8
	body := stream[len(stream)-footer-7 : len(stream)-footer] // two records
	before := stream[:len(stream)-footer-len(body)-block]
	f.Add(body)
	f.Add([]byte{})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'a'})
	f.Add([]byte{0, 0})
	f.Add([]byte{1, 1, 'm', 'x'})
	f.Fuzz(func(t *testing.T, records []byte) {
		sums := crc32.MakeTable(crc32.Castagnoli)
		b := binary.LittleEndian.AppendUint32(bytes.Clone(before), uint32(len(records)))
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(records, sums))
		b = append(append(b, records...), 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, sums))
		if bytes.Equal(records, body) != bytes.Equal(b, stream) {
			t.Fatal("the frame is not that of a stream")
		}
		checkStream(t, b)
	})
}

// TestEveryByteCounts flips every bit of a stream, one at a time, and cuts it everywhere.
func TestEveryByteCounts(t *testing.T) {
	_, stream := sampleStream(t, newModel().set(1, put("a", "b"), put("c", "")))
	if _, err := checkpoint.Verify(bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	for i := range stream {
		if _, err := checkpoint.Verify(bytes.NewReader(stream[:i])); !errors.Is(err, checkpoint.ErrBadStream) {
			t.Errorf("cut at %d: %v", i, err)
		}
		for bit := range 8 {
			bad := bytes.Clone(stream)
			bad[i] ^= 1 << bit
			if _, err := checkpoint.Verify(bytes.NewReader(bad)); !errors.Is(err, checkpoint.ErrBadStream) {
				t.Errorf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
}

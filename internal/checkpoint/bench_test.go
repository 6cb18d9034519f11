package checkpoint_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

const (
	benchRecords = 1_000_000
	benchValue   = 76 // with keys of 26 bytes
)

// BenchmarkFlush writes sets of 4,000 records.
func BenchmarkFlush(b *testing.B) {
	d := openDisk(b, b.TempDir())
	mustLoad(b, d)
	m := newModel()
	value := strings.Repeat("v", benchValue)
	for i := raft.Index(1); b.Loop(); i++ {
		b.StopTimer()
		records := make([]checkpoint.Record, 4000)
		for k := range records {
			records[k] = put(fmt.Sprintf("%026d", (int(i)*4000+k*7)%100_000), value)
		}
		set := m.set(i, records...)
		b.StartTimer()
		mustFlush(b, d, set)
	}
}

// million is the stream of 1,000,000 records.
func million(b *testing.B) (raft.Mark, []byte) {
	b.Helper()
	s := mustLoad(b, checkpoint.OpenMemory(&checkpoint.Media{}))
	m := newModel()
	value := strings.Repeat("v", benchValue)
	for i := 0; i < benchRecords; i += 10_000 {
		records := make([]checkpoint.Record, 10_000)
		for k := range records {
			records[k] = put(fmt.Sprintf("%026d", i+k), value)
		}
		mustFlush(b, s, m.set(m.head.Index+1, records...))
	}
	return streamOf(b, s)
}

// BenchmarkMillion restores 1,000,000 records, loads them, and streams them.
func BenchmarkMillion(b *testing.B) {
	mark, stream := million(b)
	dir := b.TempDir()
	d := openDisk(b, dir)
	mustLoad(b, d)
	var staged checkpoint.Staged
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(len(stream)))
		for b.Loop() {
			if staged != nil {
				staged.Discard()
			}
			staged = mustRestore(b, d, mark, stream)
		}
	})
	nothing := func(checkpoint.Record) error { return nil }
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if err := staged.Load(nothing); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(residentMiB(b), "RSS-MiB")
	})
	if err := staged.Commit(); err != nil {
		b.Fatal(err)
	}
	b.Run("snapshot", func(b *testing.B) {
		b.SetBytes(int64(len(stream)))
		for b.Loop() {
			s, err := d.Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, s); err != nil || n != int64(len(stream)) {
				b.Fatalf("%d bytes of %d, %v", n, len(stream), err)
			}
			mustClose(b, s)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.SetBytes(int64(len(stream)))
		for b.Loop() {
			if _, err := checkpoint.Verify(bytes.NewReader(stream)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// residentMiB is what the process occupies, the stream included, where the system tells.
func residentMiB(b *testing.B) float64 {
	b.Helper()
	var total, resident float64
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(statm), &total, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * float64(os.Getpagesize()) / (1 << 20)
}

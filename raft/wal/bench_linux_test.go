package wal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

// cpu returns what the process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// meter adds up what one of two rivals takes.
type meter struct{ wall, cpu time.Duration }

func (m *meter) run(b *testing.B, n int, f func()) {
	b.Helper()
	wall, used := time.Now(), cpu(b)
	for range n {
		f()
	}
	m.wall += time.Since(wall)
	m.cpu += cpu(b) - used
}

// BenchmarkWrite appends batches of 128-byte commands durably, in turns with the floor: the same bytes by a plain pwrite
// and fdatasync on a file that was filled with zeros. The floor's own CPU is mostly the kernel's.
func BenchmarkWrite(b *testing.B) {
	for _, batch := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			dir := b.TempDir()
			fs, err := wal.DirFS(filepath.Join(dir, "log"))
			if err != nil {
				b.Fatal(err)
			}
			l, err := wal.Create(wal.Options{FS: fs, Identity: someone})
			if err != nil {
				b.Fatal(err)
			}
			plain := newFloor(b, filepath.Join(dir, "floor"))
			const block = 25
			writes := make([][]raft.Write, block)
			size := rafttest.Entries(1, 1, 1, 128)[0].Size()
			payload := make([]byte, batch*size)
			var ours, floor meter
			var mallocs uint64
			last := raft.Index(0)
			b.ResetTimer()
			for range b.N {
				for i := range writes {
					writes[i] = []raft.Write{{Entries: rafttest.Entries(last+1, 1, batch, 128)}}
					last += raft.Index(batch)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				i := 0
				ours.run(b, block, func() {
					if err := l.Write(writes[i]); err != nil {
						b.Fatal(err)
					}
					i++
				})
				runtime.ReadMemStats(&after)
				mallocs += after.Mallocs - before.Mallocs
				floor.run(b, block, func() { plain.append(b, payload) })
				if last > 200_000 {
					if _, err := l.Compact(last - 100_000); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.StopTimer()
			n := float64(b.N * block)
			b.ReportMetric(float64(ours.wall.Nanoseconds())/1e3/n, "µs/sync")
			b.ReportMetric(float64(floor.wall.Nanoseconds())/1e3/n, "floor-µs/sync")
			b.ReportMetric(float64(ours.wall)/float64(floor.wall), "x-floor")
			b.ReportMetric(float64(ours.cpu.Nanoseconds())/1e3/n/float64(batch), "cpu-µs/entry")
			b.ReportMetric(float64(floor.cpu.Nanoseconds())/1e3/n/float64(batch), "floor-cpu-µs/entry")
			b.ReportMetric(float64(mallocs)/n, "mallocs/sync")
			b.ReportMetric(0, "ns/op")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// floor is the least that a durable append can be.
type floor struct {
	file *os.File
	at   int64
	size int64
}

func newFloor(b *testing.B, path string) *floor {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteAt(make([]byte, wal.DefaultSegmentBytes), 0); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return &floor{file: f, size: wal.DefaultSegmentBytes}
}

func (f *floor) append(b *testing.B, p []byte) {
	b.Helper()
	if f.at+int64(len(p)) > f.size {
		f.at = 0
	}
	if _, err := f.file.WriteAt(p, f.at); err != nil {
		b.Fatal(err)
	}
	if err := syscall.Fdatasync(int(f.file.Fd())); err != nil {
		b.Fatal(err)
	}
	f.at += int64(len(p))
}

// BenchmarkRead reads the log in pieces of 256 KiB, as a leader does for a follower that was away.
func BenchmarkRead(b *testing.B) {
	storage, err := place(0, nil, func() (wal.FS, error) { return wal.DirFS(b.TempDir() + "/log") })()
	if err != nil {
		b.Fatal(err)
	}
	const entries = 50_000
	for i := raft.Index(0); i < entries; i += 500 {
		if err := storage.Write([]raft.Write{{Entries: rafttest.Entries(i+1, 1, 500, 128)}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	read := 0
	for range b.N {
		for lo := raft.Index(1); lo <= entries; {
			got, err := storage.Read(lo, entries, 256<<10)
			if err != nil {
				b.Fatal(err)
			}
			lo += raft.Index(len(got))
			read += len(got)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read), "ns/entry")
	b.StopTimer()
	if err := storage.Close(); err != nil {
		b.Fatal(err)
	}
}

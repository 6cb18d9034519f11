package replica_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

const (
	benchLocks    = 1_000_000
	benchSessions = 10
)

func openDisk(b testing.TB, dir string) *checkpoint.Disk {
	b.Helper()
	d, err := checkpoint.Open(checkpoint.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// benchEntries are the entries by which 10 sessions come to hold 1,000,000 locks with names of 16 bytes.
type benchEntries struct {
	life session.Life
	next raft.Index
}

func (e *benchEntries) batch(n int) raft.Batch {
	batch := raft.Batch{Results: make([]any, n)}
	for range n {
		e.next++
		cmd := e.command()
		batch.Entries = append(batch.Entries, raft.NewEntry(raft.Position{Index: e.next, Term: 1}, raft.KindCommand, locktable.Encode(cmd)))
	}
	return batch
}

func (e *benchEntries) command() locktable.Command {
	const each = benchLocks/benchSessions + 1 // the first entry opens the session
	if (e.next-2)%each == 0 {
		e.life = session.Life{ID: session.ID{byte(e.next / each)}, Index: uint64(e.next)}
		return &locktable.Open{ID: e.life.ID, TTL: time.Minute}
	}
	q := locktable.Request{Session: e.life, Seq: uint64(e.next), Acked: uint64(e.next) - 1}
	return &locktable.Acquire{Request: q, Names: []string{lockName(e.next)}, Mode: locktable.Exclusive, Owner: q.Seq}
}

func lockName(i raft.Index) string {
	b := []byte("locks/0000000000")
	for at := len(b) - 1; i > 0; at-- {
		b[at], i = byte('0'+i%10), i/10
	}
	return string(b)
}

// memory returns the bytes of the heap that are in use, and what the process occupies.
func memory(b *testing.B) (heap, resident float64) {
	b.Helper()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var total, pages float64
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return float64(m.HeapAlloc), 0
	}
	if _, err := fmt.Sscan(string(statm), &total, &pages); err != nil {
		b.Fatal(err)
	}
	return float64(m.HeapAlloc), pages * float64(os.Getpagesize())
}

// BenchmarkMillionHeld fills a node with 1,000,000 held locks, and starts it again. It tells what a lock costs in memory (of the
// heap, and of the process with badger's tables), on the disk, to apply, to load, and to list.
func BenchmarkMillionHeld(b *testing.B) {
	for b.Loop() {
		dir := b.TempDir()
		fill(b, dir)
		b.ReportMetric(diskBytes(b, dir)/benchLocks, "disk-B/lock")
		heap, resident := memory(b)
		store := openDisk(b, dir)
		began := time.Now()
		r, err := replica.Open(replica.Options{Store: store})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "load-s")
		heap2, resident2 := memory(b)
		b.ReportMetric((heap2-heap)/benchLocks, "heap-B/lock")
		b.ReportMetric((resident2-resident)/benchLocks, "RSS-B/lock")
		r.View(func(t *locktable.Table) {
			if locks, _, _ := t.Len(); locks != benchLocks {
				b.Fatalf("%d locks", locks)
			}
			began := time.Now()
			names := t.Names("locks/0000999")
			b.ReportMetric(time.Since(began).Seconds()*1e3, "list-ms")
			if len(names) < 990 {
				b.Fatalf("%d names", len(names))
			}
		})
		began = time.Now()
		if _, err := store.Keep(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "keep-s")
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// fill makes the checkpoint of a node with 1,000,000 held locks.
func fill(b *testing.B, dir string) {
	b.Helper()
	store := openDisk(b, dir)
	r, err := replica.Open(replica.Options{Store: store})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	config := raft.NewEntry(raft.Position{Index: 1, Term: 1}, raft.KindConfig, configOf("a", "b", "c").AppendBinary(nil))
	r.Apply(raft.Batch{Entries: []raft.Entry{config}, Results: make([]any, 1)})
	e := &benchEntries{next: 1}
	var took time.Duration
	for n := benchLocks + benchSessions; n > 0; n -= 1000 {
		batch := e.batch(min(n, 1000))
		began := time.Now()
		r.Apply(batch)
		took += time.Since(began)
	}
	b.ReportMetric(took.Seconds()*1e9/benchLocks, "apply-ns/lock")
	cancel()
	if err := <-ran; err != nil {
		b.Fatal(err)
	}
	if head := store.Head(); head.Count != benchLocks+benchSessions {
		b.Fatalf("%d records are durable", head.Count)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// diskBytes is what the checkpoint occupies, without the kept copy.
func diskBytes(b *testing.B, dir string) (n float64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "kept.snapshot" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += float64(info.Size())
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}

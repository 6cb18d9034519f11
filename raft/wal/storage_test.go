package wal_test

import (
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

var someone = wal.Identity{Cluster: [16]byte{1, 2, 3}, Peer: raft.PeerID{Node: 7, Incarnation: 0xfeed}}

// inline runs tasks at once: with it a log on a Disk is deterministic.
func inline(task func()) { task() }

// place returns how a log on a file system that can be opened several times is opened.
func place(segmentBytes int64, background func(func()), mount func() (wal.FS, error)) rafttest.OpenStorage {
	return func() (raft.Storage, error) {
		fs, err := mount()
		if err != nil {
			return nil, err
		}
		o := wal.Options{FS: fs, Identity: someone, SegmentBytes: segmentBytes, Background: background}
		switch _, exists, err := wal.Inspect(fs); {
		case err != nil:
			return nil, err
		case exists:
			return wal.Open(o)
		}
		return wal.Create(o)
	}
}

func TestLogOnADirectoryIsAStorage(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int64
	}{{"SmallSegments", 32 << 10}, {"LargeSegments", 2 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			rafttest.TestStorage(t, func(t *testing.T) rafttest.OpenStorage {
				dir := t.TempDir() + "/log"
				return place(c.bytes, nil, func() (wal.FS, error) { return wal.DirFS(dir) })
			})
		})
	}
}

func TestLogOnADiskIsAStorage(t *testing.T) {
	rafttest.TestStorage(t, func(*testing.T) rafttest.OpenStorage {
		disk := rafttest.NewDisk(1)
		return place(16<<10, inline, func() (wal.FS, error) { return disk, nil })
	})
}

// The writer takes no memory for a batch or an entry, once it has what the largest batch needs.
func TestWriteAllocatesNothing(t *testing.T) {
	storage, err := place(0, nil, func() (wal.FS, error) { return wal.DirFS(t.TempDir() + "/log") })()
	if err != nil {
		t.Fatal(err)
	}
	var batches [][]raft.Write
	for i := range raft.Index(202) {
		batches = append(batches, []raft.Write{{Hard: hard(raft.Term(i+1), 1), Entries: rafttest.Entries(i*64+1, 1, 64, 32)}})
	}
	write := func() {
		if err := storage.Write(batches[0]); err != nil {
			t.Fatal(err)
		}
		batches = batches[1:]
	}
	write()
	if n := testing.AllocsPerRun(200, write); n > 0 {
		t.Errorf("%v allocations for a batch of 64 entries", n)
	}
	if err := storage.Close(); err != nil {
		t.Error(err)
	}
}

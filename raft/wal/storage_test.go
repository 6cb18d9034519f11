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
	}{{"SmallSegments", 32 << 10}, {"DefaultSegments", 0}} {
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

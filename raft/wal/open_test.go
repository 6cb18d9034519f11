package wal_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

// S14: the only record of the vote lies in a segment that goes.
func TestS14VoteSurvivesReset(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Hard: hard(9, 3)}), write(raft.Write{Reset: mark(100, 8)}), step{reopen: true})
	want := model{}.after(write(raft.Write{Reset: mark(100, 8), Hard: hard(9, 3)}))
	if why := want.differs(r.log); why != "" {
		t.Error(why)
	}
	if names := segments(t, r.disk); len(names) != 1 {
		t.Errorf("segments are left: %v", names)
	}
}

// S14: the same by compaction.
func TestS14VoteSurvivesCompaction(t *testing.T) {
	steps := []step{write(raft.Write{Hard: hard(9, 3)})}
	for i := range raft.Index(20) {
		steps = append(steps, write(raft.Write{Entries: rafttest.Entries(1+i*3, 2, 3, 800)}))
	}
	r := mustRun(t, 1, append(steps, step{compact: 60}, step{reopen: true})...)
	if state, err := r.log.Load(); err != nil || state.Hard != hard(9, 3) || state.Base.Index == 0 {
		t.Errorf("got %+v, %v", state, err)
	}
}

// S14 (b): an id that names a log which is not there, as when its disk is not mounted, is no reason to make a new one.
func TestS14IdentityWithoutALogIsRefused(t *testing.T) {
	r := &run{disk: rafttest.NewDisk(1)}
	if _, exists, err := wal.Inspect(r.disk); err != nil || exists {
		t.Fatalf("an empty directory: exists %v, %v", exists, err)
	}
	_, err := wal.Open(r.options())
	mustFail(t, "open", err, wal.ErrNoLog)
	if names, err := r.disk.List(); err != nil || len(names) > 0 {
		t.Errorf("open has left %v, %v", names, err)
	}
}

// Trap 36, S14: a log is opened by the node and the life of it that made it, and by nobody else.
func TestTrap36OtherIdentityIsRefused(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Hard: hard(9, 3)}))
	if id, exists, err := wal.Inspect(r.disk); id != someone || !exists || err != nil {
		t.Errorf("Inspect: %v, %v, %v", id, exists, err)
	}
	for _, change := range []func(id *wal.Identity){
		func(id *wal.Identity) { id.Cluster[15]++ },
		func(id *wal.Identity) { id.Peer.Node++ },
		func(id *wal.Identity) { id.Peer.Incarnation++ },
	} {
		o := r.options()
		change(&o.Identity)
		_, err := wal.Open(o)
		mustFail(t, "open", err, wal.ErrIdentity)
	}
	_, err := wal.Create(r.options())
	mustFail(t, "create", err, wal.ErrExists)
	if err := r.open(); err != nil {
		t.Errorf("its own identity: %v", err)
	}
}

// A second process, or a second log of this one, is kept away from the directory.
func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir() + "/log"
	first, err := wal.DirFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = wal.DirFS(dir)
	mustFail(t, "second", err, wal.ErrInUse)
	l, err := wal.Create(wal.Options{FS: first, Identity: someone})
	if err != nil {
		t.Fatal(err)
	}
	_, err = wal.DirFS(dir)
	mustFail(t, "beside a log", err, wal.ErrInUse)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	third, err := wal.DirFS(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
}

func TestClosedLogRefuses(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Entries: rafttest.Entries(1, 1, 2, 100)}))
	for range 2 {
		if err := r.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	mustFail(t, "write", r.log.Write([]raft.Write{{Hard: hard(1, 1)}}), wal.ErrClosed)
	_, err := r.log.Read(1, 1, 10)
	mustFail(t, "read", err, wal.ErrClosed)
	_, err = r.log.Compact(1)
	mustFail(t, "compact", err, wal.ErrClosed)
	_, err = r.log.Load()
	mustFail(t, "load", err, wal.ErrClosed)
}

// Open reads a log of any size in little memory: what stays is eight bytes for an entry at most, and what is needed on
// the way does not grow with the log.
func TestOpenNeedsLittleMemory(t *testing.T) {
	const entries, size = 60_000, 1000
	dir := t.TempDir() + "/log"
	open := place(0, nil, func() (wal.FS, error) { return wal.DirFS(dir) })
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for i := raft.Index(0); i < entries; i += 1000 {
		if err := l.Write([]raft.Write{{Entries: rafttest.Entries(i+1, 1, 1000, size)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after, kept runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if l, err = open(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	runtime.GC()
	runtime.ReadMemStats(&kept)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("Open has allocated %d bytes for a log of %d", n, entries*size)
	}
	if n := int64(kept.HeapAlloc) - int64(before.HeapAlloc); n > 8*entries+(2<<20) {
		t.Errorf("an open log of %d entries holds %d bytes", entries, n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

package wal_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

// Trap 54: a failed flush is the end, though the next one would succeed.
func TestTrap54FailedSyncIsFinal(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Hard: hard(1, 1), Entries: rafttest.Entries(1, 1, 2, 100)}))
	r.disk.FailSync(1)
	first := r.log.Write([]raft.Write{{Hard: hard(2, 2)}})
	mustFail(t, "write", first, syscall.EIO)
	syncs := r.disk.Syncs()
	mustFail(t, "second write", r.log.Write([]raft.Write{{Hard: hard(2, 2)}}), syscall.EIO)
	_, err := r.log.Compact(1)
	mustFail(t, "compact", err, syscall.EIO)
	_, err = r.log.Read(1, 1, 100)
	mustFail(t, "read", err, syscall.EIO)
	if r.disk.Syncs() != syncs {
		t.Error("the flush was tried again")
	}
}

// Trap 54 in every place: after a failed flush and a restart of the process the cache shows what the disk does not
// have. A power cut then must not take back what the restarted node has seen.
func TestTrap54RestartAfterAFailedSync(t *testing.T) {
	steps := everything()
	all := states(steps)
	failed := 0
	for n := 1; ; n++ {
		r := &run{disk: rafttest.NewDisk(uint64(n))}
		r.disk.FailSync(n)
		done := 0
		err := r.open()
		if err == nil {
			done, err = r.take(steps)
		}
		if err == nil {
			break
		}
		failed++
		mustFail(t, fmt.Sprintf("flush %d", n), err, syscall.EIO)
		r.disk.Kill()
		done = r.recover(t, all, done) // and says so to the other nodes
		r.disk.Crash()
		if got := r.recover(t, all, done); got != done {
			t.Fatalf("flush %d failed: %d steps were seen after the restart, %d after the power cut", n, done, got)
		}
		if _, err := r.take(steps[done:]); err != nil {
			t.Fatal(err)
		}
	}
	if failed < 40 {
		t.Errorf("only %d flushes to fail", failed)
	}
}

// L9: Open makes durable what it has found, as a killed process may have left it in the cache alone.
func TestL09OpenMakesDurableWhatItFound(t *testing.T) {
	steps := everything()
	all := states(steps)
	for n := 1; ; n++ {
		r := &run{disk: rafttest.NewDisk(uint64(n))}
		r.disk.CutAt(n)
		done := 0
		err := r.open()
		if err == nil {
			done, err = r.take(steps)
		}
		if err == nil {
			break
		}
		r.disk.Resume()
		done = r.recover(t, all, done)
		r.disk.Crash()
		if got := r.recover(t, all, done); got != done {
			t.Fatalf("killed in operation %d: %d steps were seen after the restart, %d after the power cut", n, done, got)
		}
	}
}

// fillUp returns what it takes to fill the present segment of a log that holds nothing.
func fillUp(t *testing.T, r *run) (last raft.Index) {
	t.Helper()
	before := len(segments(t, r.disk))
	for last = 1; ; last++ {
		if err := r.log.Write([]raft.Write{{Entries: rafttest.Entries(last, 1, 1, 1000)}}); err != nil {
			mustFail(t, "write on a full disk", err, raft.ErrDiskFull)
			return last - 1
		}
		if len(segments(t, r.disk)) > before+10 {
			t.Fatal("the disk does not get full")
		}
	}
}

// A full disk: a batch that finds no room leaves no trace, smaller ones that do find room succeed, and when there is
// room again all is well.
func TestFullDiskLeavesNoTrace(t *testing.T) {
	r := mustRun(t, 1)
	r.disk.SetFull(r.disk.Used())
	last := fillUp(t, r)
	before := r.disk.Contents(segments(t, r.disk)[0])
	want := model{}.after(write(raft.Write{Entries: rafttest.Entries(1, 1, int(last), 1000)}))
	for range 3 {
		err := r.log.Write([]raft.Write{
			{Hard: hard(2, 2)},
			{TruncateFrom: 2, Entries: rafttest.Entries(2, 2, 30, 1000)},
		})
		mustFail(t, "write", err, raft.ErrDiskFull)
		mustFail(t, "reset", r.log.Write([]raft.Write{{Hard: hard(3, 3)}, {Reset: mark(99, 1)}}), raft.ErrDiskFull)
	}
	if why := want.differs(r.log); why != "" {
		t.Error(why)
	}
	if string(before) != string(r.disk.Contents(segments(t, r.disk)[0])) {
		t.Error("a write that found no room has written")
	}
	small := write(raft.Write{Hard: hard(4, 4)})
	if _, err := r.take([]step{small}); err != nil {
		t.Fatalf("a write that fits: %v", err)
	}
	want = want.after(small)
	r.disk.SetFull(0)
	big := write(raft.Write{TruncateFrom: 2, Entries: rafttest.Entries(2, 5, 30, 1000)})
	if _, err := r.take([]step{big, {reopen: true}}); err != nil {
		t.Fatalf("when there is room again: %v", err)
	}
	if why := want.after(big).differs(r.log); why != "" {
		t.Error(why)
	}
}

// Compaction makes room for the log itself, on a disk that stays full.
func TestCompactionMakesRoomOnAFullDisk(t *testing.T) {
	r := mustRun(t, 1)
	r.disk.SetFull(4 * smallSegment)
	last := fillUp(t, r)
	if _, err := r.log.Compact(last); err != nil {
		t.Fatal(err)
	}
	if _, err := r.take([]step{write(raft.Write{Entries: rafttest.Entries(last+1, 1, 5, 1000)})}); err != nil {
		t.Error(err)
	}
}

// The next segment is ready before it is needed: the call that fills one does not wait for zeros to be written.
func TestNextSegmentIsPreparedBeforeItIsNeeded(t *testing.T) {
	var tasks []func()
	disk := rafttest.NewDisk(1)
	l, err := wal.Create(wal.Options{
		FS: disk, Identity: someone, SegmentBytes: smallSegment,
		Background: func(task func()) { tasks = append(tasks, task) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := raft.Index(1); len(segments(t, disk)) < 4; i++ {
		if len(tasks) > 1 {
			t.Fatalf("%d tasks at a time", len(tasks))
		}
		for _, task := range tasks {
			task()
		}
		tasks = nil
		used := disk.Used()
		if err := l.Write([]raft.Write{{Entries: rafttest.Entries(i, 1, 1, 1000)}}); err != nil {
			t.Fatal(err)
		}
		if disk.Used() != used {
			t.Fatalf("the write of entry %d took %d bytes of the disk", i, disk.Used()-used)
		}
	}
	if len(tasks) != 1 {
		t.Fatal("no task after the change of segment")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ops := disk.Ops()
	tasks[0]()
	if disk.Ops() != ops {
		t.Error("a task that comes after Close has written")
	}
}

// A compacted segment's file is used again: the log's files do not grow in number, and nothing stale is seen in them.
func TestSegmentsAreRecycled(t *testing.T) {
	r := mustRun(t, 1)
	var most int64
	for i := raft.Index(0); i < 2000; i += 5 {
		s := []step{write(raft.Write{Entries: rafttest.Entries(i+1, 1, 5, 300)}), {compact: i}}
		if _, err := r.take(s); err != nil {
			t.Fatal(err)
		}
		most = max(most, r.disk.Used())
		if i%50 == 0 {
			r.disk.Kill()
			if err := r.open(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.torn > 0 {
		t.Errorf("stale bytes were taken for a torn tail %d times", r.torn)
	}
	if most > 4*smallSegment {
		t.Errorf("the log took %d bytes, four segments are %d", most, 4*smallSegment)
	}
}

// A reader holds on to the segment it reads, though it is compacted and its file wanted for new entries.
func TestReadWhileItsSegmentIsDropped(t *testing.T) {
	dir := t.TempDir() + "/log"
	storage, err := place(smallSegment, nil, func() (wal.FS, error) { return wal.DirFS(dir) })()
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Write([]raft.Write{{Entries: rafttest.Entries(1, 1, 10, 500)}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for lo := raft.Index(1); ; {
			select {
			case <-stop:
				return
			default:
			}
			got, err := storage.Read(lo, lo+3, 4000)
			switch {
			case errors.Is(err, raft.ErrCompacted):
				lo += 5
			case err != nil && lo > 1 && !errors.Is(err, wal.ErrRetired):
				lo = 1 // beyond the end
			case err != nil:
				t.Errorf("read %d: %v", lo, err)
				return
			case got[0].Index() != lo:
				t.Errorf("read %d gives %d", lo, got[0].Index())
				return
			}
		}
	})
	for i := raft.Index(10); i < 3000; i += 10 {
		if err := storage.Write([]raft.Write{{Entries: rafttest.Entries(i+1, 1, 10, 500)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := storage.Compact(i); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if err := storage.Close(); err != nil {
		t.Error(err)
	}
}

// A call that no log can carry out is refused, with what and where, and nothing of it is written.
func TestImpossibleWritesAreRefused(t *testing.T) {
	first := raft.Write{Entries: rafttest.Entries(1, 5, 3, 10)}
	for name, w := range map[string]raft.Write{
		"gap":              {Entries: rafttest.Entries(5, 5, 1, 10)},
		"overlap":          {Entries: rafttest.Entries(3, 5, 1, 10)},
		"falling term":     {Entries: rafttest.Entries(4, 4, 1, 10)},
		"no entry":         {Entries: make([]raft.Entry, 1)},
		"truncation above": {TruncateFrom: 9},
		"bad snapshot":     {Reset: raft.Mark{Position: raft.Position{Index: 9, Term: 9}, Config: raft.Config{Voters: make([]raft.Peer, 1)}}},
	} {
		r := mustRun(t, 1, write(first))
		ops := r.disk.Ops()
		if err := r.log.Write([]raft.Write{{Hard: hard(9, 9)}, w}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if r.disk.Ops() != ops {
			t.Errorf("%s: something was written", name)
		}
	}
	r := mustRun(t, 1, write(raft.Write{Reset: mark(5, 1)}))
	if err := r.log.Write([]raft.Write{{TruncateFrom: 5}}); err == nil {
		t.Error("truncation below the base: no error")
	}
}

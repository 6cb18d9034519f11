package wal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

// FuzzSegment opens a log of two segments with arbitrary bytes in one of them, as they are and with sums that are
// right. Whatever they are, Open gives a log that can be read and written, or an error.
func FuzzSegment(f *testing.F) {
	names := []string{"0000000000000001.wal", "0000000000000002.wal"}
	r := &run{disk: rafttest.NewDisk(1)}
	if err := r.open(); err != nil {
		f.Fatal(err)
	}
	for i := range raft.Index(4) {
		w := raft.Write{Hard: hard(raft.Term(i+1), 2), Entries: rafttest.Entries(1+i*4, raft.Term(i+1), 4, 900)}
		if err := r.log.Write([]raft.Write{w}); err != nil {
			f.Fatal(err)
		}
	}
	files := [][]byte{r.disk.Contents(names[0]), r.disk.Contents(names[1])}
	for i, file := range files {
		f.Add(i == 1, false, bytes.TrimRight(file, "\x00"))
		f.Add(i == 1, true, bytes.TrimRight(file, "\x00"))
	}
	f.Add(true, true, files[0][:4096])
	f.Fuzz(func(t *testing.T, second, sums bool, b []byte) {
		if len(b) > 4*smallSegment {
			return
		}
		if b = bytes.Clone(b); sums {
			wal.SumRecords(b)
		}
		disk := rafttest.NewDisk(1)
		for i, name := range names {
			content := files[i]
			if second == (i == 1) {
				content = b
			}
			if _, err := disk.Open(name, true); err != nil {
				t.Fatal(err)
			}
			put(t, disk, name, content, 0)
		}
		use(t, &run{disk: disk, created: true})
	})
}

// use opens a log that may be damaged in any way and, if it opens, does with it what a node does.
func use(t *testing.T, r *run) {
	t.Helper()
	if err := r.open(); err != nil {
		return
	}
	state, err := r.log.Load()
	if err != nil {
		return // a configuration that is none
	}
	for lo := state.Base.Index + 1; lo <= state.Last; {
		got, err := r.log.Read(lo, state.Last, 1<<16)
		if err != nil {
			t.Fatalf("read %d of %d: %v", lo, state.Last, err)
		}
		lo += raft.Index(len(got))
	}
	term := max(1, state.Base.Term)
	if n := len(state.Runs); n > 0 {
		term = state.Runs[n-1].Term
	}
	if state.Last+2 < state.Last {
		return
	}
	for range 3 {
		err = errors.Join(err, r.log.Write([]raft.Write{{Entries: rafttest.Entries(state.Last+1, term, 1, 5000)}}))
		state.Last++
	}
	if _, cerr := r.log.Compact(state.Last); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.open(); err != nil {
		t.Fatalf("open again: %v", err)
	}
}

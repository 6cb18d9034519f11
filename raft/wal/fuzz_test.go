package wal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

// fuzzedHeader is how much of a segment's header is not always zero.
const fuzzedHeader = 160

// FuzzSegment opens a log of one or two segments with arbitrary bytes in one of them, as they are and with sums that
// are right. Whatever they are, Open gives a log that can be read and written, or an error.
func FuzzSegment(f *testing.F) {
	r := &run{disk: rafttest.NewDisk(1), bytes: 8 << 10}
	if err := r.open(); err != nil {
		f.Fatal(err)
	}
	for _, w := range []raft.Write{
		{Hard: hard(1, 2), Entries: rafttest.Entries(1, 1, 4, 9)},
		{TruncateFrom: 3, Hard: hard(2, 3), Entries: rafttest.Entries(3, 2, 1, 0)},
		{Entries: []raft.Entry{raft.NewEntry(raft.Position{Index: 4, Term: 2}, raft.KindConfig, mark(4, 2).Config.AppendBinary(nil))}},
		{Entries: rafttest.Entries(5, 2, 1, 5000)}, // in the second segment
		{Hard: hard(3, 4)},
	} {
		if err := r.log.Write([]raft.Write{w}); err != nil {
			f.Fatal(err)
		}
	}
	first, second := r.disk.Contents("0000000000000001.wal"), r.disk.Contents("0000000000000002.wal")
	for _, both := range []bool{false, true} {
		for _, sums := range []bool{false, true} {
			f.Add(both, sums, first[:fuzzedHeader], bytes.TrimRight(first[4096:], "\x00"))
		}
	}
	f.Fuzz(func(t *testing.T, both, sums bool, head, records []byte) {
		b := make([]byte, 8<<10)
		copy(b[:fuzzedHeader], head)
		copy(b[4096:], records)
		if sums {
			wal.SumRecords(b)
		}
		files := map[string][]byte{"0000000000000001.wal": b}
		if both {
			files["0000000000000002.wal"] = second
		}
		disk := rafttest.NewDisk(1)
		for name, content := range files {
			if _, err := disk.Open(name, true); err != nil {
				t.Fatal(err)
			}
			put(t, disk, name, content, 0)
		}
		use(t, &run{disk: disk, created: true, bytes: 8 << 10})
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

package wal_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

const smallSegment = 16 << 10

// model is what a log must hold, kept in the plainest way.
type model struct {
	hard    raft.HardState
	base    raft.Index   // nothing up to here is compared
	entries []raft.Entry // from index 1 on
}

func (m model) last() raft.Index { return raft.Index(len(m.entries)) }

// step is one call that a run makes.
type step struct {
	writes  []raft.Write
	compact raft.Index
	reopen  bool
}

func (m model) after(s step) model {
	m.entries = slices.Clone(m.entries)
	for _, w := range s.writes {
		if w.Reset.Index > 0 {
			m.base, m.entries = w.Reset.Index, make([]raft.Entry, w.Reset.Index)
		}
		if w.Hard != (raft.HardState{}) {
			m.hard = w.Hard
		}
		if w.TruncateFrom > 0 {
			m.entries = m.entries[:w.TruncateFrom-1]
		}
		m.entries = append(m.entries, w.Entries...)
	}
	m.base = max(m.base, s.compact)
	return m
}

// differs says in what a log is not the model; "" if in nothing.
func (m model) differs(l *wal.Log) string {
	state, err := l.Load()
	switch {
	case err != nil:
		return err.Error()
	case state.Hard != m.hard:
		return fmt.Sprintf("hard state %+v, want %+v", state.Hard, m.hard)
	case state.Last != m.last():
		return fmt.Sprintf("last index %d, want %d", state.Last, m.last())
	case state.Base.Index > m.base:
		return fmt.Sprintf("base %d, want %d at most", state.Base.Index, m.base)
	}
	for i := m.base + 1; i <= m.last(); {
		got, err := l.Read(i, m.last(), 1<<20)
		if err != nil || len(got) == 0 {
			return fmt.Sprintf("read from %d: %d entries, %v", i, len(got), err)
		}
		for _, e := range got {
			if !bytes.Equal(e.Bytes(), m.entries[i-1].Bytes()) {
				return fmt.Sprintf("%.60q where entry %d was written", e.Bytes(), i)
			}
			i++
		}
	}
	return ""
}

func hard(term raft.Term, vote raft.NodeID) raft.HardState {
	return raft.HardState{Term: term, Vote: raft.PeerID{Node: vote, Incarnation: 5}}
}

func write(ws ...raft.Write) step { return step{writes: ws} }

func mark(i raft.Index, term raft.Term) raft.Mark {
	return raft.Mark{
		Position: raft.Position{Index: i, Term: term},
		Config:   raft.Config{Index: i, Voters: []raft.Peer{{ID: raft.PeerID{Node: 7, Incarnation: 0xfeed}, Address: "here"}}},
	}
}

// everything is a run with all that can happen to a log, in segments of smallSegment.
func everything() []step {
	steps := []step{
		write(raft.Write{Hard: hard(1, 7)}),
		write(raft.Write{Entries: rafttest.Entries(1, 1, 3, 40)}),
		write(raft.Write{Entries: rafttest.Entries(4, 1, 10, 300)}, raft.Write{Hard: hard(2, 0)}),
	}
	last := raft.Index(13)
	grow := func(term raft.Term, n, size int) {
		steps = append(steps, write(raft.Write{Hard: hard(term, 7), Entries: rafttest.Entries(last+1, term, n, size)}))
		last += raft.Index(n)
	}
	cut := func(term raft.Term, back raft.Index, n, size int) {
		steps = append(steps, write(raft.Write{TruncateFrom: last + 1 - back, Entries: rafttest.Entries(last+1-back, term, n, size)}))
		last += raft.Index(n) - back
	}
	for range 12 {
		grow(2, 5, 700)
	}
	cut(3, 7, 3, 200)
	cut(4, 25, 10, 900) // across a segment
	steps = append(steps, step{compact: 30})
	for range 10 {
		grow(5, 4, 900)
	}
	steps = append(steps, step{compact: last - 3}, step{reopen: true})
	grow(6, 30, 1500) // more than a segment
	grow(6, 2, 10)
	steps = append(steps, step{compact: last - 1},
		write(
			raft.Write{Hard: hard(8, 9)},
			raft.Write{Reset: mark(1000, 7), Entries: rafttest.Entries(1001, 8, 3, 600)}))
	last = 1003
	grow(8, 6, 900)
	grow(8, 6, 900)
	grow(8, 6, 900)
	steps = append(steps, write(raft.Write{Hard: hard(9, 4)}), write(raft.Write{Reset: mark(2000, 8)}))
	last = 2000
	grow(9, 6, 900)
	cut(10, 2, 5, 100)
	return steps
}

// states returns the models after each of the steps; the first is the empty one.
func states(steps []step) []model {
	all := []model{{}}
	for i, s := range steps {
		all = append(all, all[i].after(s))
	}
	return all
}

// run is a log on a disk that takes steps.
type run struct {
	disk    *rafttest.Disk
	log     *wal.Log
	created bool
	torn    int
	bytes   int64 // of a segment; smallSegment if zero
}

func (r *run) options() wal.Options {
	return wal.Options{
		FS: r.disk, Identity: someone, SegmentBytes: cmp.Or(r.bytes, smallSegment), Background: inline,
		Events: wal.Events{TornTail: func(string, int64) { r.torn++ }},
	}
}

// open opens the log, or creates it if that has never succeeded.
func (r *run) open() (err error) {
	if !r.created {
		_, exists, err := wal.Inspect(r.disk)
		if err != nil {
			return err
		}
		if !exists {
			r.log, err = wal.Create(r.options())
			r.created = err == nil
			return err
		}
	}
	r.log, err = wal.Open(r.options())
	return err
}

// take takes steps until an error, and returns how many succeeded.
func (r *run) take(steps []step) (int, error) {
	for i, s := range steps {
		var err error
		switch {
		case s.reopen:
			if err = r.log.Close(); err == nil {
				err = r.open()
			}
		case s.compact > 0:
			_, err = r.log.Compact(s.compact)
		default:
			err = r.log.Write(s.writes)
		}
		if err != nil {
			return i, err
		}
	}
	return len(steps), nil
}

// mustRun takes steps on a new log on a new disk.
func mustRun(t *testing.T, seed uint64, steps ...step) *run {
	t.Helper()
	return start(t, &run{disk: rafttest.NewDisk(seed)}, steps...)
}

func start(t *testing.T, r *run, steps ...step) *run {
	t.Helper()
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.take(steps); err != nil {
		t.Fatal(err)
	}
	return r
}

// recover opens the log after a crash and returns how many steps it shows, which are done or done+1.
func (r *run) recover(t *testing.T, all []model, done int) int {
	t.Helper()
	if err := r.open(); err != nil {
		t.Fatalf("open after %d steps: %v", done, err)
	}
	why := all[done].differs(r.log)
	if why == "" {
		return done
	}
	if done+1 < len(all) {
		if all[done+1].differs(r.log) == "" {
			return done + 1
		}
	}
	t.Fatalf("after %d acknowledged steps: %s", done, why)
	return 0
}

func mustFail(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

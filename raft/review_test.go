package raft_test

import (
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

// voter is an Engine of a cluster of one, whose disk and state machine do what the test says.
type voter struct {
	*raft.Engine
	t   *testing.T
	id  raft.PeerID
	now time.Duration
}

func newVoter(t *testing.T, o raft.EngineOptions, learners ...raft.Peer) *voter {
	t.Helper()
	v := &voter{t: t, id: raft.PeerID{Node: 1}}
	base := raft.Mark{Position: raft.Position{Index: 1, Term: 1}, Config: raft.Config{Index: 1, Voters: peersOf(1), Learners: learners}}
	state := raft.State{Hard: raft.HardState{Term: 1}, Base: base, Last: 1}
	var err error
	if v.Engine, err = raft.NewEngine(0, raft.Options{ID: v.id}, o, state, base); err != nil {
		t.Fatal(err)
	}
	v.Wake(v.now)
	return v
}

// turn ends the disk's job of the turn before, then takes the next; what is committed is applied at once.
func (v *voter) turn(before raft.Work) raft.Work {
	v.t.Helper()
	v.now += time.Millisecond
	switch {
	case before.Compact > 0:
		v.CompactDone(raft.Position{Index: before.Compact, Term: 2}, nil)
	case len(before.Write) > 0:
		v.WriteDone(v.now, nil)
	}
	if list := before.Apply.Entries; len(list) > 0 {
		v.Durable(before.Apply.Last)
		v.ApplyDone(list, make([]any, len(list)))
	}
	if v.now >= v.Deadline() {
		v.Wake(v.now)
	}
	w := v.Turn(v.now)
	if w.Fatal != nil {
		v.t.Fatal(w.Fatal)
	}
	return w
}

// TestLogIsCompactedUnderLoad proposes while every write is under way, so that another always waits for the disk.
func TestLogIsCompactedUnderLoad(t *testing.T) {
	v := newVoter(t, raft.EngineOptions{KeepEntries: 8})
	var w raft.Work
	for range 100 {
		v.Propose(v.now, &raft.Request{Proposal: raft.Proposal{Data: []byte("x")}})
		if w = v.turn(w); w.Compact > 0 {
			return
		}
	}
	s, applied := v.Status()
	t.Errorf("the log still begins at %d; %d entries are applied, 8 are to be kept", s.Base.Index+1, applied)
}

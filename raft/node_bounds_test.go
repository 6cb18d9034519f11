package raft_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/memnet"
	"github.com/lockd/lockd/raft/wal"
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

// A state machine may need more of the log than what follows its state, to rebuild a state that is found damaged later. So nothing
// is dropped before it has said how much.
func TestLogIsKeptUntilTheMachineHasSpoken(t *testing.T) {
	id := raft.PeerID{Node: 1}
	config := raft.Config{Index: 1, Voters: peersOf(1)}
	state := raft.State{
		Hard: raft.HardState{Term: 1}, Base: raft.Mark{Position: raft.Position{Index: 1, Term: 1}, Config: config}, Last: 1000,
		Runs: []raft.TermRun{{First: 2, Term: 1}},
	}
	mark := raft.Mark{Position: raft.Position{Index: 1000, Term: 1}, Config: config}
	e, err := raft.NewEngine(0, raft.Options{ID: id}, raft.EngineOptions{KeepEntries: 8}, state, mark)
	if err != nil {
		t.Fatal(err)
	}
	if w := e.Turn(1); w.Compact != 0 {
		t.Errorf("the log was dropped up to %d before the state machine has said what it needs", w.Compact)
	}
	e.Durable(500)
	if w := e.Turn(2); w.Compact != 500 {
		t.Errorf("the log was dropped up to %d, the state machine needs what is after 500", w.Compact)
	}
}

// TestJointConfigurationIsChecked asks for a configuration that is good, but for which the joint one is too large.
func TestJointConfigurationIsChecked(t *testing.T) {
	peers := peersOf(raft.MaxPeers + 1)
	v := newVoter(t, raft.EngineOptions{}, peers[1:raft.MaxPeers]...)
	var w raft.Work
	for range 5 {
		w = v.turn(w)
	}
	second := peers[1].ID
	v.Receive(v.now, []raft.Message{{From: second, To: v.id, Term: 2, Body: raft.AppendReply{Session: 1, OK: true, Match: 2}}})
	r := &raft.Request{}
	v.Reconfigure(v.now, 1, raft.Config{Voters: peers[1:2], Learners: peers[2:]}, r)
	v.turn(w)
	if !errors.Is(r.Err, raft.ErrBadConfig) {
		t.Errorf("a change through a configuration of %d peers got %v, want ErrBadConfig", len(peers), r.Err)
	}
}

// wire is a transport that leads nowhere; the test plays the peers.
type wire struct{ raft.Handler }

func (w *wire) Start(h raft.Handler) error { w.Handler = h; return nil }
func (*wire) SetPeers([]raft.Peer)         {}
func (*wire) Send([]raft.Message)          {}
func (*wire) Close() error                 { return nil }
func (*wire) SendSnapshot(context.Context, raft.SnapshotHeader, io.Reader) error {
	return raft.ErrUnreachable
}

// shelf is a state machine whose installations count what becomes of them.
type shelf struct {
	ledger

	committed, discarded atomic.Int32
}

func (s *shelf) Restore(raft.Mark, io.Reader) (raft.Installation, error) { return s, nil }
func (s *shelf) Commit() error                                           { s.committed.Add(1); return nil }
func (s *shelf) Discard()                                                { s.discarded.Add(1) }

// startLone starts a node whose peers are played by the test.
func startLone(t *testing.T, m *member, machine raft.StateMachine) (*raft.Node, *wire) {
	t.Helper()
	if err := m.create(t).Close(); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(m.options())
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	n, err := raft.Start(raft.NodeOptions{Core: m.core, Storage: log, Transport: w, Machine: machine})
	if err != nil {
		t.Fatal(err)
	}
	return n, w
}

// TestCloseDiscardsWhatWaitsToBeInstalled closes a node while a snapshot waits for the state machine.
func TestCloseDiscardsWhatWaitsToBeInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newCluster(t, 0).add(raft.PeerID{Node: 2, Incarnation: 7})
		gate := make(chan struct{})
		machine := &shelf{}
		machine.gate = func() { <-gate }
		n, w := startLone(t, m, machine)
		leader, config := raft.PeerID{Node: 1, Incarnation: 7}, raft.Config{Voters: peersOf(1)}
		first := raft.NewEntry(raft.Position{Index: 1, Term: 1}, raft.KindConfig, config.AppendBinary(nil))
		w.Receive([]raft.Message{{From: leader, To: m.id, Term: 1, Body: raft.Append{
			Session: 1, Entries: []raft.Entry{first}, Commit: 1,
		}}})
		synctest.Wait() // the state machine is busy
		config.Index = 1
		head := raft.SnapshotHeader{From: leader, To: m.id, Term: 1, Session: 1, Mark: raft.Mark{
			Position: raft.Position{Index: 9, Term: 1}, Config: config,
		}}
		if err := w.ReceiveSnapshot(t.Context(), head, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the snapshot waits
		closed := make(chan error)
		go func() { closed <- n.Close() }()
		synctest.Wait()
		close(gate)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if c, d := machine.committed.Load(), machine.discarded.Load(); c != 0 || d != 1 {
			t.Errorf("the snapshot was committed %d times and discarded %d times, want 0 and 1", c, d)
		}
	})
}

// TestStatusOfACallerThatLeaves is for the race detector: what the loop fills in is not read by a caller whose context
// has ended.
func TestStatusOfACallerThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := startLone(t, newCluster(t, 0).add(raft.PeerID{Node: 2, Incarnation: 7}), &ledger{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		left := 0
		for range 50 {
			if s, _, err := n.Status(ctx); err != nil && s.Term == 0 && s.Role == 0 {
				left++
			}
		}
		if left == 0 {
			t.Error("no caller has left before its answer")
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestFollowerReadsFarFromItsLeader reads over a network on which every answer comes after the follower has asked again.
func TestFollowerReadsFarFromItsLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.startAll()
		defer c.close()
		follower := c.others(c.leader())[0]
		for _, a := range c.members {
			for _, b := range c.members {
				c.net.SetLink(a.id, b.id, memnet.Link{MinDelay: 60 * time.Millisecond, MaxDelay: 61 * time.Millisecond})
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := follower.node.Read(ctx); err != nil {
			t.Errorf("read: %v", err)
		}
	})
}

// TestDiskThatStandsStillGathersNoAnswers asks a follower, whose write does not end, again and again.
func TestDiskThatStandsStillGathersNoAnswers(t *testing.T) {
	peers := peersOf(2)
	base := raft.Mark{Position: raft.Position{Index: 1, Term: 1}, Config: raft.Config{Index: 1, Voters: peers}}
	core, err := raft.NewCore(0, raft.Options{ID: peers[1].ID}, raft.State{Hard: raft.HardState{Term: 1}, Base: base, Last: 1}, base)
	if err != nil {
		t.Fatal(err)
	}
	entry := raft.NewEntry(raft.Position{Index: 2, Term: 1}, raft.KindNoop, nil)
	ask := raft.Message{From: peers[0].ID, To: peers[1].ID, Term: 1, Body: raft.Append{
		Session: 1, Prev: base.Position, Entries: []raft.Entry{entry},
	}}
	var now time.Duration
	var last uint64
	writes := 0
	for ; now < time.Hour; now += 100 * time.Millisecond {
		core.Step(now, ask)
		for _, w := range core.Output().Writes {
			writes++
			last = w.Seq
		}
	}
	if writes > 50 {
		t.Errorf("in an hour %d writes have gathered", writes)
	}
	core.Persisted(now, last)
	core.Step(now, ask)
	if sent := core.Output().Send; len(sent) != 1 {
		t.Errorf("the disk is well again, and the answer is %v", sent)
	}
}

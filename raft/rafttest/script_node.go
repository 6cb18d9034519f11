package rafttest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/raft"
)

// scriptNode is one node: an engine while it is up, and what outlives it.
type scriptNode struct {
	w         *scriptWorld
	id        raft.PeerID
	opt       raft.Options
	engineOpt raft.EngineOptions
	starts    uint64
	skew      time.Duration // how far its clock is ahead of the world's

	autoDisk, autoApply, autoStream, autoFetch bool

	disk    scriptDisk
	machine scriptMachine

	engine     *raft.Engine // nil while it is down
	writing    []raft.Write // with the disk
	applying   raft.ApplyJob
	installing raft.Installation
	orders     []raft.SnapshotOrder
	fetches    []raft.Fetch
	commit     raft.Index
	standing   raft.Standing
}

func (n *scriptNode) now() time.Duration { return n.w.now + n.skew }

// due returns when the node must be woken, in the world's time.
func (n *scriptNode) due() time.Duration {
	d := n.engine.Deadline()
	if d > n.now()+time.Hour {
		return d
	}
	return d - n.skew
}

// start brings the node up with what its disk and its state machine hold.
func (n *scriptNode) start() error {
	n.machine.load()
	n.starts++
	n.opt.FirstRound = n.starts << scriptRoundBits
	e, err := raft.NewEngine(n.now(), n.opt, n.engineOpt, n.disk.load(), n.machine.durable.mark)
	if err != nil {
		return fmt.Errorf("node %v: %w", n.id, err)
	}
	n.engine, n.commit, n.standing = e, 0, raft.Standing{}
	n.pump()
	return nil
}

// stop ends the process; what is not on disk is gone.
func (n *scriptNode) stop() {
	n.engine, n.writing, n.applying, n.installing, n.orders, n.fetches = nil, nil, raft.ApplyJob{}, nil, nil, nil
}

func (n *scriptNode) wake() {
	n.engine.Wake(n.now())
	n.pump()
}

// pump does what the engine wants done, and what the disk and the state machine do by themselves, until nothing is left.
func (n *scriptNode) pump() {
	for n.engine != nil {
		n.take(n.engine.Turn(n.now()))
		if n.engine == nil {
			return
		}
		n.showCommit()
		switch {
		case len(n.writing) > 0 && (n.autoDisk || scriptIdle(n.writing)):
			n.finishWrite(nil)
		case n.autoApply && n.applying.Last > 0:
			n.finishApply()
		case n.autoApply && n.installing != nil:
			n.finishInstall()
		case n.autoFetch && len(n.fetches) > 0:
			n.finishFetch()
		default:
			return
		}
	}
}

// take does the work of a turn, or leaves it for the script to finish.
func (n *scriptNode) take(work raft.Work) {
	if work.Standing != nil {
		n.showStanding(*work.Standing)
	}
	n.w.send(work.Send)
	if len(work.Write) > 0 {
		n.writing = work.Write
		n.showWrites(work.Write)
	}
	if work.Apply.Last > 0 {
		n.applying = work.Apply
	}
	if work.Install != nil {
		n.installing = work.Install
	}
	for _, made := range work.Discard {
		if snap, ok := made.(*scriptSnapshot); ok {
			n.w.printf("%v discards the snapshot at %v", n.id, snap.mark.Index)
		}
	}
	for _, o := range work.Snapshots {
		n.w.printf("%v is to send a snapshot to %v", n.id, o.To)
		n.orders = append(n.orders, o)
	}
	n.showRequests(work.Done)
	if work.Fatal != nil {
		n.w.printf("%v FAILED: %v", n.id, work.Fatal)
		n.stop()
		return
	}
	n.fetches = append(n.fetches, work.Fetches...)
	if work.Compact > 0 {
		base := n.disk.compact(work.Compact)
		n.w.printf("%v compacts its log to %d", n.id, base.Index)
		n.engine.CompactDone(base, nil)
	}
}

func scriptIdle(ws []raft.Write) bool {
	return !slices.ContainsFunc(ws, func(w raft.Write) bool { return !w.Empty() })
}

// finishWrite ends the write under way: durable, or with an error.
func (n *scriptNode) finishWrite(err error) {
	ws := n.writing
	n.writing = nil
	if err == nil {
		if bad := n.disk.write(ws); bad != nil {
			n.w.violate("%v: %v", n.id, bad)
		}
		var then []raft.Message
		for _, w := range ws {
			then = append(then, w.Then...)
		}
		n.w.send(then)
	}
	n.engine.WriteDone(n.now(), err)
}

func (n *scriptNode) finishApply() {
	job := n.applying
	n.applying = raft.ApplyJob{}
	entries := job.Entries
	if entries == nil {
		var err error
		if entries, err = n.disk.read(job.First, job.Last, job.MaxBytes); err != nil {
			n.w.violate("%v: apply: %v", n.id, err)
			return
		}
	}
	results := n.machine.apply(entries, job.Config(entries[len(entries)-1].Index()))
	for _, e := range entries {
		n.w.checkApplied(n.id, e)
	}
	n.detail("%v applies %s", n.id, showEntries(entries))
	n.engine.Durable(n.machine.durable.mark.Index)
	n.engine.ApplyDone(entries, results)
}

func (n *scriptNode) finishInstall() {
	made := n.installing
	n.installing = nil
	err := made.Commit()
	n.w.printf("%v takes over the snapshot at %d", n.id, n.machine.state.mark.Index)
	n.engine.InstallDone(err)
}

// finishFetch reads what a peer lacks, as the disk holds it now.
func (n *scriptNode) finishFetch() {
	f := n.fetches[0]
	n.fetches = n.fetches[1:]
	entries, err := n.disk.read(f.Lo, f.Hi, f.MaxBytes)
	if err != nil {
		n.detail("%v cannot read for %v: %v", n.id, f.Peer, err)
	} else {
		n.detail("%v reads %d to %d for %v from the disk", n.id, f.Lo, f.Lo+raft.Index(len(entries))-1, f.Peer)
	}
	n.engine.FetchDone(n.now(), f, entries, err)
}

// stream sends a snapshot of the state as it is now. how: fail, lost or nothing.
func (n *scriptNode) stream(o raft.SnapshotOrder, how string) {
	n.orders = slices.DeleteFunc(n.orders, func(p raft.SnapshotOrder) bool { return p == o })
	snap := &scriptSnapshot{scriptState: n.machine.state.clone()}
	snap.head = raft.SnapshotHeader{From: n.id, To: o.To, Term: o.Term, Session: o.Session, Mark: snap.mark}
	arrived := false
	for _, to := range n.w.nodes {
		if to.id == o.To && to.engine != nil && how != "fail" && !n.w.broken[scriptLink{n.id.Node, to.id.Node}] {
			to.accept(snap)
			arrived = true
		}
	}
	if how == "keep" {
		n.w.kept = snap
	}
	switch {
	case n.engine == nil:
		return
	case arrived && how != "lost":
		n.engine.SnapshotDone(n.now(), o, snap.mark.Index, nil)
	default:
		n.engine.SnapshotDone(n.now(), o, 0, errors.New("the stream was cut"))
	}
	n.pump()
}

// accept takes in a snapshot that has arrived whole.
func (n *scriptNode) accept(snap *scriptSnapshot) {
	mine := *snap
	mine.into = &n.machine
	n.w.printf("%v has received a snapshot at %d from %v", n.id, snap.mark.Index, snap.head.From)
	n.engine.Offer(n.now(), snap.head, &mine)
	n.pump()
}

// checkApplied holds all state machines to one sequence.
func (w *scriptWorld) checkApplied(id raft.PeerID, e raft.Entry) {
	entry := string(e.Bytes())
	if before, ok := w.applied[e.Index()]; ok && before != entry {
		w.violate("%v applies another entry %d than a node before it", id, e.Index())
	}
	w.applied[e.Index()] = entry
}

package rafttest

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lockd/lockd/raft"
)

// diskJob is what the disk lane is at.
type diskJob struct {
	writes  []raft.Write
	idle    bool
	compact raft.Index
}

// applyJob is what the apply lane is at.
type applyJob struct {
	job     raft.ApplyJob
	install raft.Installation
}

// do hands out the work of a turn, in the order of raft.Node.
func (n *Node) do(work raft.Work) {
	w := n.world
	n.send(work.Send)
	switch {
	case len(work.Write) > 0:
		n.disk = diskJob{writes: work.Write, idle: work.Idle}
		took := w.about(w.opt.Times.Sync)
		if work.Idle {
			took = 0
		}
		n.after(took, "written", n.written)
	case work.Compact > 0:
		n.disk = diskJob{compact: work.Compact}
		n.after(w.about(w.opt.Times.Sync), "compacted", n.compacted)
	}
	switch {
	case work.Apply.Last > 0:
		n.apply = applyJob{job: work.Apply}
		n.after(w.about(w.opt.Times.Apply), "applied", n.applied)
	case work.Install != nil:
		n.apply = applyJob{install: work.Install}
		n.after(w.about(w.opt.Times.Apply), "installed", n.installed)
	}
	for _, f := range work.Fetches {
		n.after(w.about(w.opt.Times.Sync), "fetched", func() { n.fetch(f) })
	}
	for _, o := range work.Snapshots {
		n.after(w.about(w.opt.Times.Apply), "snapshot taken", func() { n.sendSnapshot(o) })
	}
	for _, made := range work.Discard {
		made.Discard()
	}
	n.answer(work.Done)
	if work.Fatal != nil {
		n.fail(work.Fatal)
	}
}

func (n *Node) send(ms []raft.Message) {
	for _, m := range ms {
		n.world.check.sent(n, m)
	}
	n.world.net.send(ms)
}

func (n *Node) answer(done []*raft.Request) {
	for _, r := range done {
		f := n.calls[r]
		delete(n.calls, r)
		if f != nil {
			f(r)
		}
	}
}

// written ends a job of writing.
func (n *Node) written() {
	if left := n.store.stalledTill - n.world.now; left > 0 {
		n.after(min(left, 20*time.Millisecond), "written", n.written) // the stall may end early
		return
	}
	job := n.disk
	n.disk = diskJob{}
	var err error
	if !job.idle {
		err = n.store.write(job.writes)
	}
	n.world.trace.note(n.world.now, n, "has written", writtenText{job.writes, err})
	if err == nil && !job.idle && n.crashes(PlaceWritten) {
		return
	}
	if err == nil {
		for _, w := range job.writes {
			n.send(w.Then)
		}
	}
	n.inbox.calls = append(n.inbox.calls, func(e *raft.Engine, now time.Duration) { e.WriteDone(now, err) })
	n.poke()
}

func (n *Node) compacted() {
	job := n.disk
	n.disk = diskJob{}
	base, err := n.store.compact(job.compact)
	n.world.cover.hit(Compacted)
	if n.crashes(PlaceCompacted) {
		return
	}
	n.call("has compacted", func(e *raft.Engine, _ time.Duration) { e.CompactDone(base, err) })
}

// applied ends a job of applying.
func (n *Node) applied() {
	batch, err := n.batch(n.apply.job)
	n.apply = applyJob{}
	if err != nil {
		n.fail(err)
		return
	}
	n.world.check.applies(n, batch)
	n.machine.Apply(batch)
	n.world.check.hasApplied(n)
	if n.crashes(PlaceApplied) {
		return
	}
	durable := n.machine.Mark().Index
	n.inbox.calls = append(n.inbox.calls, func(e *raft.Engine, _ time.Duration) {
		e.Durable(durable)
		e.ApplyDone(batch.Entries, batch.Results)
	})
	n.poke()
}

func (n *Node) batch(job raft.ApplyJob) (raft.Batch, error) {
	entries := job.Entries
	if entries == nil {
		var err error
		n.world.cover.hit(AppliedFromDisk)
		if entries, err = n.store.read(job.First, job.Last, job.MaxBytes); err != nil {
			return raft.Batch{}, fmt.Errorf("read log: %w", err)
		}
	}
	last := entries[len(entries)-1].Index()
	return raft.Batch{Entries: entries, Results: make([]any, len(entries)), Config: job.Config(last)}, nil
}

func (n *Node) installed() {
	made := n.apply.install
	n.apply = applyJob{}
	err := made.Commit()
	n.world.check.hasInstalled(n)
	n.world.cover.hit(Installed)
	if n.crashes(PlaceInstalled) {
		return
	}
	n.call("has installed", func(e *raft.Engine, _ time.Duration) { e.InstallDone(err) })
}

// crashes reports whether the node ends here.
func (n *Node) crashes(place string) bool {
	f := n.world.opt.CrashAt
	if f == nil || !f(n, place) {
		return false
	}
	n.world.cover.hit(place)
	return true
}

// crash lets what was under way happen, or not.
func (a applyJob) crash(n *Node) {
	switch {
	case !n.world.chance(0.5):
	case a.install != nil:
		_ = a.install.Commit() // whatever comes of it
	case a.job.Last > 0:
		if batch, err := n.batch(a.job); err == nil {
			n.world.check.applies(n, batch)
			n.machine.Apply(batch)
			n.world.check.hasApplied(n)
		}
	}
}

func (n *Node) fetch(f raft.Fetch) {
	entries, err := n.store.read(f.Lo, f.Hi, f.MaxBytes)
	n.world.cover.hit(Fetched)
	n.call("has fetched", func(e *raft.Engine, now time.Duration) { e.FetchDone(now, f, entries, err) })
}

func (n *Node) sendSnapshot(o raft.SnapshotOrder) {
	w := n.world
	s, err := n.machine.Snapshot()
	if err != nil {
		n.snapshotDone(o, 0, err)
		return
	}
	mark := s.Mark()
	data, err := io.ReadAll(s)
	if err != nil {
		w.Fail("%v cannot read its snapshot: %v", n, err)
		return
	}
	w.cover.hit(SnapshotSent)
	life := n.life
	head := raft.SnapshotHeader{From: n.id, To: o.To, Term: o.Term, Session: o.Session, Mark: mark}
	w.net.stream(head, data, func(err error) {
		if n.life == life {
			n.snapshotDone(o, mark.Index, err)
		}
	})
}

func (n *Node) snapshotDone(o raft.SnapshotOrder, index raft.Index, err error) {
	n.call("has sent a snapshot", func(e *raft.Engine, now time.Duration) { e.SnapshotDone(now, o, index, err) })
}

// writtenText puts writes into words.
type writtenText struct {
	writes []raft.Write
	err    error
}

func (t writtenText) String() string {
	var b strings.Builder
	for _, w := range t.writes {
		fmt.Fprintf(&b, "[%d:", w.Seq)
		if w.Reset.Index > 0 {
			fmt.Fprintf(&b, " reset %d/%d", w.Reset.Index, w.Reset.Term)
		}
		if w.Hard != (raft.HardState{}) {
			fmt.Fprintf(&b, " term %d vote %s", w.Hard.Term, shortID(w.Hard.Vote))
		}
		if w.TruncateFrom > 0 {
			fmt.Fprintf(&b, " truncate %d", w.TruncateFrom)
		}
		if k := len(w.Entries); k > 0 {
			fmt.Fprintf(&b, " entries %d to %d/%d", w.Entries[0].Index(), w.Entries[k-1].Index(), w.Entries[k-1].Term())
		}
		b.WriteByte(']')
	}
	if t.err != nil {
		fmt.Fprintf(&b, " %v", t.err)
	}
	return b.String()
}

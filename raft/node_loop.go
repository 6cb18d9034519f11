package raft

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// slowWrite is when a write to the log is worth telling.
const slowWrite = 500 * time.Millisecond

// loop owns the engine; ctx ends the streams it starts. It runs no code of the user's but
// Waiter.Proposed, and never waits for anything but its inbox and the time.
func (n *Node) loop(ctx context.Context) {
	defer close(n.done)
	defer n.shut()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var in inputs
	var armed time.Duration // when timer fires
	for n.engine.fatal == nil {
		select {
		case <-n.stop:
			return
		case <-n.inbox.wake:
		case <-timer.C:
		}
		if n.engine.busy() {
			runtime.Gosched() // those who were just answered are about to propose again: one batch instead of many
		}
		gather := n.engine.gathers(n.now())
		in = n.inbox.take(in, gather)
		now := n.now() // after the messages were taken: none of them may count as later than it came
		n.feed(in, now)
		if gather && !n.engine.gathers(now) {
			in.proposals = n.inbox.takeProposals(in.proposals)
			n.propose(in.proposals, now)
		}
		if now >= n.engine.Deadline() {
			n.engine.Wake(now)
		}
		n.do(ctx, n.engine.Turn(now))
		if gather && !n.engine.gathers(now) {
			n.inbox.signal() // leadership is over, and nothing else may wake who waits to hear that
		}
		if due := n.engine.Deadline(); due < armed || now >= armed {
			armed = min(due, now+time.Hour)
			timer.Reset(armed - now)
		}
	}
	err := n.engine.fatal
	n.err.Store(&err)
	n.events.failed(err)
	n.cancel(err)
}

func (n *Node) now() time.Duration { return time.Since(n.start) }

func (n *Node) feed(in inputs, now time.Duration) {
	n.engine.Receive(now, in.messages)
	for _, c := range in.calls {
		c.run(n.engine, now)
	}
	n.propose(in.proposals, now)
	for _, r := range in.reads {
		n.engine.Read(now, r)
	}
}

func (n *Node) propose(list []*Request, now time.Duration) {
	for _, r := range list {
		n.engine.Propose(now, r)
	}
}

// do hands out the work of a turn.
func (n *Node) do(ctx context.Context, w Work) {
	if len(w.Send) > 0 {
		n.opt.Transport.Send(w.Send)
	}
	switch {
	case len(w.Write) > 0:
		n.disk.jobs <- func() { n.write(w.Write, w.Idle) }
	case w.Compact > 0:
		n.disk.jobs <- func() { n.compact(w.Compact) }
	}
	switch {
	case w.Apply.Last > 0:
		n.apply.jobs <- func() { n.applyEntries(w.Apply) }
	case w.Install != nil:
		n.apply.jobs <- func() { n.commitInstall(w.Install) }
	}
	for _, f := range w.Fetches {
		n.read.put(func() { n.fetch(f) })
	}
	for _, o := range w.Snapshots {
		n.snapshots.Go(func() { n.sendSnapshot(ctx, o) })
	}
	for _, made := range w.Discard {
		n.snapshots.Go(made.Discard)
	}
	n.answer(w.Done)
	if w.Standing != nil {
		n.opt.Transport.SetPeers(n.engine.Config().Peers())
		n.events.standing(*w.Standing)
	}
}

func (n *Node) answer(done []*Request) {
	for _, r := range done {
		if r.waiter == nil {
			r.done <- struct{}{} // has room for one
			continue
		}
		r.waiter.Proposed(Result{r.At, r.Result}, r.Err)
		n.release(r)
	}
}

// shut lets the goroutines of the lanes end, and answers whoever still waits.
func (n *Node) shut() {
	closed := n.closedBy(ErrClosed)
	in := n.inbox.close()
	for _, r := range append(in.proposals, in.reads...) {
		r.Err = closed
		n.answer([]*Request{r})
	}
	for _, c := range in.calls {
		if c.drop != nil {
			c.drop(closed)
		}
	}
	requests, made := n.engine.abandon(closed)
	n.answer(requests)
	if made != nil {
		n.snapshots.Go(made.Discard)
	}
	n.disk.close()
	n.apply.close()
	n.read.close()
}

func (n *Node) write(ws []Write, idle bool) {
	var err error
	if !idle {
		began := time.Now()
		err = n.opt.Storage.Write(ws)
		if took := time.Since(began); took > slowWrite {
			n.events.slow(took)
		}
	}
	if err == nil {
		for _, w := range ws {
			if len(w.Then) > 0 {
				n.opt.Transport.Send(w.Then)
			}
		}
	}
	var durable Index
	if errors.Is(err, ErrDiskFull) {
		durable = n.opt.Machine.Mark().Index // what the machine no longer needs can make room
	}
	n.report(func(e *Engine, now time.Duration) {
		e.Durable(durable)
		e.WriteDone(now, err)
	})
}

func (n *Node) compact(upTo Index) {
	base, err := n.opt.Storage.Compact(upTo)
	n.report(func(e *Engine, _ time.Duration) { e.CompactDone(base, err) })
}

// report tells the loop; a node that has closed needs to know nothing.
func (n *Node) report(f func(*Engine, time.Duration)) { _ = n.inbox.call(call{run: f}) }

func (n *Node) applyEntries(job ApplyJob) {
	entries := job.Entries
	if entries == nil {
		var err error
		if entries, err = n.opt.Storage.Read(job.First, job.Last, job.MaxBytes); err != nil {
			n.report(func(e *Engine, _ time.Duration) { e.fail(fmt.Errorf("raft: read log: %w", err)) })
			return
		}
	}
	last := entries[len(entries)-1].Index()
	batch := Batch{Entries: entries, Results: make([]any, len(entries)), Config: job.Config(last)}
	n.opt.Machine.Apply(batch)
	durable := n.opt.Machine.Mark().Index
	n.report(func(e *Engine, _ time.Duration) {
		e.Durable(durable)
		e.ApplyDone(entries, batch.Results)
	})
}

func (n *Node) commitInstall(made Installation) {
	err := made.Commit()
	n.report(func(e *Engine, _ time.Duration) { e.InstallDone(err) })
}

func (n *Node) fetch(f Fetch) {
	entries, err := n.opt.Storage.Read(f.Lo, f.Hi, f.MaxBytes)
	n.report(func(e *Engine, now time.Duration) { e.FetchDone(now, f, entries, err) })
}

func (n *Node) sendSnapshot(ctx context.Context, o SnapshotOrder) {
	index, err := n.stream(ctx, o)
	n.events.snapshot(o.To, true, err)
	n.report(func(e *Engine, now time.Duration) { e.SnapshotDone(now, o, index, err) })
}

func (n *Node) stream(ctx context.Context, o SnapshotOrder) (Index, error) {
	s, err := n.opt.Machine.Snapshot()
	if err != nil {
		return 0, fmt.Errorf("take snapshot: %w", err)
	}
	mark := s.Mark()
	head := SnapshotHeader{From: n.opt.Core.ID, To: o.To, Term: o.Term, Session: o.Session, Mark: mark}
	err = n.opt.Transport.SendSnapshot(ctx, head, s)
	return mark.Index, errors.Join(err, s.Close())
}

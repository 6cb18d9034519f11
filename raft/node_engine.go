package raft

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Engine puts a Core's outputs in order: what may go to the disk, to the state machine and to the network, and when. It
// has no goroutine and no clock, and does no I/O itself, so that the simulator runs the same rules as Node. An Engine
// is not safe for concurrent use.
//
// Its owner runs two lanes, disk and apply, that each do one job at a time. It passes inputs, then calls Turn and does
// the Work that comes back; when a job has ended it says so by the matching Done method, and calls Turn again.
type Engine struct {
	core *Core
	opt  EngineOptions
	at   Standing

	// Disk lane.
	queue    []Write
	writing  []Write // with the disk lane
	held     []Write // wait for an installation
	diskBusy bool
	fullTill time.Duration // the disk was full; tried again then
	full     bool

	// Apply lane.
	applied   Index
	applyBusy bool
	install   *pendingInstall

	waiters waiters
	reads   readWaiters
	keep    retention
	fatal   error
	work    Work
}

// EngineOptions bound what an Engine keeps.
type EngineOptions struct {
	// KeepEntries and KeepBytes bound how much of the log is kept, beyond what the state machine needs, for peers that
	// lag behind. Defaults 100,000 and 64 MiB.
	KeepEntries int
	KeepBytes   int
	// MaxApplyBytes bounds the entries of one Batch, but for a single larger one. Default 1 MiB.
	MaxApplyBytes int
}

// Work is what the owner of an Engine has to do after a Turn. Lists may be kept by the owner.
type Work struct {
	// Send goes to the transport.
	Send []Message
	// Write goes to the disk lane: Storage.Write, then every Then message to the transport, then WriteDone. If nothing
	// in it needs the disk, it comes with Idle set, and the Storage is left alone.
	Write []Write
	Idle  bool
	// Compact, if not zero, goes to the disk lane: Storage.Compact, then CompactDone.
	Compact Index
	// Apply, if its Last is not zero, goes to the apply lane, then ApplyDone.
	Apply ApplyJob
	// Install, if not nil, goes to the apply lane: Commit, then InstallDone.
	Install Installation
	// Discard are installations that came to nothing.
	Discard []Installation
	// Fetches go to whoever reads the Storage, then FetchDone.
	Fetches []Fetch
	// Snapshots are streams to send, then SnapshotDone.
	Snapshots []SnapshotOrder
	// Done are requests that have been answered.
	Done []*Request
	// Standing tells that role, term, leader or configuration have changed.
	Standing *Standing
	// Fatal says that the node must stop.
	Fatal error
}

// ApplyJob is a run of committed entries. Entries is nil if they must be read from the Storage, First to Last; fewer
// may then be applied.
type ApplyJob struct {
	First, Last Index
	Entries     []Entry
	MaxBytes    int
	configs     []Config // in force from First on, in order
}

// Config returns the configuration in force at an index of the job.
func (j ApplyJob) Config(i Index) Config {
	config := j.configs[0]
	for _, later := range j.configs[1:] {
		if later.Index <= i {
			config = later
		}
	}
	return config
}

// pendingInstall is a snapshot that lies ready.
type pendingInstall struct {
	mark Mark
	made Installation // nil once the apply lane has it
}

// NewEngine continues a node. Arguments and errors are those of NewCore.
func NewEngine(now time.Duration, opt Options, eopt EngineOptions, s State, mark Mark) (*Engine, error) {
	core, err := NewCore(now, opt, s, mark)
	if err != nil {
		return nil, err
	}
	e := &Engine{core: core, opt: eopt.withDefaults(), applied: mark.Index}
	e.reads.open = make(map[uint64]*Request)
	e.keep.opt = e.opt // how much of the log the machine needs, only Durable tells: it may be more than what is after its mark
	return e, nil
}

// Receive passes messages.
func (e *Engine) Receive(now time.Duration, ms []Message) {
	for _, m := range ms {
		if _, made := m.Body.(Install); !made { // those come by Offer alone
			e.core.Step(now, m)
		}
	}
}

// Wake tells that time has passed; call it when Deadline has, after Receive of all that waits.
func (e *Engine) Wake(now time.Duration) { e.core.Wake(now) }

// Deadline returns when Wake is needed next.
func (e *Engine) Deadline() time.Duration {
	if e.full && !e.diskBusy {
		return min(e.core.Deadline(), e.fullTill)
	}
	return e.core.Deadline()
}

// Suspect passes a hint that a peer's process is gone; see Core.Suspect.
func (e *Engine) Suspect(now time.Duration, peer PeerID, cause Cause) {
	e.core.Suspect(now, peer, cause)
}

// Transfer passes Core.Transfer.
func (e *Engine) Transfer(now time.Duration, to PeerID) error { return e.core.Transfer(now, to) }

// Status describes the node. Applied is the last entry its state machine has applied.
func (e *Engine) Status() (s Status, applied Index) { return e.core.Status(), e.applied }

// Standing returns role, term, leader and configuration.
func (e *Engine) Standing() Standing { return e.core.Standing() }

// Config returns the configuration in force.
func (e *Engine) Config() Config { return e.core.Config() }

// Offer brings a snapshot that has been received whole. It is taken over, or discarded.
func (e *Engine) Offer(now time.Duration, head SnapshotHeader, made Installation) {
	if e.install != nil {
		e.work.Discard = append(e.work.Discard, made)
		return
	}
	e.collect(now)
	e.install = &pendingInstall{mark: head.Mark, made: made}
	e.core.Step(now, Message{From: head.From, To: head.To, Term: head.Term, Body: Install{Session: head.Session, Mark: head.Mark}})
	e.collect(now)
	if e.install != nil && e.held == nil {
		e.work.Discard = append(e.work.Discard, made)
		e.install = nil
	}
}

// WriteDone tells that the disk lane has finished the last Work.Write, or failed. A full disk is tried again; any other
// error is the node's end: after a failed sync nobody knows what the disk holds (Rebello et al., "Can Applications
// Recover from fsync Failures?", 2020).
func (e *Engine) WriteDone(now time.Duration, err error) {
	const retry = 100 * time.Millisecond
	e.diskBusy = false
	switch {
	case err == nil:
		e.full = false
		e.core.Persisted(now, e.writing[len(e.writing)-1].Seq)
		e.writing = nil
	case errors.Is(err, ErrDiskFull):
		e.full, e.fullTill = true, now+retry
		e.queue = append(e.writing, e.queue...)
		e.writing = nil
	default:
		e.fail(fmt.Errorf("raft: write log: %w", err))
	}
}

// CompactDone tells that the log now begins after base.
func (e *Engine) CompactDone(base Position, err error) {
	e.diskBusy = false
	if err != nil && !errors.Is(err, ErrDiskFull) {
		e.fail(fmt.Errorf("raft: compact log: %w", err))
		return
	}
	if err == nil {
		e.core.Compacted(base)
	}
}

// ApplyDone tells that the state machine has applied entries, and what it answered to each.
func (e *Engine) ApplyDone(entries []Entry, results []any) {
	e.applyBusy = false
	e.work.Done = e.waiters.applied(entries, results, e.work.Done)
	e.applied = entries[len(entries)-1].Index()
	e.work.Done = e.reads.applied(e.applied, e.work.Done)
}

// InstallDone tells that the state machine has taken over the snapshot, or could not.
func (e *Engine) InstallDone(err error) {
	e.applyBusy = false
	if err != nil {
		e.fail(fmt.Errorf("raft: install snapshot: %w", err))
		return
	}
	e.applied = max(e.applied, e.install.mark.Index)
	e.queue = append(e.queue, e.held...)
	e.install, e.held = nil, nil
	e.work.Done = e.waiters.skip(e.applied, e.work.Done)
	e.work.Done = e.reads.applied(e.applied, e.work.Done)
}

// FetchDone brings entries that were read for a peer. When this node no longer leads the term in which it wanted them,
// they may have been overruled before they were read: an error says nothing then.
func (e *Engine) FetchDone(now time.Duration, f Fetch, entries []Entry, err error) {
	s := e.core.Standing()
	if err != nil && !errors.Is(err, ErrCompacted) && s.Role == Leader && s.Term == f.Term {
		e.fail(fmt.Errorf("raft: read log: %w", err))
		return
	}
	e.core.Fetched(now, f, entries)
}

// SnapshotDone tells how a stream ended: with the snapshot at index accepted, or with an error.
func (e *Engine) SnapshotDone(now time.Duration, o SnapshotOrder, index Index, err error) {
	e.core.SnapshotSent(now, o, index, err)
}

// Durable tells how far the state machine no longer needs the log.
func (e *Engine) Durable(i Index) { e.keep.durable = max(e.keep.durable, i) }

// Fail ends the node with an error of its owner's.
func (e *Engine) fail(err error) {
	if e.fatal == nil {
		e.fatal = err
	}
}

// Turn returns the work that the inputs since the last one have made. After a Fatal one there is no more.
func (e *Engine) Turn(now time.Duration) Work {
	e.collect(now)
	e.feedDisk(now)
	e.feedApply()
	w := e.work
	e.work = Work{}
	if e.fatal != nil {
		return Work{Done: w.Done, Discard: w.Discard, Fatal: e.fatal} // nothing else may leave a node that does not trust itself
	}
	return w
}

// collect takes the Core's output.
func (e *Engine) collect(now time.Duration) {
	out := e.core.Output()
	if out.Fatal != nil {
		e.fail(out.Fatal)
	}
	e.keep.count(out.Writes)
	e.work.Send = join(e.work.Send, out.Send)
	e.work.Fetches = append(e.work.Fetches, out.Fetches...)
	e.work.Snapshots = append(e.work.Snapshots, out.Snapshots...)
	switch {
	case out.Install.Index > 0 || e.held != nil:
		e.held = append(e.held, out.Writes...)
	default:
		e.queue = join(e.queue, out.Writes)
	}
	e.work.Done = e.reads.answered(out.Reads, e.applied, e.work.Done)
	if s := e.core.Standing(); s != e.at {
		e.stand(now, s)
	}
}

// join is append for lists of which one is nearly always empty; b is the caller's no longer.
func join[T any](a, b []T) []T {
	if len(a) == 0 {
		return b
	}
	return append(a, b...)
}

// stand follows a change of role, term or leader.
func (e *Engine) stand(now time.Duration, s Standing) {
	if s.Role != Leader || s.Term != e.at.Term {
		e.work.Done = e.waiters.abandon(e.core.commit, e.work.Done)
	}
	e.at = s
	e.work.Standing = &s
	if homeless := e.reads.takeHomeless(s.Leader); len(homeless) > 0 {
		for _, r := range homeless {
			e.Read(now, r)
		}
		e.collect(now)
	}
}

// feedDisk gives the disk lane all that waits: it forms one write and one sync, and what comes meanwhile the next. A
// compaction goes first, as under load there is always something that waits.
func (e *Engine) feedDisk(now time.Duration) {
	if e.diskBusy || e.fatal != nil {
		return
	}
	if e.compact(); e.diskBusy || len(e.queue) == 0 || e.full && now < e.fullTill {
		return
	}
	e.writing, e.queue = e.queue, nil
	e.work.Write, e.diskBusy = e.writing, true
	e.work.Idle = !slices.ContainsFunc(e.writing, func(w Write) bool { return !w.Empty() })
}

// compact gives the disk lane a compaction if it is worth while.
func (e *Engine) compact() {
	if e.install != nil {
		return
	}
	least := e.keep.step()
	if e.full {
		least = 1 // the writes that wait may find room afterwards
	}
	if i := e.keep.compact(e.core, least); i > 0 {
		e.work.Compact, e.diskBusy = i, true
	}
}

// feedApply gives the apply lane what is committed and durable here. A state machine that outlives the process thus
// never runs ahead of the node's own log.
func (e *Engine) feedApply() {
	if e.applyBusy || e.fatal != nil {
		return
	}
	if e.install != nil {
		if e.held != nil {
			e.work.Install, e.install.made, e.applyBusy = e.install.made, nil, true
		}
		return
	}
	last := min(e.core.commit, e.core.log.stable())
	if e.core.stateless || e.applied >= last {
		return
	}
	job := ApplyJob{First: e.applied + 1, Last: last, MaxBytes: e.opt.MaxApplyBytes, configs: slices.Clone(e.core.configs)}
	if job.Entries = e.core.log.slice(job.First, last, e.opt.MaxApplyBytes); job.Entries != nil {
		job.Last = job.Entries[len(job.Entries)-1].Index()
	}
	e.work.Apply, e.applyBusy = job, true
}

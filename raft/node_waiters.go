package raft

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// Request is a proposal or a read on its way through an Engine. Its owner sets the Proposal, passes it once, and
// reads the rest when it comes back in Work.Done.
type Request struct {
	Proposal Proposal

	At     Position // where the entry is in the log; for a read, only the index is set
	Result any      // what the state machine answered
	Err    error

	abandoned atomic.Bool // nobody waits any more
	done      chan struct{}
	waiter    Waiter // is told, instead of done; nil: nobody
}

// Propose passes a proposal; it comes back in Work.Done when its entry is applied, or when the outcome can no longer be
// told.
func (e *Engine) Propose(now time.Duration, r *Request) {
	if e.full {
		r.Err = ErrDiskFull
	} else {
		r.At, r.Err = e.core.Propose(now, r.Proposal)
	}
	if r.Err != nil {
		e.work.Done = append(e.work.Done, r)
		return
	}
	r.Proposal.Data = nil // the core has copied it
	e.waiters.queue = append(e.waiters.queue, r)
}

// Reconfigure passes Core.Reconfigure; the request comes back like a proposal, for a change of voters when the joint
// configuration is committed.
func (e *Engine) Reconfigure(now time.Duration, base Index, next Config, r *Request) {
	r.At, r.Err = e.core.Reconfigure(now, base, next)
	if r.Err != nil {
		e.work.Done = append(e.work.Done, r)
		return
	}
	e.waiters.queue = append(e.waiters.queue, r)
}

// Read passes a read; it comes back in Work.Done when the state machine has applied all that was committed when it was
// passed. While no leader is known it waits for one.
func (e *Engine) Read(now time.Duration, r *Request) {
	e.reads.last++
	e.reads.open[e.reads.last] = r
	e.core.Read(now, e.reads.last)
}

// abandon returns every request that has not been answered, with the reason why it will not be, and the installation
// that will not be made, if any.
func (e *Engine) abandon(reason error) ([]*Request, Installation) {
	for _, r := range e.waiters.queue {
		r.Err = fmt.Errorf("%w: %w", ErrUnknown, reason)
	}
	reads := slices.Concat(slices.Collect(maps.Values(e.reads.open)), e.reads.ready, e.reads.homeless)
	for _, r := range reads {
		r.Err = reason
	}
	var made Installation
	if e.install != nil {
		made = e.install.made
	}
	return append(e.waiters.queue, reads...), made
}

// busy reports whether proposals are on their way.
func (e *Engine) busy() bool { return len(e.waiters.queue) > 0 }

// gathers reports whether proposals had better wait for the disk: what comes until it is free shares its next write, and one message
// to each peer, and is hardly applied later, as what is not on this node's disk is not applied here. A disk that takes long is not
// waited for: the peers can write meanwhile.
func (e *Engine) gathers(now time.Duration) bool {
	const most = 20 * time.Millisecond
	if !e.diskBusy || e.at.Role != Leader {
		return false
	}
	began, writing := e.core.log.oldestWrite()
	return writing && now < began+most
}

// waiters are the requests whose entries are in the log, in its order.
type waiters struct{ queue []*Request }

func (w *waiters) applied(entries []Entry, results []any, done []*Request) []*Request {
	first, last := entries[0].Index(), entries[len(entries)-1].Index()
	n := 0
	for ; n < len(w.queue) && w.queue[n].At.Index <= last; n++ {
		r := w.queue[n]
		switch i := r.At.Index - first; {
		case r.At.Index < first || entries[i].Term() != r.At.Term:
			r.Err = ErrUnknown
		default:
			r.Result = results[i]
		}
		done = append(done, r)
	}
	w.drop(n)
	return done
}

// abandon answers what is not committed when leadership ends: another leader may commit it, or overrule it.
func (w *waiters) abandon(commit Index, done []*Request) []*Request {
	n := len(w.queue)
	for n > 0 && w.queue[n-1].At.Index > commit {
		n--
		w.queue[n].Err = ErrUnknown
		done = append(done, w.queue[n])
	}
	clear(w.queue[n:])
	w.queue = w.queue[:n]
	return done
}

// skip answers what a snapshot covers: it was committed, but its result is not known here.
func (w *waiters) skip(i Index, done []*Request) []*Request {
	n := 0
	for ; n < len(w.queue) && w.queue[n].At.Index <= i; n++ {
		w.queue[n].Err = ErrUnknown
		done = append(done, w.queue[n])
	}
	w.drop(n)
	return done
}

func (w *waiters) drop(n int) {
	clear(w.queue[:n])
	w.queue = w.queue[n:]
}

// readWaiters are the reads of this node.
type readWaiters struct {
	last     uint64
	open     map[uint64]*Request // asked, by number
	ready    []*Request          // answered; wait for the state machine to come to At.Index
	homeless []*Request          // wait for a leader to be known
}

func (w *readWaiters) answered(reads []ReadDone, applied Index, done []*Request) []*Request {
	for _, d := range reads {
		r := w.open[d.Read]
		delete(w.open, d.Read)
		switch {
		case r.abandoned.Load():
			r.Err = d.Err
			done = append(done, r)
		case d.Err != nil:
			w.homeless = park(w.homeless, r)
		case d.Index > applied:
			r.At.Index = d.Index
			w.ready = park(w.ready, r)
		default:
			r.At.Index = d.Index
			done = append(done, r)
		}
	}
	return done
}

func (w *readWaiters) applied(i Index, done []*Request) []*Request {
	keep := w.ready[:0]
	for _, r := range w.ready {
		if r.At.Index <= i {
			done = append(done, r)
		} else {
			keep = append(keep, r)
		}
	}
	clear(w.ready[len(keep):])
	w.ready = keep
	return done
}

// park adds a read to a list in which it may stay for long. Those that nobody waits for any more are let go as the list
// grows.
func park(list []*Request, r *Request) []*Request {
	const many = 1024
	if len(list) >= many && len(list) == cap(list) {
		list = slices.DeleteFunc(list, func(r *Request) bool { return r.abandoned.Load() })
	}
	return append(list, r)
}

// takeHomeless returns the reads that waited for a leader, now that there is one.
func (w *readWaiters) takeHomeless(leader PeerID) []*Request {
	if leader.IsZero() {
		return nil
	}
	list := w.homeless
	w.homeless = nil
	return list
}

// retention decides how much of the log to keep.
type retention struct {
	opt     EngineOptions
	durable Index // the state machine does not need the log up to here
	asked   Index // the last compaction; a storage may keep more than it was allowed to drop
	total   int   // bytes ever written
	marks   []retentionMark
}

type retentionMark struct {
	index Index
	total int
}

// count notes where in the log how many bytes lie, about once a MiB.
func (k *retention) count(ws []Write) {
	const every = 1 << 20
	for _, w := range ws {
		for _, e := range w.Entries {
			k.total += e.Size()
		}
		if n := len(w.Entries); n > 0 && (len(k.marks) == 0 || k.total >= k.marks[len(k.marks)-1].total+every) {
			k.marks = append(k.marks, retentionMark{w.Entries[n-1].Index(), k.total})
		}
	}
}

// compact returns up to where the log can go now, or zero if that is less than so many entries. What a peer needs that
// gets a snapshot is kept without a bound, as it would never catch up otherwise; what a slow peer lacks, within the
// options.
func (k *retention) compact(c *Core, least Index) Index {
	must, want := c.KeepFrom()
	keep := max(want, c.log.last-min(c.log.last, Index(k.opt.KeepEntries))+1)
	drop := 0
	for _, m := range k.marks {
		if m.total+k.opt.KeepBytes < k.total {
			keep = max(keep, m.index+1)
			drop++
		}
	}
	i := min(k.durable, must-1, keep-1, c.log.stable())
	if i < max(k.asked, c.log.base.Index)+least {
		return 0
	}
	k.asked = i
	for drop > 0 && k.marks[drop-1].index > i {
		drop--
	}
	k.marks = k.marks[drop:]
	return i
}

// step is how many entries make a compaction worth while.
func (k *retention) step() Index { return Index(max(1, k.opt.KeepEntries/8)) }

func (o EngineOptions) withDefaults() EngineOptions {
	o.KeepEntries = cmp.Or(o.KeepEntries, 100_000)
	o.KeepBytes = cmp.Or(o.KeepBytes, 64<<20)
	o.MaxApplyBytes = cmp.Or(o.MaxApplyBytes, 1<<20)
	return o
}

package simworld

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// job is what a worker asks for.
type job struct {
	names    []string
	mode     locktable.Mode
	limit    uint32
	owner    uint64
	delay    time.Duration
	token    uint64 // of SetValue
	value    []byte
	election bool
	lease    time.Duration // the TTL, if it asks for one
	leaseID  session.ID
	cluster  int // that has granted it
}

// worker is a part of a program that takes locks and gives them back, one after another.
type worker struct {
	p      *Program
	number int
	turns  uint64
	job    job
	call   machine.CallID // 0 while it thinks, or has a lease
	given  bool           // it has given the call up
	rounds int            // locks it held since the faults ended
}

func newWorker(p *Program, number int) *worker {
	wk := &worker{p: p, number: number}
	wk.think()
	return wk
}

// later does something after a while, if the program is the same then.
func (p *Program) later(d time.Duration, do func(now time.Duration)) {
	boot := p.boot
	p.w.After(d, func() {
		if p.boot == boot {
			p.input(do)
		}
	})
}

// think waits before the next lock.
func (wk *worker) think() {
	wk.call = 0
	boot, turn := wk.p.boot, wk.turns
	wk.p.w.After(wk.p.w.Between(0, wk.p.w.Opts.Think), func() {
		if wk.p.boot == boot && wk.turns == turn && !wk.p.w.Judge.Resting {
			wk.p.input(func(now time.Duration) { wk.ask(now) })
		}
	})
}

// ask asks for a lock.
func (wk *worker) ask(now time.Duration) {
	w := wk.p.w
	if wk.p.leaving {
		return
	}
	wk.turns++
	wk.given = false
	if w.Opts.Checks > 0 && w.Chance(w.Opts.Checks) {
		wk.p.checkTokens()
	}
	wk.job = w.drawJob()
	wk.job.owner = uint64(wk.number)<<32 | wk.turns
	op := machine.Op{Kind: machine.OpAcquire, Body: wk.job, Lease: wk.job.lease > 0}
	switch w.Rand.IntN(4) {
	case 0:
		op.Kind = machine.OpTry
	case 1:
		op.Wait = w.Between(time.Millisecond, 2*w.Opts.TTL)
	}
	id, err := wk.p.machine.Do(now, op)
	if err != nil {
		w.Fail("program %d: %v", wk.p.id, err)
		return
	}
	wk.call = id
	wk.p.calls[id] = wk
	if w.Chance(w.Opts.Abandon) {
		soon := []time.Duration{10 * time.Millisecond, 300 * time.Millisecond, w.Opts.TTL}[w.Rand.IntN(3)]
		wk.p.later(w.Between(0, soon), func(now time.Duration) { wk.abandon(now, id) })
	}
}

// drawJob draws what to ask for. A name is always used with the same kind of lock.
func (w *World) drawJob() job {
	first := w.Rand.IntN(w.Opts.Names)
	j := job{names: []string{name(first)}, mode: locktable.Exclusive}
	switch {
	case first == 2:
		j.mode, j.limit = locktable.Slot, 2
	case w.Opts.Names > 1 && w.Rand.IntN(5) == 0:
		j.names = []string{name(0), name(1)}
	}
	if j.mode == locktable.Exclusive && w.Rand.IntN(4) == 0 {
		j.mode = locktable.Shared
	}
	if w.Rand.IntN(4) == 0 {
		j.delay = w.Between(0, time.Second)
	}
	switch {
	case w.Opts.Elections > 0 && w.Chance(w.Opts.Elections):
		w.Hit("campaign")
		return job{names: []string{"election"}, mode: locktable.Exclusive, value: []byte{byte(first)}, election: true}
	case w.Opts.Leases > 0 && w.Chance(w.Opts.Leases):
		j.lease = w.Between(locktable.LeaseMin, w.Opts.LeaseMost())
		j.leaseID = w.drawID()
		if w.Rand.IntN(2) == 0 {
			j.names = []string{"lease"}
			j.mode, j.limit = locktable.Exclusive, 0
		}
	}
	return j
}

func (w *World) drawID() (id session.ID) {
	for i := range id {
		id[i] = byte(w.Rand.Uint32())
	}
	return id
}

func name(i int) string { return fmt.Sprintf("lock/%d", i) }

// abandon gives the call up, if it is not over: the context of the caller ended.
func (wk *worker) abandon(now time.Duration, id machine.CallID) {
	if wk.call != id || wk.p.leaving {
		return
	}
	wk.p.w.Hit("abandoned")
	wk.p.forget(id)
	wk.given = true
	// It may be lost in this very moment: Lost tells.
	if err := wk.p.machine.Abandon(now, id); err != nil && !errors.Is(err, machine.ErrNotACall) {
		wk.p.w.Fail("program %d gives up call %d: %v", wk.p.id, id, err)
	}
}

// acquired holds the lock for a while, and now and then publishes a value.
func (wk *worker) acquired(b *belief) {
	w := wk.p.w
	w.Stats.Grants++
	b.job.cluster = w.Judge.clusters
	if w.Healed {
		wk.rounds++
	}
	if w.Rand.IntN(8) == 0 || b.job.election {
		wk.p.later(0, func(now time.Duration) { wk.publish(now, b) })
	}
	wk.p.later(w.Between(0, w.Opts.Hold), func(now time.Duration) { wk.release(now, b.call) })
}

func (wk *worker) publish(now time.Duration, b *belief) {
	if wk.p.leaving {
		return
	}
	j := b.job
	j.token = b.token
	j.value = []byte{1}
	if _, err := wk.p.machine.Do(now, machine.Op{Kind: machine.OpOther, Body: j}); err != nil {
		wk.p.w.Fail("program %d: %v", wk.p.id, err)
	}
}

func (wk *worker) release(now time.Duration, call machine.CallID) {
	if wk.call != call {
		return
	}
	id, err := wk.p.machine.Release(now, call)
	if err != nil {
		return // it was lost or given up: Lost or Finished tells
	}
	wk.p.forget(call)
	delete(wk.p.calls, call)
	wk.call = id
	wk.p.calls[id] = wk
}

// over goes on with the next lock.
func (wk *worker) over(id machine.CallID) {
	if wk.call == id {
		wk.think()
	}
}

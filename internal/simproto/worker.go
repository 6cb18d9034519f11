package simproto

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/lockd/locktable"
)

// job is what a worker asks for.
type job struct {
	names []string
	mode  locktable.Mode
	limit uint32
	owner uint64
	delay time.Duration
	token uint64 // of SetValue
}

// worker is a part of a program that takes locks and gives them back, one after another.
type worker struct {
	p      *process
	number int
	turns  uint64
	job    job
	call   machine.CallID // 0 while it thinks
	rounds int            // locks it held since the faults ended
}

func newWorker(p *process, number int) *worker {
	wk := &worker{p: p, number: number}
	wk.think()
	return wk
}

// think waits before the next lock.
func (wk *worker) think() {
	wk.call = 0
	boot, turn := wk.p.boot, wk.turns
	wk.p.w.after(wk.p.w.between(0, wk.p.w.opts.Think), func() {
		if wk.p.boot == boot && wk.turns == turn && !wk.p.w.truth.resting {
			wk.p.input(func(now time.Duration) { wk.ask(now) })
		}
	})
}

// ask asks for a lock.
func (wk *worker) ask(now time.Duration) {
	w := wk.p.w
	wk.turns++
	wk.job = w.drawJob()
	wk.job.owner = uint64(wk.number)<<32 | wk.turns
	op := machine.Op{Kind: machine.OpAcquire, Body: wk.job}
	switch w.rng.IntN(4) {
	case 0:
		op.Kind = machine.OpTry
	case 1:
		op.Wait = w.between(time.Millisecond, 2*w.opts.TTL)
	}
	id, err := wk.p.machine.Do(now, op)
	if err != nil {
		w.fail("process %d: %v", wk.p.id, err)
		return
	}
	wk.call = id
	wk.p.calls[id] = wk
	if w.chance(w.opts.Abandon) {
		boot := wk.p.boot
		soon := []time.Duration{10 * time.Millisecond, 300 * time.Millisecond, w.opts.TTL}[w.rng.IntN(3)]
		w.after(w.between(0, soon), func() {
			if wk.p.boot == boot {
				wk.p.input(func(now time.Duration) { wk.abandon(now, id) })
			}
		})
	}
}

// drawJob draws what to ask for. A name is always used with the same kind of lock.
func (w *world) drawJob() job {
	first := w.rng.IntN(w.opts.Names)
	j := job{names: []string{name(first)}, mode: locktable.Exclusive}
	switch {
	case first == 2:
		j.mode, j.limit = locktable.Slot, 2
	case w.opts.Names > 1 && w.rng.IntN(5) == 0:
		j.names = []string{name(0), name(1)}
	}
	if j.mode == locktable.Exclusive && w.rng.IntN(4) == 0 {
		j.mode = locktable.Shared
	}
	if w.rng.IntN(4) == 0 {
		j.delay = w.between(0, time.Second)
	}
	return j
}

func name(i int) string { return fmt.Sprintf("lock/%d", i) }

// abandon gives the call up, if it is not over: the context of the caller ended.
func (wk *worker) abandon(now time.Duration, id machine.CallID) {
	if wk.call != id {
		return
	}
	wk.p.w.stats.Faults["abandoned"]++
	wk.p.forget(id)
	// It may be lost in this very moment: Lost tells.
	if err := wk.p.machine.Abandon(now, id); err != nil && !errors.Is(err, machine.ErrNotACall) {
		wk.p.w.fail("process %d gives up call %d: %v", wk.p.id, id, err)
	}
}

// acquired holds the lock for a while, and now and then publishes a value.
func (wk *worker) acquired(b *belief) {
	w := wk.p.w
	wk.p.w.stats.Grants++
	if w.healed {
		wk.rounds++
	}
	boot := wk.p.boot
	later := func(d time.Duration, do func(now time.Duration)) {
		w.after(d, func() {
			if wk.p.boot == boot {
				wk.p.input(do)
			}
		})
	}
	if w.rng.IntN(8) == 0 {
		later(0, func(now time.Duration) { wk.publish(now, b) })
	}
	later(w.between(0, w.opts.Hold), func(now time.Duration) { wk.release(now, b.call) })
}

func (wk *worker) publish(now time.Duration, b *belief) {
	j := b.job
	j.token = b.token
	if _, err := wk.p.machine.Do(now, machine.Op{Kind: machine.OpOther, Body: j}); err != nil {
		wk.p.w.fail("process %d: %v", wk.p.id, err)
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

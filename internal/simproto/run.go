package simproto

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockd/lockd/session"
)

// Result is what a run came to.
type Result struct {
	Options Options
	Stats   Stats
	Hash    uint64 // of the trace: the same for the same seed
	Err     error  // what was wrong
	Tail    string // the last lines of the trace
}

// Run runs one seed. Show, if it is not nil, is given every line of the trace.
func Run(seed uint64, show func(string)) Result {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0x6c6f636b64))}
	w.opts = draw(w.rng)
	w.opts.Trace = show
	w.stats.Faults = map[string]int{}
	w.truth = newTruth(w)
	for i := range w.opts.Nodes {
		w.nodes = append(w.nodes, newNode(w, i))
	}
	w.elect(0)
	for i := range w.opts.Clients {
		w.clients = append(w.clients, newProcess(w, i))
	}
	w.faults()
	w.run(w.opts.Faulty)
	w.goodEnd()
	w.stats.Time = w.now
	return Result{Options: w.opts, Stats: w.stats, Hash: w.trace.hash, Err: w.err, Tail: w.trace.tail()}
}

// goodEnd lets the faults end and checks that everything comes to a good end: work goes on, every call ends, nothing is left
// behind, the dead expire in time and the living do not.
func (w *world) goodEnd() {
	if w.err != nil {
		return
	}
	o := &w.opts
	w.heal()
	// What was late before may still be on its way, and connections may not have seen that they broke.
	w.truth.settledAt = w.now + o.LateMost + o.NoticeMost + 4*o.TTL
	w.run(w.truth.settledAt + 5*time.Second)
	w.until(2*time.Minute, "somebody gets no lock", func() bool {
		for _, p := range w.clients {
			for _, wk := range p.workers {
				if wk.rounds == 0 {
					return false
				}
			}
		}
		return true
	})
	w.truth.resting = true
	w.rest()
	w.expireTheDead()
}

// rest waits until every call has ended, and checks that nobody holds or waits for anything.
func (w *world) rest() {
	w.until(2*time.Minute, "a call does not end", func() bool {
		for _, p := range w.clients {
			if len(p.calls) > 0 || len(p.holds) > 0 {
				return false
			}
		}
		return true
	})
	w.until(time.Minute, "a hold or a wait is left behind", func() bool { return len(w.truth.table.Names("")) == 0 })
	w.until(time.Minute, "a node does not catch up", func() bool {
		for _, n := range w.nodes {
			if n.applied < len(w.truth.log)-1 {
				return false
			}
		}
		return true
	})
}

// until runs until something holds, and fails if it does not within the time.
func (w *world) until(limit time.Duration, otherwise string, holds func() bool) {
	for end := w.now + limit; w.err == nil && !holds(); w.run(w.now + 100*time.Millisecond) {
		if w.now >= end {
			w.fail("%s", otherwise)
		}
	}
}

// expireTheDead kills half of the programs and checks that their sessions end in time (invariant 7), and no others do.
func (w *world) expireTheDead() {
	if w.err != nil {
		return
	}
	o := &w.opts
	var dead []session.Life
	for _, p := range w.clients[:(len(w.clients)+1)/2] {
		if life, ok := p.machine.Life(); ok {
			dead = append(dead, sessionLife(life))
		}
		p.kill()
	}
	// A message here may take longer than the second that the invariant allows for all of them.
	w.run(w.now + o.TTL + o.TTL/50 + time.Second + o.Batch + 6*o.DelayMost + 4*o.SyncMost)
	for _, life := range dead {
		if _, ok := w.truth.ended[life]; !ok && w.err == nil {
			w.fail("%v is not dead in time", life)
		}
	}
}

// Failure describes a failed run, and how to see it again.
func (r Result) Failure(seed uint64) string {
	return fmt.Sprintf("seed %d: %v\noptions: %v\n%s\nreplay: LOCKD_SEED=%d LOCKD_SEEDS=1 LOCKD_TRACE=1 go test ./internal/simproto/ -run '^TestSimSeeds$' -v",
		seed, r.Err, r.Options, r.Tail, seed)
}

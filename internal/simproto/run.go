package simproto

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockd/lockd/internal/simworld"
)

// Result is what a run came to.
type Result struct {
	Options Options
	Stats   simworld.Stats
	Hash    uint64 // of the trace: the same for the same seed
	Err     error  // what was wrong
	Tail    string // the last lines of the trace
}

// Run runs one seed. Show, if it is not nil, is given every line of the trace.
func Run(seed uint64, show func(string)) Result {
	rng := rand.New(rand.NewPCG(seed, 0x6c6f636b64))
	o := draw(rng)
	o.Programs.Trace = show
	w := newWorld(o, rng)
	w.elect(0)
	w.AddPrograms()
	w.faults()
	w.Run(w.opts.Faulty)
	w.goodEnd()
	w.Stats.Time = w.Now()
	return Result{Options: w.opts, Stats: w.Stats, Hash: w.Hash(), Err: w.Err, Tail: w.Tail()}
}

// goodEnd lets the faults end and checks that everything comes to a good end: work goes on, every call ends, nothing is left
// behind, the dead expire in time and the living do not.
func (w *world) goodEnd() {
	if w.Err != nil {
		return
	}
	o := &w.opts.Programs
	w.heal()
	// What was late before may still be on its way, and connections may not have seen that they broke.
	settled := w.Now() + o.LateMost + o.NoticeMost + 4*o.TTL
	if w.opts.inTime() {
		w.Judge.SettledAt = settled
	}
	w.Run(settled + 5*time.Second)
	w.Until(2*time.Minute, "somebody gets no lock", func() bool { return w.Unserved() == "" })
	w.Judge.Resting = true
	w.rest()
	w.expireTheDead()
}

// rest waits until every call has ended, and checks that nobody holds or waits for anything.
func (w *world) rest() {
	w.Until(3*time.Minute, "something does not end", func() bool { return w.Left() == "" })
	w.Until(time.Minute, "a node does not catch up", func() bool {
		for _, n := range w.nodes {
			if n.applied < len(w.log)-1 {
				return false
			}
		}
		return true
	})
}

// expireTheDead kills half of the programs and checks that their sessions end in time (invariant 7), and no others do.
func (w *world) expireTheDead() {
	if w.Err != nil {
		return
	}
	o := &w.opts
	dead := w.KillHalf()
	// A message here may take longer than the second that the invariant allows for all of them.
	w.Run(w.Now() + o.Programs.TTL + o.Programs.TTL/50 + time.Second + o.Batch + 6*o.DelayMost + 4*o.SyncMost)
	for _, life := range dead {
		if !w.Judge.Ended(life) && w.Err == nil {
			w.Fail("%v is not dead in time", life)
		}
	}
}

// Failure describes a failed run, and how to see it again.
func (r Result) Failure(seed uint64) string {
	return fmt.Sprintf("seed %d: %v\noptions: %v\n%s\nreplay: LOCKD_SEED=%d LOCKD_SEEDS=1 LOCKD_TRACE=1 go test ./internal/simproto/ -run '^TestSimSeeds$' -v",
		seed, r.Err, r.Options, r.Tail, seed)
}

package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/session"
)

// Options are what a seed draws: what the programs do, what befalls raft and its disks, and how the nodes talk to each other.
// Probabilities are in 1,000.
type Options struct {
	Programs simworld.Options
	Raft     rafttest.Swarm

	Loss, Double, Late int
	DelayMost          time.Duration // of a message between nodes
	DecideMost         time.Duration // between a decision of the leader and its proposal
	FlushMost          time.Duration // until a flush of the checkpoint begins
	CrashInFlush       int
	Backup             time.Duration // mean time between two backups; 0: there are none
	Lost               bool          // all nodes are lost in the end of the faults, and a backup is restored
}

// draw draws the options of a seed.
func draw(seed uint64, rng *rand.Rand) Options {
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	chance := func(ps ...int) int { return ps[rng.IntN(len(ps))] }
	const ms, s = time.Millisecond, time.Second
	o := Options{
		Programs: simworld.Options{
			Clients: 2 + rng.IntN(4), Workers: 1 + rng.IntN(3), Names: 1 + rng.IntN(3),
			TTL:   pick(session.TTLMin, session.TTLMin, 1500*ms, 3*s, 6*s),
			Grace: chance(0, 0, 300, 1000), Drift: chance(0, 500, 4_900),
			StreamMost: pick(ms, 20*ms), NoticeMost: pick(10*ms, s, 5*s), Stall: chance(0, 2, 20), LateMost: pick(s, 5*s, 20*s),
			Hold: pick(10*ms, 200*ms, 2*s), Think: pick(ms, 50*ms, 500*ms), Abandon: chance(0, 50, 400),
			Leases: chance(0, 100, 300), Elections: chance(0, 100, 300), Checks: chance(0, 100, 500),
		},
		Raft: rafttest.DrawSwarm(seed),
		Loss: chance(0, 10, 100, 300), Double: chance(0, 50, 300), Late: chance(0, 5, 50),
		DelayMost: pick(ms, 10*ms, 150*ms), DecideMost: pick(100*time.Microsecond, 5*ms, 300*ms), FlushMost: pick(0, 10*ms, s),
		CrashInFlush: chance(0, 0, 2, 50),
	}
	p := &o.Programs
	for _, fault := range []*time.Duration{&p.Break, &p.ClientPause, &p.Suspend, &p.Kill, &p.Leave} {
		*fault = pick(0, 0, p.TTL, 3*p.TTL, 10*p.TTL)
	}
	// The guarantees assume clocks within 1 % of each other. Raft itself is tested with worse ones.
	o.Raft.Drift = int64(p.Drift)
	o.Raft.Duration = pick(10*s, 20*s, 30*s)
	o.Raft.TraceEvents = 60
	// Where every entry travels or is applied alone, the cluster takes some dozens a second. More programs than that serves repeat what
	// is not answered in time, and so keep it from ever being so.
	if o.Raft.MaxInflight == 1 || o.Raft.MaxApplyBytes == 1 || o.Raft.Times.Apply > 10*ms && o.Raft.MaxApplyBytes < 1<<20 {
		p.Clients, p.Workers, p.TTL, p.Think = min(p.Clients, 3), 1, max(p.TTL, 3*s), max(p.Think, 50*ms)
	}
	if o.Lost = rng.IntN(5) == 0; o.Lost {
		o.Backup = pick(s, 5*s)
		o.Raft.Duration /= 2
	}
	return o
}

// String prints every option.
func (o *Options) String() string {
	return fmt.Sprintf("%v loss=%d double=%d late=%d delay=%v decide=%v flush=%v crash-in-flush=%d backup=%v lost=%t raft=%v", &o.Programs, o.Loss, o.Double, o.Late,
		o.DelayMost, o.DecideMost, o.FlushMost, o.CrashInFlush, o.Backup, o.Lost, o.Raft)
}

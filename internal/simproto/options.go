package simproto

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lockd/lockd/session"
)

// Options are what a seed draws: how large the world is, how bad its network, and which faults it knows. Probabilities are in
// 1,000. The times of faults are means; 0 means that the world does not know the fault.
type Options struct {
	Nodes, Clients, Workers, Names int

	TTL        time.Duration
	Grace      int // clients in 1,000 that ask for release on disconnect
	Drift      int // most parts per million of a clock, at most 4,900
	SyncMost   time.Duration
	Heartbeat  time.Duration
	Batch      time.Duration // nodes send KeepAlives on in batches
	DelayMost  time.Duration // of a message between nodes
	StreamMost time.Duration // of a message between client and node
	NoticeMost time.Duration // until an end sees that its connection broke

	Loss, Double, Late, Stall int
	LateMost                  time.Duration

	Election, Depose, Crash, NodePause, Lag, Cut, Break, ClientPause, Suspend, Kill time.Duration

	Hold, Think time.Duration // of the workers
	Abandon     int           // calls in 1,000 that are given up
	Faulty      time.Duration // length of the phase with faults

	Trace func(string) // nil, or what prints every line of the trace
}

// FaultKinds are the names under which Stats counts what went wrong. A run over many seeds must meet each of them.
var FaultKinds = []string{
	"election", "deposed leader", "crash", "node pause", "apply lag", "cut", "break", "client pause", "suspend", "kill",
	"loss", "double", "late", "stream stall", "stale leader", "lost tail", "old tail committed", "expired",
	"session lost", "abandoned", "second node",
}

// draw draws the options of a seed.
func draw(rng *rand.Rand) Options {
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	const ms, s = time.Millisecond, time.Second
	o := Options{
		Nodes: 3, Clients: 2 + rng.IntN(4), Workers: 1 + rng.IntN(3), Names: 1 + rng.IntN(3),
		TTL:      pick(session.TTLMin, session.TTLMin, 1500*ms, 3*s, 6*s),
		Grace:    []int{0, 0, 300, 1000}[rng.IntN(4)],
		Drift:    []int{0, 500, 4_900}[rng.IntN(3)],
		SyncMost: pick(ms, 5*ms, 100*ms, 800*ms), Heartbeat: pick(50*ms, 100*ms, 200*ms), Batch: pick(10*ms, 100*ms),
		DelayMost: pick(ms, 10*ms, 150*ms), StreamMost: pick(ms, 20*ms), NoticeMost: pick(10*ms, s, 5*s),
		Loss: []int{0, 10, 100, 300}[rng.IntN(4)], Double: []int{0, 50, 300}[rng.IntN(3)],
		Late: []int{0, 5, 50}[rng.IntN(3)], Stall: []int{0, 2, 20}[rng.IntN(3)], LateMost: pick(s, 5*s, 20*s),
		Hold: pick(10*ms, 200*ms, 2*s), Think: pick(ms, 50*ms, 500*ms), Abandon: []int{0, 50, 400}[rng.IntN(3)],
		Faulty: pick(10*s, 20*s, 40*s),
	}
	if rng.IntN(4) == 0 {
		o.Nodes = 5
	}
	for _, fault := range []*time.Duration{
		&o.Election, &o.Depose, &o.Crash, &o.NodePause, &o.Lag, &o.Cut, &o.Break, &o.ClientPause, &o.Suspend, &o.Kill,
	} {
		*fault = pick(0, 0, o.TTL, 3*o.TTL, 10*o.TTL)
	}
	return o
}

// String prints every option.
func (o Options) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nodes=%d clients=%d workers=%d names=%d ttl=%v grace=%d drift=%dppm", o.Nodes, o.Clients, o.Workers, o.Names,
		o.TTL, o.Grace, o.Drift)
	fmt.Fprintf(&b, " sync=%v heartbeat=%v batch=%v delay=%v stream=%v notice=%v", o.SyncMost, o.Heartbeat, o.Batch, o.DelayMost,
		o.StreamMost, o.NoticeMost)
	fmt.Fprintf(&b, " loss=%d double=%d late=%d stall=%d latest=%v", o.Loss, o.Double, o.Late, o.Stall, o.LateMost)
	fmt.Fprintf(&b, " election=%v depose=%v crash=%v pause=%v lag=%v cut=%v break=%v client-pause=%v suspend=%v kill=%v", o.Election, o.Depose, o.Crash,
		o.NodePause, o.Lag, o.Cut, o.Break, o.ClientPause, o.Suspend, o.Kill)
	fmt.Fprintf(&b, " hold=%v think=%v abandon=%d faulty=%v", o.Hold, o.Think, o.Abandon, o.Faulty)
	return b.String()
}

// Stats are the figures of a run.
type Stats struct {
	Events, Commits, Grants, Rounds int
	Time                            time.Duration // virtual
	Faults                          map[string]int
}

// Add adds the figures of another run.
func (s *Stats) Add(o Stats) {
	s.Events += o.Events
	s.Commits += o.Commits
	s.Grants += o.Grants
	s.Rounds += o.Rounds
	s.Time += o.Time
	if s.Faults == nil {
		s.Faults = map[string]int{}
	}
	for kind, n := range o.Faults {
		s.Faults[kind] += n
	}
}

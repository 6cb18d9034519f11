package rafttest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockd/lockd/raft"
)

// Swarm is what one seed draws: the size of the cluster, its limits, its work, and which faults it meets how often. A
// fault that is always there hides what only happens without it, so each seed leaves some out.
type Swarm struct {
	Seed   uint64
	Voters int
	Spares int // nodes that are taken in later
	WAL    bool

	Duration  time.Duration // of the time with faults
	Heartbeat time.Duration
	Election  time.Duration
	Drift     int64 // of the clocks, in millionths
	Times     Times
	Network   NetworkOptions

	MaxAppendBytes int
	MaxInflight    int
	CacheBytes     int
	KeepEntries    int
	MaxApplyBytes  int
	SegmentBytes   int64
	Flush          float64 // how likely a batch makes the state durable

	Clients int
	Think   time.Duration // a client's mean time between two requests
	Reads   float64
	Padding int

	FaultEvery time.Duration   // mean time between two faults
	FaultLasts time.Duration   // mean time that one lasts
	Faults     map[string]bool // those that may happen
	CrashAt    float64         // how likely a crash is at each place where it is worst
	Changes    bool            // of the configuration, at random
	HintsEvery time.Duration   // mean time between two groundless hints
	Alone      bool            // the first configuration is written on one node alone

	TraceEvents int // how many of the last events a failure shows; not drawn
}

// DrawSwarm draws the options of a seed.
func DrawSwarm(seed uint64) Swarm {
	r := rand.New(rand.NewPCG(seed, 0))
	s := Swarm{
		Seed:   seed,
		Voters: pick(r, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5),
		Spares: r.IntN(3),
		WAL:    r.IntN(3) == 0,

		Duration:  time.Duration(20+r.IntN(40)) * time.Second,
		Heartbeat: pick[time.Duration](r, 20, 60, 60) * time.Millisecond,
		Drift:     pick[int64](r, 0, 100, 10_000, 20_000),
		Times: Times{
			Loop:     pick[time.Duration](r, 0, 0, 50, 2000) * time.Microsecond,
			Sync:     pick[time.Duration](r, 0, 200, 2_000, 20_000) * time.Microsecond,
			Apply:    pick[time.Duration](r, 0, 100, 1_000, 30_000) * time.Microsecond,
			Snapshot: pick[time.Duration](r, 1, 100, 1_000) * time.Millisecond,
		},
		Network: NetworkOptions{
			Delay:   pick[time.Duration](r, 50, 200, 2_000) * time.Microsecond,
			Jitter:  pick[time.Duration](r, 0, 100, 1_000, 20_000) * time.Microsecond,
			InOrder: r.IntN(3) == 0,
		},

		MaxAppendBytes: pick(r, 1, 100, 1000, 100_000),
		MaxInflight:    pick(r, 1, 2, 8, 128),
		CacheBytes:     pick(r, 1, 200, 2000, 1<<20),
		KeepEntries:    pick(r, 1, 5, 20, 20, 200),
		MaxApplyBytes:  pick(r, 1, 200, 1<<20),
		SegmentBytes:   pick[int64](r, 8<<10, 16<<10, 64<<10),
		Flush:          pick(r, 0.02, 0.2, 1),

		Clients: 1 + r.IntN(8),
		Think:   pick[time.Duration](r, 5, 50, 200) * time.Millisecond,
		Reads:   pick(r, 0, 0.2, 0.7),
		Padding: pick(r, 0, 20, 300),

		FaultEvery: pick[time.Duration](r, 300, 1_000, 3_000, 10_000) * time.Millisecond,
		FaultLasts: pick[time.Duration](r, 100, 500, 2_000) * time.Millisecond,
		HintsEvery: pick[time.Duration](r, 0, 0, 100, 1_000) * time.Millisecond,
		Faults:     map[string]bool{},
		CrashAt:    pick(r, 0, 0, 0.0005, 0.01),
		Changes:    r.IntN(2) == 0,
		Alone:      r.IntN(4) == 0,
	}
	s.Election = s.Heartbeat * pick[time.Duration](r, 6, 10, 16)
	if r.IntN(8) > 0 { // else an election may take longer than the patience of the next candidate
		s.Election = max(s.Election, 6*(s.Network.Delay+2*s.Network.Jitter+s.Times.Sync+s.Times.Loop))
	}
	// An Append that was overtaken is refused, and what follows it sent again: over a network without order a wide window is mostly
	// repeats, and a seed of them takes minutes and shows nothing.
	if !s.Network.InOrder && s.Network.Jitter >= 20*time.Millisecond {
		s.MaxInflight = min(s.MaxInflight, 8)
	}
	for _, f := range faults {
		if r.IntN(3) == 0 {
			s.Faults[f.name] = true
		}
	}
	if r.IntN(2) == 0 {
		s.Network.Loss, s.Network.Duplicate = pick(r, 0.001, 0.02, 0.1), pick(r, 0, 0.05)
	}
	return s
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// world makes the World of a Swarm.
func (s Swarm) world(crashAt func(*Node, string) bool, load Workload, o SimOptions) *World {
	return NewWorld(WorldOptions{
		Seed: s.Seed,
		Core: raft.Options{
			Heartbeat: s.Heartbeat, ElectionTimeout: s.Election,
			MaxAppendBytes: s.MaxAppendBytes, MaxInflight: s.MaxInflight, CacheBytes: s.CacheBytes,
		},
		Engine:       raft.EngineOptions{KeepEntries: s.KeepEntries, MaxApplyBytes: s.MaxApplyBytes},
		NewMachine:   load.Machine,
		CommandID:    o.CommandID,
		Beside:       o.Beside,
		WAL:          s.WAL,
		SegmentBytes: s.SegmentBytes,
		Times:        s.Times,
		Network:      s.Network,
		CrashAt:      crashAt,
		TraceEvents:  s.TraceEvents,
	})
}

func (s Swarm) String() string {
	type plain Swarm
	return fmt.Sprintf("%+v", plain(s))
}

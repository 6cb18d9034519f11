package main

import (
	"context"
	"fmt"
	"time"
)

// curve is how figures grow with one thing.
type curve struct {
	name  string
	of    string // what grows
	axis  string // the same in a word or two
	at    []int  // how much of it
	short []int  // the same of a quick run
	both  int    // above it lockd alone is measured: the other one takes too long; 0: no bound
	size  func(x int) int
	run   func(ctx context.Context, c *cluster, s scale, o order, x int) (figures, error)
	lines []line
}

// line is one figure of a curve.
type line struct {
	key    string
	what   string
	digits int
	least  float64 // below it the figure is noise, and says nothing of how it grows
	cost   bool    // it must not grow faster than what it is measured against
	excuse string  // why it may all the same
}

var (
	growthFull  = scale{Warmup: time.Second, Window: 4 * time.Second, Settle: 3 * time.Second, Idle: 10 * time.Second}
	growthShort = scale{Warmup: 300 * time.Millisecond, Window: time.Second, Settle: time.Second, Idle: 3 * time.Second}
)

const (
	growthLimit = 15 * time.Minute // of the whole run
	growthTrial = 6 * time.Minute
)

// pairLines are the figures of clients in a closed loop.
var pairLines = []line{
	{key: "rate", what: "pairs/s"},
	{key: "p50", what: "p50 of a pair, ms", digits: 2, cost: true},
	{key: "p99", what: "p99 of a pair, ms", digits: 2, cost: true},
	{key: "cpu", what: "server CPU s/1,000 pairs", digits: 3, cost: true},
}

// curves are measured in this order.
var curves = []curve{
	{
		name: "clients", of: "clients, own sessions and connections", axis: "clients",
		at: []int{1, 4, 16, 64, 256}, short: []int{1, 4, 16, 64},
		run: func(ctx context.Context, _ *cluster, _ scale, o order, x int) (figures, error) {
			o.Clients = x
			return pairsOf(ctx, o)
		},
		lines: pairLines,
	},
	{
		name: "held", of: "locks held", axis: "locks held", both: 100_000, // of the other one in a quick run less
		at: []int{1_000, 10_000, 100_000, million}, short: []int{1_000, 10_000, 100_000},
		run: heldCurve,
		lines: []line{
			{key: "memory", what: "memory of a node, MB", digits: 1, least: 5, cost: true},
			{key: "bytes", what: "bytes for each"},
			{key: "p50", what: "p50 of a pair, ms", digits: 2, cost: true},
			{key: "cpu", what: "server CPU s/1,000 pairs", digits: 3, cost: true},
			{key: "restart", what: "restart of all nodes, s", digits: 2, cost: true},
		},
	},
	{
		name: "sessions", of: "idle sessions, TTL 10 s, own connections", axis: "idle sessions",
		at: []int{100, 1_000, 10_000}, short: []int{100, 1_000},
		run: func(ctx context.Context, c *cluster, s scale, o order, x int) (figures, error) {
			s.Sessions = x
			return idleTrial(ctx, c, s, o)
		},
		lines: []line{
			{key: "idle", what: "server CPU, %", digits: 1, cost: true},
			{key: "idle-lost", what: "sessions lost"},
		},
	},
	{
		name: "values", of: "bytes of value of each lock, 8 clients", axis: "bytes of value",
		at: []int{0, 128, 4 << 10, 64 << 10}, short: []int{0, 128, 4 << 10, 64 << 10},
		run: func(ctx context.Context, _ *cluster, _ scale, o order, x int) (figures, error) {
			o.Clients, o.Value = 8, x
			return pairsOf(ctx, o)
		},
		lines: pairLines,
	},
	{
		name: "nodes", of: "nodes, 64 clients", axis: "nodes",
		at: []int{3, 5}, short: []int{3, 5}, size: func(x int) int { return x },
		run: func(ctx context.Context, _ *cluster, _ scale, o order, x int) (figures, error) {
			o.Clients = 64
			return pairsOf(ctx, o)
		},
		lines: []line{
			{key: "rate", what: "pairs/s"},
			{key: "p50", what: "p50 of a pair, ms", digits: 2, cost: true, excuse: sameMachine},
			{key: "p99", what: "p99 of a pair, ms", digits: 2, cost: true, excuse: sameMachine},
			{key: "cpu", what: "server CPU s/1,000 pairs", digits: 3, cost: true, excuse: followers},
		},
	},
}

const (
	followers   = "a pair costs the leader and each follower its share: of 3 nodes 2 follow, of 5 there are 4, which alone is an exponent of up to 1.36"
	sameMachine = "all nodes share the CPUs of one machine, so what more of them cost is time that everybody waits: see the CPU"
)

// heldCurve holds locks, and meanwhile has other clients make pairs.
func heldCurve(ctx context.Context, c *cluster, s scale, o order, x int) (figures, error) {
	s.Locks = x
	return whileHeld(ctx, c, s, o, func(found figures) error {
		o.Clients = 8
		meanwhile, err := pairsOf(ctx, o)
		if err != nil {
			return err
		}
		found["memory"] = found["bytes"] * float64(x) / 1e6
		found["p50"], found["cpu"] = meanwhile["p50"], meanwhile["cpu"]
		return nil
	})
}

// points are the trials of all curves.
func points(short bool) (all []trial) {
	for i := range curves {
		c := &curves[i]
		for _, x := range c.measured(short) {
			t := trial{name: c.point(x), run: func(ctx context.Context, cl *cluster, s scale, o order) (figures, error) {
				return c.run(ctx, cl, s, o, x)
			}}
			if c.size != nil {
				t.size = c.size(x)
			}
			if c.both > 0 && (x > c.both || short && x == c.both) {
				t.only = lockd.name
			}
			all = append(all, t)
		}
	}
	return all
}

func (c *curve) measured(short bool) []int {
	if short {
		return c.short
	}
	return c.at
}

// point is the name of the trial of one point.
func (c *curve) point(x int) string { return fmt.Sprintf("%s/%d", c.name, x) }

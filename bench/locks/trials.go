package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// scale says how much is measured.
type scale struct {
	Warmup   time.Duration
	Window   time.Duration // of load
	Settle   time.Duration // after a forced collection of garbage
	Idle     time.Duration // window of sessions that only live
	Sessions int           // of those
	Locks    int           // held
	Kills    int           // of leaders, in each trial
	Holders  int           // that die at once, in each trial
}

// figures are what a trial found, by the keys of rows.
type figures map[string]float64

// trial measures some rows on a fresh cluster.
type trial struct {
	name string
	run  func(ctx context.Context, c *cluster, s scale, o order) (figures, error)
	size int    // nodes of the cluster; 0: the usual
	only string // the one system that is measured; empty: all
}

// trials are made in this order in each round.
var trials = []trial{
	{name: "pairs1", run: pairsTrial(1)},
	{name: "pairs64", run: pairsTrial(64)},
	{name: "queue16", run: queueTrial(16)},
	{name: "queue100", run: queueTrial(100)},
	{name: "idle", run: idleTrial},
	{name: "held", run: heldTrial},
	{name: "leader", run: leaderTrial},
	{name: "holder", run: holderTrial},
}

func pairsTrial(clients int) func(context.Context, *cluster, scale, order) (figures, error) {
	return func(ctx context.Context, _ *cluster, _ scale, o order) (figures, error) {
		o.Clients = clients
		found, err := pairsOf(ctx, o)
		at := func(name string) string { return fmt.Sprint(name, clients) }
		return figures{
			at("rate"): found["rate"], at("p50-"): found["p50"], at("p99-"): found["p99"],
			at("cpu"): found["cpu"], at("clients"): found["own"], at("others"): found["others"],
		}, err
	}
}

// pairsOf measures a closed loop of clients with locks of their own.
func pairsOf(ctx context.Context, o order) (figures, error) {
	o.Work = "pairs"
	f, err := run(ctx, o)
	if err != nil {
		return nil, err
	}
	pairs := total(f.Grants)
	return figures{
		"rate": pairs / f.Window.Seconds(), "p50": millis(f.P50), "p99": millis(f.P99),
		"cpu": f.CPU.Seconds() / pairs * 1000, "own": f.Own.Seconds() / pairs * 1000, "others": f.Others.Seconds() / f.Window.Seconds(),
	}, nil
}

func queueTrial(clients int) func(context.Context, *cluster, scale, order) (figures, error) {
	return func(ctx context.Context, _ *cluster, s scale, o order) (figures, error) {
		o.Work, o.Clients = "queue", clients
		f, err := run(ctx, o)
		if err != nil {
			return nil, err
		}
		return figures{
			fmt.Sprint("hand-overs", clients): total(f.Grants) / f.Window.Seconds(),
			fmt.Sprint("fairness", clients):   fairness(f.Grants),
		}, nil
	}
}

// fairness is how often the luckiest client got the lock for each time of the unluckiest. The window cuts a turn: of
// clients that get it in strict turns some have one grant more than others, and that is taken off.
func fairness(grants []uint64) float64 {
	most, least := float64(slices.Max(grants)), float64(slices.Min(grants))
	return max(1, (most-1)/max(least, 1))
}

func idleTrial(ctx context.Context, _ *cluster, s scale, o order) (figures, error) {
	o.Work, o.Clients, o.TTL = "idle", s.Sessions, 10*time.Second
	o.Warmup, o.Window = 4*s.Warmup, s.Idle // connecting leaves work behind
	f, err := run(ctx, o)
	if err != nil {
		return nil, err
	}
	return figures{"idle": f.CPU.Seconds() / f.Window.Seconds() * 100, "idle-lost": float64(f.Lost)}, nil
}

// heldTrial measures the memory of held locks, and then kills all nodes and starts them again.
func heldTrial(ctx context.Context, c *cluster, s scale, o order) (figures, error) {
	return whileHeld(ctx, c, s, o, func(figures) error { return nil })
}

// whileHeld does that, and calls during between the two, for further figures.
func whileHeld(ctx context.Context, c *cluster, s scale, o order, during func(figures) error) (_ figures, err error) {
	o.Work, o.Clients, o.Locks, o.TTL, o.Warmup = "hold", 64, s.Locks, 5*time.Minute, s.Settle
	holders, f, err := employ(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, holders.dismiss()) }()
	var bytes []float64
	for _, n := range f.Growth {
		bytes = append(bytes, float64(n)/float64(f.Held))
	}
	found := figures{"bytes": rig.Median(bytes)}
	if err := during(found); err != nil {
		return nil, err
	}
	if err := kill(c.nodes...); err != nil {
		return nil, err
	}
	began := time.Now()
	o.Work, o.TTL = "probe", 15*time.Second
	prober, _, err := employ(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, prober.dismiss()) }()
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	if f, err = prober.next(); err != nil {
		return nil, err
	}
	found["restart"] = f.Tries[0].Granted.Sub(began).Seconds()
	return found, nil
}

// leaderTrial kills leaders while clients ask for locks at a steady pace.
func leaderTrial(ctx context.Context, c *cluster, s scale, o order) (_ figures, err error) {
	const apart, recovers = 700 * time.Millisecond, 4 * time.Second
	o.Work, o.Clients = "ask", 8
	askers, _, err := employ(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, askers.dismiss()) }()
	var kills []time.Time
	for range s.Kills {
		leader, err := c.leader(ctx)
		if err != nil {
			return nil, err
		}
		if err := rig.Sleep(ctx, apart+rand.N(apart)); err != nil {
			return nil, err
		}
		kills = append(kills, time.Now())
		if err := kill(leader); err != nil {
			return nil, err
		}
		if err := rig.Sleep(ctx, recovers); err != nil {
			return nil, err
		}
		if err := c.start(ctx); err != nil {
			return nil, err
		}
	}
	f, err := askers.finish()
	if err != nil {
		return nil, err
	}
	return recovery(kills, f.Tries)
}

// recovery is how long it took from each kill to the first grant to somebody who asked after it, and how many tries
// were lost, in all and by their errors.
func recovery(kills []time.Time, tries []try) (figures, error) {
	var waits []float64
	for _, killed := range kills {
		var first time.Time
		for _, t := range tries {
			if t.Began.After(killed) && !t.Granted.IsZero() && (first.IsZero() || t.Granted.Before(first)) {
				first = t.Granted
			}
		}
		if first.IsZero() {
			return nil, errors.New("nothing was granted after a kill")
		}
		waits = append(waits, millis(first.Sub(killed)))
	}
	f := figures{"leader": rig.Median(waits), "leader-worst": slices.Max(waits), "lost": 0}
	for _, t := range tries {
		if t.Error != "" {
			f["lost"]++
			f["lost: "+t.Error]++
		}
	}
	return f, nil
}

// holderTrial kills clients that hold locks for which others wait.
func holderTrial(ctx context.Context, _ *cluster, s scale, o order) (_ figures, err error) {
	o.Clients, o.TTL = s.Holders, 5*time.Second
	o.Work = "keep"
	keepers, _, err := employ(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, keepers.dismiss()) }()
	o.Work, o.TTL = "await", 15*time.Second
	waiters, _, err := employ(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, waiters.dismiss()) }()
	if err := rig.Sleep(ctx, rand.N(2*time.Second)); err != nil { // anywhere between two renewals
		return nil, err
	}
	killed := time.Now()
	if err := keepers.dismiss(); err != nil {
		return nil, err
	}
	f, err := waiters.next()
	if err != nil {
		return nil, err
	}
	var waits []float64
	for _, t := range f.Tries {
		if t.Granted.Before(killed) {
			return nil, errors.New("a lock was granted while its holder lived")
		}
		waits = append(waits, millis(t.Granted.Sub(killed)))
	}
	return figures{"holder": rig.Median(waits), "holder-worst": slices.Max(waits)}, nil
}

func total(counts []uint64) (sum float64) {
	for _, n := range counts {
		sum += float64(n)
	}
	return sum
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

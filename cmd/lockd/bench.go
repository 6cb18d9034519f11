package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

const maxBenchClients = 10_000

func (p *program) benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Category: groupOperate, Usage: "measure acquire and release against a cluster", UsageText: "lockd bench [flags]",
		Description: `Each client has its own connection and session, and acquires and releases again
and again: a lock of its own, or with --lock all of them the same one.

Examples:
lockd bench --clients 64 --time 30s
lockd bench --clients 16 --lock hot      # hand-overs of one lock`,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "clients", Value: 16, Usage: "`N` clients at once"},
			&cli.DurationFlag{Name: "time", Value: 10 * time.Second, Usage: "for how long, `TIME`"},
			&cli.StringFlag{Name: "lock", Usage: "one `NAME` for all of them", DefaultText: "each its own"},
		},
		Action: p.action(bench),
	}
}

// benchResult is what was measured.
type benchResult struct {
	Clients int     `json:"clients"`
	Took    int64   `json:"took_ms"`
	Pairs   uint64  `json:"pairs"`
	Rate    float64 `json:"pairs_per_second"`
	Errors  int     `json:"errors"`
	P50     float64 `json:"p50_ms"`
	P90     float64 `json:"p90_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Max     float64 `json:"max_ms"`
}

// benchRun is one measurement.
type benchRun struct {
	pairs atomic.Uint64

	mu     sync.Mutex // guards the fields below
	times  histogram
	failed []error
}

func bench(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	n, limit := c.flags.Int("clients"), c.flags.Duration("time")
	if n < 1 || n > maxBenchClients {
		return c.usage("--clients %d is not between 1 and %d", n, maxBenchClients)
	}
	if limit <= 0 {
		return c.usage("--time %v: say how long", limit)
	}
	clients, err := c.benchClients(ctx, n)
	defer func() {
		var all sync.WaitGroup
		for _, cl := range clients {
			all.Go(func() { _ = c.disconnect(ctx, cl) })
		}
		all.Wait()
	}()
	if err != nil {
		return err
	}
	r := new(benchRun)
	began := time.Now()
	r.run(ctx, c, clients, limit)
	return c.printBench(r, n, time.Since(began))
}

// benchClients opens the sessions, so that what is measured is locks alone.
func (c *call) benchClients(ctx context.Context, n int) ([]*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	clients, errs := make([]*client.Client, 0, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		cl, err := c.connect()
		if err != nil {
			return clients, err
		}
		clients = append(clients, cl)
		all.Go(func() {
			l, err := cl.Lock(ctx, fmt.Sprintf("bench/open/%d/%d", i, rand.Uint64()))
			if err == nil {
				err = l.Unlock(ctx)
			}
			errs[i] = err
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return clients, err
		}
	}
	return clients, nil
}

// run measures until the limit or ctx ends.
func (r *benchRun) run(ctx context.Context, c *call, clients []*client.Client, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	bar := c.progress("measuring")
	defer bar.end()
	salt := rand.Uint64()
	var all sync.WaitGroup
	for i, cl := range clients {
		name := orElse(c.flags.String("lock"), fmt.Sprintf("bench/%d/%d", salt, i))
		all.Go(func() { r.work(ctx, cl, name) })
	}
	began := time.Now()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			passed := time.Since(began)
			bar.show(passed.Seconds()/limit.Seconds(), fmt.Sprintf("%.0f pairs/s", float64(r.pairs.Load())/passed.Seconds()))
		case <-ctx.Done():
		}
	}
	all.Wait()
}

// work is one client. It ends with the first thing that fails.
func (r *benchRun) work(ctx context.Context, cl *client.Client, name string) {
	var times histogram
	var failed error
	for failed == nil && ctx.Err() == nil {
		began := time.Now()
		if failed = pair(ctx, cl, name); failed == nil {
			times.add(time.Since(began))
			r.pairs.Add(1)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times.merge(&times)
	if failed != nil && ctx.Err() == nil { // else it was the end of the time that ended a wait
		r.failed = append(r.failed, failed)
	}
}

// pair acquires and releases.
func pair(ctx context.Context, cl *client.Client, name string) error {
	l, err := cl.Lock(ctx, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return l.Unlock(ctx)
}

func (c *call) printBench(r *benchRun, clients int, took time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	pairs := r.pairs.Load()
	result := benchResult{
		Clients: clients, Took: milliseconds(took), Pairs: pairs, Rate: math.Round(float64(pairs) / took.Seconds()), Errors: len(r.failed),
		P50: r.times.quantile(0.5), P90: r.times.quantile(0.9), P99: r.times.quantile(0.99), P999: r.times.quantile(0.999), Max: r.times.quantile(1),
	}
	var err error
	if c.json {
		err = c.printJSON(result)
	} else {
		_, err = fmt.Fprintf(c.out, "clients  %d\npairs    %d in %s\nrate     %.0f pairs/s\nlatency  p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms\n",
			clients, pairs, about(took), result.Rate, result.P50, result.P90, result.P99, result.P999, result.Max)
	}
	if err == nil && len(r.failed) > 0 {
		return fmt.Errorf("%s; the first: %w", plural(len(r.failed), "client failed", "clients failed"), r.failed[0])
	}
	return err
}

// histogram counts durations in buckets, each a hundredth wider than the one before: from 1 µs to more than an hour.
type histogram [2300]uint64

const bucketGrowth = 1.01

func (h *histogram) add(d time.Duration) {
	us := max(float64(d)/float64(time.Microsecond), 1)
	h[min(int(math.Log(us)/math.Log(bucketGrowth)), len(h)-1)]++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// quantile returns, in milliseconds, the upper end of the bucket that holds the q-th part of what was counted; 0 if that is nothing.
func (h *histogram) quantile(q float64) float64 {
	var total, seen uint64
	for _, n := range h {
		total += n
	}
	for i, n := range h {
		seen += n
		if n > 0 && float64(seen) >= q*float64(total) {
			return math.Round(math.Pow(bucketGrowth, float64(i+1))) / 1000
		}
	}
	return 0
}

package simproto_test

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/simproto"
	"github.com/lockd/lockd/internal/simworld"
)

// number returns a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSimSeeds runs LOCKD_SEEDS seeds, beginning with LOCKD_SEED. With LOCKD_TRACE=1 it prints every line of their traces.
func TestSimSeeds(t *testing.T) {
	first, seeds := number(t, "LOCKD_SEED", 1), number(t, "LOCKD_SEEDS", 200)
	var show func(string)
	workers := 2
	if os.Getenv("LOCKD_TRACE") != "" {
		show, workers = func(line string) { t.Log(line) }, 1
	}
	var next atomic.Uint64
	var mu sync.Mutex // guards the fields below
	var stats simworld.Stats
	failures := 0
	began := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= seeds {
					return
				}
				r := simproto.Run(first+i, show)
				mu.Lock()
				stats.Add(r.Stats)
				if r.Err != nil {
					failures++
					t.Error(r.Failure(first + i))
				}
				stop := failures > 2
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d seeds, %d events, %d commits, %d grants, %d quorum rounds in %v: %.0f events/s", seeds, stats.Events, stats.Commits,
		stats.Grants, stats.Rounds, took.Round(time.Millisecond), float64(stats.Events)/took.Seconds())
	for _, kind := range simproto.FaultKinds {
		t.Logf("%8d × %s", stats.Faults[kind], kind)
		if stats.Faults[kind] == 0 && seeds >= 100 {
			t.Errorf("no seed of %d met the fault %q: the run proves nothing about it", seeds, kind)
		}
	}
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "sim-protocol", Layer: "protocol-sim", Runs: int64(min(next.Load(), seeds)), Operations: int64(stats.Commits), Simulated: stats.Time,
		Violations: int64(failures), Seeds: reliability.SeedRange(first, seeds), Command: fmt.Sprintf("make sim-protocol SEEDS=%d SEED=%d", seeds, first),
	}, reliability.Counts(stats.Faults))...)
}

// TestSimSameSeedSameTrace runs seeds twice.
func TestSimSameSeedSameTrace(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := simproto.Run(seed, nil), simproto.Run(seed, nil)
		if a.Hash != b.Hash || a.Stats.Events != b.Stats.Events {
			t.Errorf("seed %d: %x with %d events, then %x with %d events", seed, a.Hash, a.Stats.Events, b.Hash, b.Stats.Events)
		}
	}
}

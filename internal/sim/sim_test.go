package sim_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/sim"
	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/raft/rafttest"
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

// coverageSeeds is how many seeds must, between them, meet everything there is to meet.
const coverageSeeds = 500

// totals sums up many runs.
type totals struct {
	stats    simworld.Stats
	coverage rafttest.Coverage // of the service, and of raft below it
	seeds    int
	steps    int
	virtual  time.Duration
	failed   int
}

func (s *totals) add(r sim.Result) {
	s.stats.Add(r.Stats)
	s.coverage.Add(r.Stats.Faults)
	s.coverage.Add(r.Raft)
	s.seeds++
	s.steps += r.Steps
	s.virtual += r.Virtual
	if r.Err != nil {
		s.failed++
	}
}

// TestSimSeeds runs LOCKD_SEEDS seeds, beginning with LOCKD_SEED. With LOCKD_TRACE=1 it prints every line of their traces.
func TestSimSeeds(t *testing.T) {
	first, seeds := number(t, "LOCKD_SEED", 1), number(t, "LOCKD_SEEDS", 60)
	var show func(string)
	workers := runtime.GOMAXPROCS(0)
	if os.Getenv("LOCKD_TRACE") != "" {
		show, workers = func(line string) { t.Log(line) }, 1
	}
	var next atomic.Uint64
	var mu sync.Mutex // guards total
	total := totals{coverage: rafttest.Coverage{}}
	began := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for !t.Failed() {
				i := next.Add(1) - 1
				if i >= seeds {
					return
				}
				r := sim.Run(first+i, show)
				mu.Lock()
				total.add(r)
				if r.Err != nil {
					t.Error(r.Failure(first + i))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if !t.Failed() {
		t.Logf("%d seeds, %v of virtual time, %d events, %d commits, %d grants, %d quorum rounds in %v: %.0f events/s\n%v", total.seeds,
			total.virtual.Round(time.Second), total.steps, total.stats.Commits, total.stats.Grants, total.stats.Rounds,
			took.Round(time.Millisecond), float64(total.steps)/took.Seconds(), total.coverage)
		if missing := total.coverage.Missing(sim.Expected()); seeds >= coverageSeeds && len(missing) > 0 {
			t.Errorf("%d seeds have never met: %s", seeds, strings.Join(missing, "; "))
		}
	}
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "sim", Layer: "sim", Runs: int64(total.seeds), Operations: int64(total.stats.Commits), Simulated: total.virtual,
		Violations: int64(total.failed), Seeds: reliability.SeedRange(first, seeds), Command: fmt.Sprintf("make sim SEEDS=%d SEED=%d", seeds, first),
	}, reliability.Counts(total.coverage))...)
}

// TestSimSameSeedSameTrace runs seeds twice: a simulation that cannot be repeated is of no use.
func TestSimSameSeedSameTrace(t *testing.T) {
	first := number(t, "LOCKD_SEED", 1)
	hashes := map[uint64]uint64{}
	for seed := first; seed < first+5; seed++ {
		a, b := sim.Run(seed, nil), sim.Run(seed, nil)
		if a.Hash != b.Hash || a.Steps != b.Steps {
			t.Errorf("seed %d takes two courses: %x with %d events, then %x with %d events", seed, a.Hash, a.Steps, b.Hash, b.Steps)
		}
		if other, ok := hashes[a.Hash]; ok {
			t.Errorf("seeds %d and %d take the same course", other, seed)
		}
		hashes[a.Hash] = seed
	}
}

package sim_test

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// totals sums up many runs.
type totals struct {
	simworld.Stats
	raft    rafttest.Coverage
	steps   int
	virtual time.Duration
	failed  int
}

func (s *totals) add(r sim.Result) {
	s.Stats.Add(r.Stats)
	s.raft.Add(r.Raft)
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
	workers := 2
	if os.Getenv("LOCKD_TRACE") != "" {
		show, workers = func(line string) { t.Log(line) }, 1
	}
	var next atomic.Uint64
	var mu sync.Mutex // guards the fields below
	total := totals{raft: rafttest.Coverage{}}
	began := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
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
				stop := total.failed > 2
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d seeds, %v of virtual time, %d events, %d commits, %d grants, %d quorum rounds in %v: %.0f events/s", seeds,
		total.virtual.Round(time.Second), total.steps, total.Commits, total.Grants, total.Rounds, took.Round(time.Millisecond),
		float64(total.steps)/took.Seconds())
	for _, kind := range slices.Sorted(maps.Keys(total.Faults)) {
		t.Logf("%8d × %s", total.Faults[kind], kind)
	}
	t.Logf("raft:\n%v", total.raft)
}

// TestSimSameSeedSameTrace runs seeds twice.
func TestSimSameSeedSameTrace(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b := sim.Run(seed, nil), sim.Run(seed, nil)
		if a.Hash != b.Hash || a.Steps != b.Steps {
			t.Errorf("seed %d: %x with %d events, then %x with %d events", seed, a.Hash, a.Steps, b.Hash, b.Steps)
		}
	}
}

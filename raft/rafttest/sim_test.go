package rafttest_test

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
	"github.com/lockd/lockd/raft/rafttest"
)

// The simulator runs LOCKD_SEEDS seeds, from LOCKD_SEED on. A failure shows the last LOCKD_TRACE events of its run.
const (
	defaultSeeds = 60
	defaultTrace = 200
	// coverageSeeds is how many seeds must, between them, meet everything there is to meet.
	coverageSeeds = 300
)

func envNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSim lets each seed draw a cluster and its misfortunes, and checks what must always hold.
func TestSim(t *testing.T) {
	seeds, first := envNumber(t, "LOCKD_SEEDS", defaultSeeds), envNumber(t, "LOCKD_SEED", 1)
	trace := int(envNumber(t, "LOCKD_TRACE", defaultTrace))
	var (
		next  atomic.Uint64
		wg    sync.WaitGroup
		mu    sync.Mutex // guards the fields below
		bad   int64      // seeds
		total = totals{Coverage: rafttest.Coverage{}}
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() {
				i := next.Add(1) - 1
				if i >= seeds {
					return
				}
				swarm := rafttest.DrawSwarm(first + i)
				swarm.TraceEvents = trace
				began := time.Now()
				r := rafttest.Run(swarm)
				took := time.Since(began)
				mu.Lock()
				total.add(r, took)
				if r.Err != nil {
					bad++
					t.Errorf("seed %d: %v\noptions: %v\nthe last events:\n%s\nreplay: %s",
						swarm.Seed, r.Err, swarm, strings.Join(r.Trace, "\n"), replay(swarm.Seed))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("\n%v", &total)
	if missing := total.Missing(rafttest.Expected()); seeds >= coverageSeeds && len(missing) > 0 && !t.Failed() {
		t.Errorf("%d seeds have never met: %s", seeds, strings.Join(missing, "; "))
	}
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "sim-raft", Layer: "raft-sim", Runs: int64(total.seeds), Operations: int64(total.answered), Simulated: total.virtual, Violations: bad,
		Seeds: reliability.SeedRange(first, seeds), Command: fmt.Sprintf("make sim-raft SEEDS=%d SEED=%d", seeds, first),
	}, reliability.Counts(total.Coverage))...)
}

func replay(seed uint64) string {
	return fmt.Sprintf("LOCKD_SEED=%d LOCKD_SEEDS=1 LOCKD_TRACE=2000 go test ./raft/rafttest -run '^TestSim$' -v", seed)
}

// TestSimSameSeedSameCourse runs seeds twice: a simulation that cannot be repeated is of no use.
func TestSimSameSeedSameCourse(t *testing.T) {
	first := envNumber(t, "LOCKD_SEED", 1)
	hashes := map[uint64]uint64{}
	for seed := first; seed < first+6; seed++ {
		swarm := rafttest.DrawSwarm(seed)
		swarm.Duration /= 4
		a, b := rafttest.Run(swarm), rafttest.Run(swarm)
		if a.Hash != b.Hash || a.Steps != b.Steps || a.Index != b.Index {
			t.Errorf("seed %d takes two courses: %d events to index %d with sum %x, and %d to %d with %x",
				seed, a.Steps, a.Index, a.Hash, b.Steps, b.Index, b.Hash)
		}
		if other, ok := hashes[a.Hash]; ok {
			t.Errorf("seeds %d and %d take the same course", other, seed)
		}
		hashes[a.Hash] = seed
	}
}

// totals sums up many runs.
type totals struct {
	rafttest.Coverage
	seeds    int
	steps    [2]int // without and with the log
	spent    [2]time.Duration
	virtual  time.Duration
	answered int
}

func (s *totals) add(r rafttest.Report, took time.Duration) {
	kind := 0
	if r.Swarm.WAL {
		kind = 1
	}
	s.Add(r.Coverage)
	s.seeds++
	s.steps[kind] += r.Steps
	s.spent[kind] += took
	s.virtual += r.Time
	s.answered += r.Answered
}

func (s *totals) String() string {
	text := fmt.Sprintf("%d seeds, %v of virtual time, %d requests answered\n", s.seeds, s.virtual.Round(time.Second), s.answered)
	for kind, name := range []string{"without the log", "with the log"} {
		if s.steps[kind] > 0 {
			text += fmt.Sprintf("%s: %d events, %.0f events/s on each core\n", name, s.steps[kind], float64(s.steps[kind])/s.spent[kind].Seconds())
		}
	}
	return text + s.Coverage.String()
}

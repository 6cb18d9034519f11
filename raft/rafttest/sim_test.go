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

	"github.com/lockd/lockd/raft/rafttest"
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

func TestSim(t *testing.T) {
	seeds, first := envNumber(t, "LOCKD_SEEDS", 60), envNumber(t, "LOCKD_SEED", 1)
	trace := int(envNumber(t, "LOCKD_TRACE", 200))
	var (
		next  atomic.Uint64
		mu    sync.Mutex
		wg    sync.WaitGroup
		total = rafttest.Coverage{}
		steps = map[bool]int{}
		spent = map[bool]time.Duration{}
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
				total.Add(r.Coverage)
				steps[swarm.WAL] += r.Steps
				spent[swarm.WAL] += took
				if r.Err != nil {
					t.Errorf("seed %d: %v\noptions: %v\nlast events:\n%s\nreplay: LOCKD_SEED=%d LOCKD_SEEDS=1 go test ./raft/rafttest -run '^TestSim$' -v",
						swarm.Seed, r.Err, swarm, strings.Join(r.Trace, "\n"), swarm.Seed)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, wal := range []bool{false, true} {
		if spent[wal] > 0 {
			t.Logf("wal %v: %d events, %.0f events/s", wal, steps[wal], float64(steps[wal])/spent[wal].Seconds())
		}
	}
	t.Log("\n" + fmt.Sprint(total))
}

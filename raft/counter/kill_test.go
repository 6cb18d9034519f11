package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/reliability"
)

// TestMain lets the test's own program be the nodes that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "node" {
		main()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "spin" {
		spin()
	}
	os.Exit(m.Run())
}

// startCluster runs three nodes until the test ends.
func startCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCluster(program, t.TempDir(), 3, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
		for _, m := range c.members {
			if log, err := os.ReadFile(filepath.Join(c.dir, m.name+".log")); err == nil && t.Failed() {
				t.Logf("log of %s:\n%s", m.name, log)
			}
		}
	})
	for i := range c.members {
		if err := c.start(i); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// worker is one client under load. It never repeats an operation whose outcome it does not know.
type worker struct {
	id      uint64
	next    uint64
	acked   []uint64
	unknown []uint64
}

// load runs clients until stop is closed; each success is told to acked with the time the request began.
func load(ctx context.Context, c *cluster, workers []*worker, stop <-chan struct{}, acked func(began time.Time)) *sync.WaitGroup {
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() {
			pause := time.NewTicker(2 * time.Millisecond)
			defer pause.Stop()
			for at := int(w.id) % len(c.members); ; {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				if w.try(ctx, c, at) {
					acked(began)
					continue
				}
				at = (at + 1) % len(c.members)
				<-pause.C
			}
		})
	}
	return &wg
}

// try does one operation on one node and reports whether it was acknowledged.
func (w *worker) try(ctx context.Context, c *cluster, node int) bool {
	a, err := c.call(ctx, node, http.MethodPost, fmt.Sprintf("/add?client=%d&seq=%d", w.id, w.next))
	switch {
	case err == nil:
		w.acked = append(w.acked, w.next)
	case a.Error != "" && !a.Unknown, errors.Is(err, syscall.ECONNREFUSED):
		return false // it was certainly not taken: the same operation may be tried elsewhere
	default:
		w.unknown = append(w.unknown, w.next)
	}
	w.next++
	return err == nil
}

// firstAck waits for an operation that began after a moment.
type firstAck struct {
	mu    sync.Mutex // guards the fields below
	since time.Time
	got   chan time.Duration
}

func (f *firstAck) arm(since time.Time) <-chan time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since, f.got = since, make(chan time.Duration, 1)
	return f.got
}

func (f *firstAck) acked(began time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got != nil && began.After(f.since) {
		f.got <- time.Since(f.since)
		f.got = nil
	}
}

// kills returns how often to kill; LOCKD_KILLS asks for more than the few that every run does.
func kills(t *testing.T) int {
	t.Helper()
	s := os.Getenv("LOCKD_KILLS")
	if s == "" {
		return 3
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("LOCKD_KILLS=%q is not a count", s)
	}
	return n
}

// TestKillLeader kills the leading process under load, again and again. What was acknowledged must be there, nothing may
// be there twice, nothing that was never asked for, and all logs must be the same. The times are told, not judged.
func TestKillLeader(t *testing.T) {
	for _, hints := range []bool{true, false} {
		t.Run(fmt.Sprintf("hints=%v", hints), func(t *testing.T) {
			killLeader(t, startCluster(t, fmt.Sprintf("-hints=%v", hints)))
		})
	}
}

func killLeader(t *testing.T, c *cluster) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(kills(t))*10*time.Second+time.Minute)
	defer cancel()
	workers := make([]*worker, 8)
	for i := range workers {
		workers[i] = &worker{id: uint64(i)}
	}
	var first firstAck
	stop := make(chan struct{})
	wg := load(ctx, c, workers, stop, first.acked)
	var took []time.Duration
	for range kills(t) {
		leader, _, err := c.leader(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			<-first.arm(time.Now()) // a run without load would show nothing
		}
		if err := c.kill(leader); err != nil {
			t.Fatal(err)
		}
		select {
		case d := <-first.arm(time.Now()):
			took = append(took, d)
		case <-ctx.Done():
			t.Fatal("no operation succeeds after the leader was killed")
		}
		if err := c.start(leader); err != nil {
			t.Fatal(err)
		}
		catchUp(ctx, t, c, leader)
	}
	close(stop)
	wg.Wait()
	operations := verify(ctx, t, c, workers)
	slices.Sort(took)
	n := len(took)
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "kill", Layer: "process", Runs: int64(n), Operations: int64(operations), Command: fmt.Sprintf("make kill KILLS=%d", n),
	}, map[string]int64{"kill of the leader": int64(n)})...)
	t.Logf("kill -9 of the leader to the first new commit, %d times: p50 %v, p90 %v, p99 %v, max %v", n,
		took[n/2].Round(time.Millisecond), took[n*9/10].Round(time.Millisecond), took[n*99/100].Round(time.Millisecond), took[n-1].Round(time.Millisecond))
}

// catchUp waits until a node that was started again follows the leader's log.
func catchUp(ctx context.Context, t *testing.T, c *cluster, node int) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		_, leader, err := c.leader(ctx)
		if a, e := c.call(ctx, node, http.MethodGet, "/status"); err == nil && e == nil && a.Applied >= leader.Commit {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("node %s does not catch up", c.members[node].name)
		}
	}
}

// verify requires that what was acknowledged is there once, on all nodes, and returns how much that is.
func verify(ctx context.Context, t *testing.T, c *cluster, workers []*worker) int {
	t.Helper()
	answers, err := c.settled(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a.Digest != answers[0].Digest || a.Twice != 0 {
			t.Errorf("node %s: digest %s, the first node's is %s; %d operations twice", c.members[i].name, a.Digest, answers[0].Digest, a.Twice)
		}
	}
	var acked, unknown, found int
	for _, w := range workers {
		a, err := c.call(ctx, int(w.id)%len(c.members), http.MethodGet, fmt.Sprintf("/ops?client=%d", w.id))
		if err != nil {
			t.Fatal(err)
		}
		ops := spans(a.Ops)
		for _, seq := range w.acked {
			if !ops.has(seq) {
				t.Errorf("client %d: operation %d was acknowledged and is lost", w.id, seq)
			}
		}
		for _, r := range ops {
			found += int(r[1] - r[0])
			if r[1] > w.next {
				t.Errorf("client %d: operations %d to %d are there, %d was never asked for", w.id, r[0], r[1]-1, w.next)
			}
		}
		acked, unknown = acked+len(w.acked), unknown+len(w.unknown)
	}
	if found < acked || found > acked+unknown || uint64(found) != answers[0].Value {
		t.Errorf("%d operations found, the counter is at %d, %d acknowledged and %d unknown", found, answers[0].Value, acked, unknown)
	}
	t.Logf("%d operations acknowledged, %d with unknown outcome of which %d took effect", acked, unknown, found-acked)
	return acked
}

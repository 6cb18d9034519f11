package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/reliability"
)

// spin keeps one core busy until it is killed or its parent is gone.
func spin() {
	parent := os.Getppid()
	for work := [][]byte{}; os.Getppid() == parent; {
		work = append(work, make([]byte, 4096))
		if len(work) == 1024 {
			work = work[:0]
		}
	}
	os.Exit(0)
}

// overloadTime returns how long to go on; LOCKD_OVERLOAD asks for more than the seconds that every run takes.
func overloadTime(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("LOCKD_OVERLOAD")
	if s == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("LOCKD_OVERLOAD: %v", err)
	}
	return d
}

// TestOverload runs a cluster under load while four busy processes for each core take the processor away, and stops a
// node for 200 ms every two seconds. Nothing may be lost, and the hints must be worth their name: the changes of the
// leader are told, with what preceded each.
func TestOverload(t *testing.T) {
	const pause, between = 200 * time.Millisecond, 2 * time.Second
	long := overloadTime(t)
	c := startCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), long+2*time.Minute)
	defer cancel()
	if _, _, err := c.leader(ctx); err != nil {
		t.Fatal(err)
	}
	startSpinners(t, 4*runtime.NumCPU())
	workers := []*worker{{id: 0}, {id: 1}, {id: 2}, {id: 3}}
	stop := make(chan struct{})
	wg := load(ctx, c, workers, stop, func(time.Time) {})
	_, before, err := c.leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	term, pauses, changes := before.Term, 0, 0
	every := time.NewTicker(between)
	defer every.Stop()
	end := time.After(long)
	for running := true; running; {
		select {
		case <-end:
			running = false
		case <-every.C:
			node := rand.IntN(len(c.members))
			leader, _, _ := c.leader(ctx)
			stopFor(t, c.running[node].Process, pause)
			pauses++
			_, now, err := c.leader(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if now.Term != term {
				changes++
				t.Logf("term %d follows %d; the last pause was of %s, the leader was %s", now.Term, term, c.members[node].name, c.members[leader].name)
				term = now.Term
			}
		}
	}
	close(stop)
	wg.Wait()
	acked := verify(ctx, t, c, workers)
	if acked == 0 || pauses == 0 {
		t.Fatalf("%d operations and %d pauses show nothing", acked, pauses)
	}
	t.Logf("%v with %d busy processes and %d pauses of %v: %d operations, %d changes of the leader", long, 4*runtime.NumCPU(), pauses, pause, acked, changes)
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "overload", Layer: "process", Runs: 1, Operations: int64(acked), Command: fmt.Sprintf("make overload TIME=%v", long),
	}, map[string]int64{"stop of a node": int64(pauses), "overload": int64(4 * runtime.NumCPU()), "leader change": int64(changes)})...)
}

// startSpinners runs busy processes until the test ends.
func startSpinners(t *testing.T, n int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		cmd := exec.Command(program, "spin")
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // Wait tells whether it has ended
			_ = cmd.Wait()         // "signal: killed"
		})
	}
}

// stopFor holds a process as a stopped virtual machine would be held.
func stopFor(t *testing.T, p *os.Process, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-timer.C
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

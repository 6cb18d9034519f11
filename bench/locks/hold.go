package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// heldName is 16 bytes long.
func heldName(i int) string { return fmt.Sprintf("held/%011d", i) }

// hold takes many locks, measures by how much the servers have grown, and holds the locks until it is stopped.
func hold(ctx context.Context, o order, ready func(findings) error, stop <-chan struct{}) (f findings, err error) {
	const atOnce = 512
	sessions, err := connectAll(ctx, o, false)
	if err != nil {
		return f, err
	}
	before, err := resident(ctx, o)
	if err != nil {
		return f, err
	}
	err = inParallel(ctx, atOnce, o.Locks, func(ctx context.Context, i int) error {
		_, err := sessions[i%len(sessions)].lock(ctx, heldName(i), nil)
		return err
	})
	if err != nil {
		return f, fmt.Errorf("take %d locks: %w", o.Locks, err)
	}
	after, err := resident(ctx, o)
	if err != nil {
		return f, err
	}
	if err := o.Profile.heaps(ctx, o.Pprof); err != nil {
		return f, err
	}
	f.Held = o.Locks
	for i := range after {
		f.Growth = append(f.Growth, after[i]-before[i])
	}
	if err := ready(f); err != nil {
		return f, err
	}
	<-stop
	return f, nil
}

// resident returns the memory of each server after a forced collection of garbage, and a while for the runtime to give
// back what it does not need.
func resident(ctx context.Context, o order) (bytes []int64, err error) {
	for _, address := range o.Pprof {
		if err := get(ctx, "http://"+address+"/debug/pprof/heap?gc=1", ""); err != nil {
			return nil, fmt.Errorf("collect garbage: %w", err)
		}
	}
	if err := rig.Sleep(ctx, o.Warmup); err != nil {
		return nil, err
	}
	for _, pid := range o.Servers {
		n, err := rig.Resident(pid)
		if err != nil {
			return nil, err
		}
		bytes = append(bytes, n)
	}
	return bytes, nil
}

// probe asks for a lock with ever new clients until one gets it: what somebody sees who waits for the service. Then it
// counts how many of a sample of held locks are held.
func probe(ctx context.Context, o order, ready func(findings) error, _ <-chan struct{}) (f findings, err error) {
	const pause, sample = 10 * time.Millisecond, 100
	if err := ready(f); err != nil {
		return f, err
	}
	s, err := systemByName(o.System)
	if err != nil {
		return f, err
	}
	var c session
	for t := (try{Began: time.Now()}); len(f.Tries) == 0; {
		if c, err = probeOnce(ctx, s, o); err != nil {
			t.Error = err.Error()
			if err := rig.Sleep(ctx, pause); err != nil {
				return f, fmt.Errorf("%w; last: %s", err, t.Error)
			}
			continue
		}
		t.Granted = time.Now()
		f.Tries = append(f.Tries, t)
	}
	for i := range min(sample, o.Locks) {
		free, err := c.free(ctx, heldName(i*o.Locks/sample))
		if err != nil {
			return f, fmt.Errorf("look at a held lock: %w", err)
		}
		if free {
			return f, fmt.Errorf("%s was held, and is free", heldName(i*o.Locks/sample))
		}
		f.Held++
	}
	return f, c.close(ctx)
}

// probeOnce makes a client that gets a lock within a moment.
func probeOnce(ctx context.Context, s system, o order) (session, error) {
	const patience = time.Second
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := s.connect(limited, o.Endpoints, o.TTL)
	if err != nil {
		return nil, err
	}
	unlock, err := c.lock(limited, "probe", nil)
	if err == nil {
		err = unlock(limited)
	}
	if err != nil {
		_ = c.close(limited) // it is of no use, whatever becomes of it
		return nil, err
	}
	return c, nil
}

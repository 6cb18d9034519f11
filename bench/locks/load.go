package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// connectAll opens the sessions of an order, each with the nodes in an order of its own. Pinned ones know one node only.
func connectAll(ctx context.Context, o order, pinned bool) ([]session, error) {
	const atOnce = 32
	s, err := systemByName(o.System)
	if err != nil {
		return nil, err
	}
	sessions := make([]session, o.Clients)
	err = inParallel(ctx, atOnce, len(sessions), func(ctx context.Context, i int) (err error) {
		first := i % len(o.Endpoints)
		endpoints := slices.Concat(o.Endpoints[first:], o.Endpoints[:first])
		if pinned {
			endpoints = endpoints[:1]
		}
		sessions[i], err = s.connect(ctx, endpoints, o.TTL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return sessions, nil
}

// inParallel calls f for the numbers below n, so many at once; the first error ends it.
func inParallel(ctx context.Context, atOnce, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(atOnce, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := f(ctx, i); err != nil {
					cancel(fmt.Errorf("number %d: %w", i, err))
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// closeAll ends the sessions: those of a killed cluster must not take for ever.
func closeAll(ctx context.Context, sessions []session) error {
	const atOnce, patience = 64, 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return inParallel(ctx, atOnce, len(sessions), func(ctx context.Context, i int) error { return sessions[i].close(ctx) })
}

// pairs measures how fast clients acquire and release locks of their own.
func pairs(ctx context.Context, o order, ready func(findings) error, _ <-chan struct{}) (findings, error) {
	return closedLoop(ctx, o, ready, func(i int) string { return fmt.Sprintf("pairs/%010d", i) }, func() error { return nil })
}

// queue measures how fast one lock passes from client to client, and that it is held by one only.
func queue(ctx context.Context, o order, ready func(findings) error, _ <-chan struct{}) (findings, error) {
	var holders atomic.Int32
	return closedLoop(ctx, o, ready, func(int) string { return "queue/one" }, func() error {
		defer holders.Add(-1)
		if n := holders.Add(1); n != 1 {
			return fmt.Errorf("%d clients hold the lock", n)
		}
		return nil
	})
}

// loop is a closed loop of clients.
type loop struct {
	sessions []session
	value    []byte
	name     func(client int) string
	holding  func() error // called while a lock is held

	begin    time.Time
	from, to time.Duration // the window, since begin
	took     [][]time.Duration
}

func closedLoop(
	ctx context.Context, o order, ready func(findings) error, name func(int) string, holding func() error,
) (f findings, err error) {
	sessions, err := connectAll(ctx, o, false)
	if err != nil {
		return f, err
	}
	l := &loop{
		sessions: sessions, value: make([]byte, o.Value), name: name, holding: holding, from: o.Warmup, to: o.Warmup + o.Window,
		took: make([][]time.Duration, len(sessions)),
	}
	if err := ready(f); err != nil {
		return f, err
	}
	if f, err = l.run(ctx, o); err != nil {
		return f, err
	}
	return f, closeAll(ctx, sessions)
}

// run has all clients take and release locks until the window is over.
func (l *loop) run(ctx context.Context, o order) (f findings, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	l.begin = time.Now()
	for i := range l.sessions {
		wg.Go(func() {
			if err := l.client(ctx, i); err != nil {
				cancel(fmt.Errorf("client %d: %w", i, err))
			}
		})
	}
	f, err = watch(ctx, o, l.begin.Add(l.from), l.begin.Add(l.to))
	wg.Wait()
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return f, err
	}
	var all []time.Duration
	for _, took := range l.took {
		f.Grants = append(f.Grants, uint64(len(took)))
		all = append(all, took...)
	}
	if len(all) == 0 {
		return f, errors.New("no pair ended in the window")
	}
	slices.Sort(all)
	f.P50, f.P99 = all[len(all)/2], all[len(all)*99/100]
	return f, nil
}

func (l *loop) client(ctx context.Context, i int) error {
	name := l.name(i)
	for {
		began := time.Since(l.begin)
		unlock, err := l.sessions[i].lock(ctx, name, l.value)
		if err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		err = l.holding()
		if e := unlock(ctx); e != nil {
			err = errors.Join(err, fmt.Errorf("unlock: %w", e))
		}
		if err != nil {
			return err
		}
		ended := time.Since(l.begin)
		if ended >= l.to {
			return nil
		}
		if ended >= l.from {
			l.took[i] = append(l.took[i], ended-began)
		}
	}
}

// watch takes what the servers, and all others on the machine, have used at both ends of the window, and profiles of it.
func watch(ctx context.Context, o order, from, to time.Time) (f findings, err error) {
	if err := rig.Sleep(ctx, time.Until(from)); err != nil {
		return f, nil // the cause is with the context
	}
	wait := o.Profile.record(ctx, o.Pprof, o.Window)
	defer func() { err = errors.Join(err, wait()) }()
	before, err := useOf(o.Servers)
	if err != nil {
		return f, err
	}
	began := time.Now()
	if err := rig.Sleep(ctx, time.Until(to)); err != nil {
		return f, nil
	}
	f.Window = time.Since(began)
	after, err := useOf(o.Servers)
	f.CPU, f.Own, f.Others = after.servers-before.servers, after.clients-before.clients, max(0, after.others-before.others)
	return f, err
}

// use is CPU time.
type use struct{ servers, clients, others time.Duration }

// useOf returns what the servers have used so far, and what everything has used but them and this process.
func useOf(servers []int) (u use, err error) {
	if u.servers, err = rig.ProcessTime(servers...); err != nil {
		return u, err
	}
	if u.clients, err = rig.ProcessTime(os.Getpid()); err != nil {
		return u, err
	}
	all, err := rig.MachineTime()
	u.others = all - u.clients - u.servers
	return u, err
}

// idle measures what the servers do for sessions that only live, and how many of these do. They end with their process.
func idle(ctx context.Context, o order, ready func(findings) error, _ <-chan struct{}) (f findings, err error) {
	sessions, err := connectAll(ctx, o, true)
	if err != nil {
		return f, err
	}
	if err := ready(f); err != nil {
		return f, err
	}
	from := time.Now().Add(o.Warmup)
	f, err = watch(ctx, o, from, from.Add(o.Window))
	for _, s := range sessions {
		if !s.alive() {
			f.Lost++
		}
	}
	return f, errors.Join(err, context.Cause(ctx))
}

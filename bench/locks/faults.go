package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

func keptName(i int) string { return fmt.Sprintf("kept/%d", i) }

// keep has each client hold a lock until the process is killed.
func keep(ctx context.Context, o order, ready func(findings) error, stop <-chan struct{}) (f findings, err error) {
	sessions, err := connectAll(ctx, o, false)
	if err != nil {
		return f, err
	}
	for i, s := range sessions {
		if _, err := s.lock(ctx, keptName(i), nil); err != nil {
			return f, fmt.Errorf("lock: %w", err)
		}
	}
	f.Held = len(sessions)
	if err := ready(f); err != nil {
		return f, err
	}
	<-stop
	return f, nil
}

// await has each client wait for a lock that is kept, and tells when it came.
func await(ctx context.Context, o order, ready func(findings) error, _ <-chan struct{}) (f findings, err error) {
	const queued = 500 * time.Millisecond // ample for the waits to begin
	sessions, err := connectAll(ctx, o, false)
	if err != nil {
		return f, err
	}
	f.Tries = make([]try, len(sessions))
	waited := make(chan error, 1)
	go func() {
		waited <- inParallel(ctx, len(sessions), len(sessions), func(ctx context.Context, i int) error {
			t := &f.Tries[i]
			t.Began = time.Now()
			_, err := sessions[i].lock(ctx, keptName(i), nil)
			t.Granted = time.Now()
			return err
		})
	}()
	if err := rig.Sleep(ctx, queued); err != nil {
		return f, err
	}
	if err := ready(findings{}); err != nil {
		return f, err
	}
	if err := <-waited; err != nil {
		return f, err
	}
	return f, closeAll(ctx, sessions)
}

// ask has the clients in turn ask for a new lock at a steady pace, whether or not earlier tries have ended, until it is
// stopped. A try is lost when it or the release fails, or when it has not ended after a while.
func ask(ctx context.Context, o order, ready func(findings) error, stop <-chan struct{}) (f findings, err error) {
	const pace, patience = 10 * time.Millisecond, 10 * time.Second
	sessions, err := connectAll(ctx, o, false)
	if err != nil {
		return f, err
	}
	if err := ready(f); err != nil {
		return f, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards f.Tries
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			wg.Wait()
			return f, nil
		case <-ctx.Done():
			return f, context.Cause(ctx)
		case <-ticker.C:
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("no answer in time"))
			defer cancel()
			t := askOnce(ctx, sessions[i%len(sessions)], fmt.Sprintf("ask/%d", i))
			mu.Lock()
			defer mu.Unlock()
			f.Tries = append(f.Tries, t)
		})
	}
}

func askOnce(ctx context.Context, s session, name string) (t try) {
	t.Began = time.Now()
	unlock, err := s.lock(ctx, name, nil)
	if err != nil {
		t.Error = "lock: " + err.Error()
		return t
	}
	t.Granted = time.Now()
	if err := unlock(ctx); err != nil {
		t.Error = "unlock: " + err.Error()
	}
	return t
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

const (
	askers = 4                      // sessions that keep asking
	pace   = 5 * time.Millisecond   // between two tries of one of them
	warmup = 100 * time.Millisecond // of load before the loss, at least
	jitter = 60 * time.Millisecond  // and up to so much more, so that the loss meets every moment between two heartbeats
)

// result is one round of one system.
type result struct {
	First  time.Duration   // to the first grant of a try that began after the loss; 0: there was none
	Each   []time.Duration // to that of each session; those that had none are left out
	Waiter time.Duration   // to the grant of a lock that was waited for; 0: there was none
	Ended  int             // sessions that ended though nobody closed them
	Back   time.Duration   // from the mending until all nodes had caught up
}

// round loses the leader once: run, then finish, whatever run returned.
type round struct {
	c      *cluster
	f      fault
	b      *book
	prefix string // of the names of locks, of this round alone

	sessions            []session // the askers, then a holder and a waiter
	load, probes, queue sync.WaitGroup
	struck, enough      chan struct{} // closed when the leader is lost, and when no more tries are to begin
	strike, stop        func()        // close them
	at                  time.Time     // of the loss
	granted             []time.Time   // of each asker, the first grant of a try after that; to be read when probes are done
	waited              time.Time     // when the waiter was granted its lock; to be read when queue is done
	back                time.Duration
}

func newRound(c *cluster, f fault, b *book, prefix string) *round {
	r := &round{c: c, f: f, b: b, prefix: prefix, granted: make([]time.Time, askers), struck: make(chan struct{}), enough: make(chan struct{})}
	r.strike, r.stop = sync.OnceFunc(func() { close(r.struck) }), sync.OnceFunc(func() { close(r.enough) })
	return r
}

// run loses the leader and mends what it has done. It returns when all nodes have caught up.
func (r *round) run(ctx context.Context) error {
	leader, before, err := r.c.settled(ctx)
	if err != nil {
		return err
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	if err := r.lose(ctx, leader); err != nil {
		return err
	}
	mended := time.Now()
	if err := r.f.mend(ctx, r.c, leader); err != nil {
		return fmt.Errorf("mend: %w", err)
	}
	r.stop()
	_, after, err := r.c.settled(ctx)
	if err == nil && after <= before {
		err = fmt.Errorf("the loss of the leader of term %d was not noticed", before)
	}
	r.back = time.Since(mended)
	return err
}

// finish returns what the round has found when every try has ended.
func (r *round) finish(ctx context.Context) (result, error) {
	r.stop()
	r.strike()
	r.probes.Wait()
	r.queue.Wait()
	r.load.Wait()
	res := r.note()
	return res, r.leave(ctx)
}

// enter opens the sessions.
func (r *round) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for range askers + 2 {
		s, err := r.c.system.connect(ctx, r.c.dial(), r.c.endpoints())
		if err != nil {
			return fmt.Errorf("open a session: %w", err)
		}
		r.sessions = append(r.sessions, s)
	}
	return nil
}

// leave looks what is left of the round, and closes the sessions.
func (r *round) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var errs []error
	if len(r.sessions) > 0 {
		names, err := r.sessions[0].held(ctx, r.prefix)
		r.b.left(names)
		errs = append(errs, err)
	}
	for _, s := range r.sessions {
		if err := s.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close a session: %w", err))
		}
	}
	return errors.Join(errs...)
}

// lose puts the sessions to work and loses the leader. It returns when they have been served again, or should have been.
func (r *round) lose(ctx context.Context, leader *node) error {
	for i, s := range r.sessions[:askers] {
		r.load.Go(func() { r.ask(ctx, s, fmt.Sprintf("%s%d", r.prefix, i)) })
		r.probes.Go(func() { r.granted[i] = r.probe(ctx, s, fmt.Sprintf("%sprobe-%d-", r.prefix, i)) })
	}
	if err := r.wait(ctx, r.sessions[askers], r.sessions[askers+1]); err != nil {
		return err
	}
	if err := rig.Sleep(ctx, warmup+rand.N(jitter)); err != nil {
		return err
	}
	r.at = time.Now()
	if err := r.f.strike(r.c, leader); err != nil {
		return fmt.Errorf("strike: %w", err)
	}
	r.strike()
	r.probes.Wait()
	r.await()
	return context.Cause(ctx)
}

// await waits for the queue, though not for long: where its release was lost it stands until its time-out.
func (r *round) await() {
	const most = 1200 * time.Millisecond
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.queue.Wait()
	}()
	select {
	case <-done:
	case <-time.After(most):
	}
}

// probe has a session begin tries for locks that nobody has, one after the other at a steady pace, whether or not earlier ones have
// ended, from the loss of the leader until one of them is granted. It returns when that was, the zero time if the time-out of the first
// has passed before.
func (r *round) probe(ctx context.Context, s session, prefix string) time.Time {
	const every = 20 * time.Millisecond
	<-r.struck
	granted := make(chan time.Time, 1)
	ticker, end := time.NewTicker(every), time.After(patience)
	defer ticker.Stop()
	for i := 0; ; i++ {
		r.load.Go(func() {
			if at := r.b.turn(ctx, s.try, fmt.Sprint(prefix, i), nil); !at.IsZero() {
				select {
				case granted <- at:
				default:
				}
			}
		})
		select {
		case at := <-granted:
			return at
		case <-ticker.C:
		case <-end:
			return time.Time{}
		case <-r.enough:
			return time.Time{}
		case <-ctx.Done():
			return time.Time{}
		}
	}
}

// ask has a session take a lock and release it, again and again, until it is enough.
func (r *round) ask(ctx context.Context, s session, name string) {
	for {
		r.b.turn(ctx, s.try, name, nil)
		select {
		case <-r.enough:
			return
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

// wait has one session hold a lock until the leader is lost, and another one wait for it.
func (r *round) wait(ctx context.Context, holder, waiter session) error {
	name := r.prefix + "queue"
	held, failed := make(chan struct{}), make(chan struct{})
	r.queue.Go(func() {
		take := func(ctx context.Context, name string) (grant, error) {
			g, err := holder.lock(ctx, name)
			if err == nil {
				close(held)
			}
			return g, err
		}
		if r.b.turn(ctx, take, name, r.struck).IsZero() {
			close(failed)
		}
	})
	select {
	case <-held:
	case <-failed:
		return errors.New("the lock that is to be waited for was not granted")
	}
	r.queue.Go(func() { r.waited = r.b.turn(ctx, waiter.lock, name, nil) })
	return nil
}

// note works out what was measured.
func (r *round) note() (res result) {
	res.Back = r.back
	for _, at := range r.granted {
		if at.IsZero() {
			continue
		}
		took := at.Sub(r.at)
		res.Each = append(res.Each, took)
		if res.First == 0 || took < res.First {
			res.First = took
		}
	}
	if !r.waited.IsZero() {
		res.Waiter = r.waited.Sub(r.at)
	}
	for _, s := range r.sessions {
		if !s.alive() {
			res.Ended++
		}
	}
	return res
}

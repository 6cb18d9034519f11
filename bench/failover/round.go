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

// round loses the leader once.
type round struct {
	c      *cluster
	f      fault
	b      *book
	prefix string // of the names of locks, of this round alone
	term   uint64 // of the leader that is lost

	sessions []session // the askers, then a holder and a waiter
	at       time.Time // of the loss
}

// run makes the round.
func (r *round) run(ctx context.Context) (res result, err error) {
	leader, term, err := r.c.settled(ctx)
	if err != nil {
		return res, err
	}
	r.term = term
	defer func() { err = errors.Join(err, r.leave(ctx)) }()
	if err := r.enter(ctx); err != nil {
		return res, err
	}
	return r.lose(ctx, leader)
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

// lose puts the sessions to work, loses the leader, measures and mends. It returns when every try has ended.
func (r *round) lose(ctx context.Context, leader *node) (res result, err error) {
	struck, enough := make(chan struct{}), make(chan struct{}) // closed when it has happened, and when no more tries are to begin
	var load, probes, queue sync.WaitGroup
	strike, stop := sync.OnceFunc(func() { close(struck) }), sync.OnceFunc(func() { close(enough) })
	defer func() {
		stop()
		strike()
		probes.Wait()
		queue.Wait()
		load.Wait()
	}()
	each := make([]time.Time, askers)
	for i, s := range r.sessions[:askers] {
		load.Go(func() { r.ask(ctx, s, fmt.Sprintf("%s%d", r.prefix, i), enough) })
		probes.Go(func() { each[i] = r.probe(ctx, s, fmt.Sprintf("%sprobe-%d-", r.prefix, i), struck, enough, &load) })
	}
	waited, err := r.wait(ctx, &queue, struck)
	if err != nil {
		return res, err
	}
	if err := rig.Sleep(ctx, warmup+rand.N(jitter)); err != nil {
		return res, err
	}
	r.at = time.Now()
	if err := r.f.strike(r.c, leader); err != nil {
		return res, fmt.Errorf("strike: %w", err)
	}
	strike()
	probes.Wait()
	r.await(&queue)
	mended := time.Now()
	if err := r.f.mend(ctx, r.c, leader); err != nil {
		return res, fmt.Errorf("mend: %w", err)
	}
	stop()
	_, term, err := r.c.settled(ctx)
	if err == nil && term <= r.term {
		err = fmt.Errorf("the loss of the leader of term %d was not noticed", r.term)
	}
	res.Back = time.Since(mended)
	queue.Wait()
	load.Wait()
	r.note(&res, each, *waited)
	return res, errors.Join(err, context.Cause(ctx))
}

// await waits for the queue, though not for long: where its release was lost it stands until its time-out.
func (r *round) await(queue *sync.WaitGroup) {
	const most = 1500 * time.Millisecond
	done := make(chan struct{})
	go func() {
		defer close(done)
		queue.Wait()
	}()
	select {
	case <-done:
	case <-time.After(most):
	}
}

// probe has a session begin tries for locks that nobody has, one after the other at a steady pace, whether or not earlier ones have
// ended, from the loss of the leader until one of them is granted. It returns when that was, the zero time if the time-out of the first
// has passed before.
func (r *round) probe(ctx context.Context, s session, prefix string, struck, enough <-chan struct{}, load *sync.WaitGroup) time.Time {
	const every = 20 * time.Millisecond
	<-struck
	granted := make(chan time.Time, 1)
	ticker, end := time.NewTicker(every), time.After(patience)
	defer ticker.Stop()
	for i := 0; ; i++ {
		load.Go(func() {
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
		case <-enough:
			return time.Time{}
		case <-ctx.Done():
			return time.Time{}
		}
	}
}

// ask has a session take a lock and release it, again and again, until it is enough.
func (r *round) ask(ctx context.Context, s session, name string, enough <-chan struct{}) {
	for {
		r.b.turn(ctx, s.try, name, nil)
		select {
		case <-enough:
			return
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

// wait has one session hold a lock until the leader is lost, and another one wait for it. It returns where the moment of its grant will
// be once queue is done.
func (r *round) wait(ctx context.Context, queue *sync.WaitGroup, struck <-chan struct{}) (*time.Time, error) {
	name := r.prefix + "queue"
	holder, waiter := r.sessions[askers], r.sessions[askers+1]
	held, failed := make(chan struct{}), make(chan struct{})
	queue.Go(func() {
		take := func(ctx context.Context, name string) (grant, error) {
			g, err := holder.lock(ctx, name)
			if err == nil {
				close(held)
			}
			return g, err
		}
		if r.b.turn(ctx, take, name, struck).IsZero() {
			close(failed)
		}
	})
	select {
	case <-held:
	case <-failed:
		return nil, errors.New("the lock that is to be waited for was not granted")
	}
	var at time.Time
	queue.Go(func() { at = r.b.turn(ctx, waiter.lock, name, nil) })
	return &at, nil
}

// note works out what was measured.
func (r *round) note(res *result, each []time.Time, waited time.Time) {
	for _, at := range each {
		if at.IsZero() {
			continue
		}
		took := at.Sub(r.at)
		res.Each = append(res.Each, took)
		if res.First == 0 || took < res.First {
			res.First = took
		}
	}
	if !waited.IsZero() {
		res.Waiter = waited.Sub(r.at)
	}
	for _, s := range r.sessions {
		if !s.alive() {
			res.Ended++
		}
	}
}

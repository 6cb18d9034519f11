package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	client "github.com/lockd/lockd/client/go"
)

// order says what a process of clients does.
type order struct {
	Name      string // of the process, in the names of its locks
	Endpoints []string
	TTL       time.Duration
	Every     time.Duration // between two reports
	Rate      float64       // pairs a second, of all clients together
	Clients   int           // that make pairs, each with connections of its own
	Queue     int           // that stand in one queue
	Leases    int
	Idle      int // sessions that only live
}

// tick is what happened since the last one.
type tick struct {
	Pairs  histogram // by their latency
	Queue  int64     // turns of those in the queue
	Leases int64     // renewals
	Errors []string
	Lost   int // sessions, in all
}

// load is the work of a process of clients.
type load struct {
	order
	idle map[*client.Session]client.SessionID // sessions that only live, each in its first life

	mu  sync.Mutex // guards the field below
	now tick
}

// serve does what an order on in asks for, and reports on out, until in ends.
func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	l := &load{idle: map[*client.Session]client.SessionID{}, now: tick{Pairs: histogram{}}}
	from := json.NewDecoder(in)
	if err := from.Decode(&l.order); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is what counts
		cancel()
	}()
	if err := l.open(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := time.Now()
	for i := range l.Clients {
		wg.Go(func() { l.client(ctx, fmt.Sprint("pair/", l.Name, i), l.pairs(i, begin)) })
	}
	for i := range l.Queue {
		wg.Go(func() { l.client(ctx, fmt.Sprint("queue/", l.Name, i), l.queue) })
	}
	for i := range l.Leases {
		wg.Go(func() { l.client(ctx, fmt.Sprint("lease/", l.Name, i), l.lease(i)) })
	}
	report := time.NewTicker(l.Every)
	defer report.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-report.C:
			if err := json.NewEncoder(out).Encode(l.take()); err != nil {
				return err
			}
		}
	}
}

// open opens the sessions that only live, over a few clients.
func (l *load) open(ctx context.Context) error {
	const each = 100
	var c *client.Client
	for i := range l.Idle {
		if i%each == 0 {
			var err error
			if c, err = l.connect(fmt.Sprint("idle/", l.Name, i/each)); err != nil {
				return err
			}
		}
		s, err := c.NewSession(ctx, client.SessionConfig{})
		if err != nil {
			return fmt.Errorf("open session %d: %w", i, err)
		}
		l.idle[s] = s.ID()
	}
	return nil
}

func (l *load) connect(identity string) (*client.Client, error) {
	return client.New(client.Config{Endpoints: l.Endpoints, TTL: l.TTL, Identity: identity})
}

// client runs a client until ctx ends. What goes wrong is noted, and the client begins anew.
func (l *load) client(ctx context.Context, identity string, work func(ctx context.Context, c *client.Client) error) {
	const rest = time.Second
	c, err := l.connect(identity)
	if err != nil {
		l.fail(err)
		return
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = c.Close(end) // the run is over
	}()
	for ctx.Err() == nil {
		if err := work(ctx, c); err != nil && ctx.Err() == nil {
			l.fail(fmt.Errorf("%s: %w", identity, err))
			wait(ctx, time.Now().Add(rest))
		}
	}
}

// pairs acquires and releases a lock of its own whenever that is due.
func (l *load) pairs(i int, begin time.Time) func(ctx context.Context, c *client.Client) error {
	every := time.Duration(float64(l.Clients) / l.Rate * float64(time.Second))
	due := begin.Add(every * time.Duration(i) / time.Duration(l.Clients))
	name := fmt.Sprintf("pairs/%s/%d", l.Name, i)
	return func(ctx context.Context, c *client.Client) error {
		due = due.Add(every)
		if !wait(ctx, due) {
			return nil
		}
		lock, err := c.Lock(ctx, name)
		if err == nil {
			err = lock.Unlock(ctx)
		}
		if err == nil {
			took := time.Since(due)
			l.note(func(t *tick) { t.Pairs.add(took) })
		}
		return err
	}
}

// queue waits for a lock that many want, and holds it for a moment.
func (l *load) queue(ctx context.Context, c *client.Client) error {
	const hold, between = 20 * time.Millisecond, 500 * time.Millisecond
	lock, err := c.Lock(ctx, "queue")
	if err != nil {
		return err
	}
	wait(ctx, time.Now().Add(hold))
	if err := lock.Unlock(ctx); err != nil {
		return err
	}
	l.note(func(t *tick) { t.Queue++ })
	wait(ctx, time.Now().Add(between))
	return nil
}

// lease takes a lease, renews it for a while and releases it.
func (l *load) lease(i int) func(ctx context.Context, c *client.Client) error {
	const renewals, every = 20, 2 * time.Second
	name := fmt.Sprintf("lease/%s/%d", l.Name, i)
	return func(ctx context.Context, c *client.Client) error {
		lease, err := c.AcquireLease(ctx, name, l.TTL)
		if err != nil {
			return err
		}
		for range renewals {
			if !wait(ctx, time.Now().Add(every)) {
				return nil
			}
			if err := lease.Renew(ctx, l.TTL); err != nil {
				return err
			}
			l.note(func(t *tick) { t.Leases++ })
		}
		return lease.Release(ctx)
	}
}

// wait waits until a moment, and reports false if ctx ends before.
func wait(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *load) note(f func(*tick)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.now)
}

func (l *load) fail(err error) {
	const most = 20 // of one report: the first ones say it
	l.note(func(t *tick) {
		if len(t.Errors) < most {
			t.Errors = append(t.Errors, err.Error())
		}
	})
}

// take returns what happened since the last call.
func (l *load) take() tick {
	lost := 0
	for s, id := range l.idle {
		if s.ID() != id {
			lost++
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.now
	t.Lost = lost
	l.now = tick{Pairs: histogram{}}
	return t
}

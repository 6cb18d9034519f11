package endurance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
)

const (
	regulars = 4               // clients that stay
	pause    = 3 * time.Second // between the operations of one of them, on average
	patience = 30 * time.Second
)

// crowd is the load: clients that stay, clients that come and go, clients that die, and strangers who do not speak the protocol.
type crowd struct {
	t          *testing.T
	c          *testcluster.Cluster
	clients    []*client.Client // the regulars
	dice       []*rand.Rand
	operations atomic.Int64

	halt chan struct{}
	wg   sync.WaitGroup
}

func newCrowd(t *testing.T, c *testcluster.Cluster, seed uint64) *crowd {
	t.Helper()
	k := &crowd{t: t, c: c}
	for i := range regulars {
		k.clients = append(k.clients, k.client(fmt.Sprint("regular", i), 15*time.Second))
		k.dice = append(k.dice, rand.New(rand.NewPCG(seed, uint64(i+2))))
	}
	k.dice = append(k.dice, rand.New(rand.NewPCG(seed, 100)), rand.New(rand.NewPCG(seed, 101)))
	return k
}

func (k *crowd) client(host string, ttl time.Duration) *client.Client {
	k.t.Helper()
	c, err := client.New(client.Config{Endpoints: k.c.Endpoints(), TTL: ttl, Identity: host, Dial: k.c.Net.Host(host).Dial})
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// start lets them work until stop.
func (k *crowd) start() {
	k.halt = make(chan struct{})
	for i, c := range k.clients {
		k.wg.Go(func() {
			w := worker{crowd: k, c: c, dice: k.dice[i]}
			k.each(w.dice, pause, w.step)
		})
	}
	k.wg.Go(func() { k.each(k.dice[regulars], 20*time.Second, k.mortal(k.dice[regulars])) })
	k.wg.Go(func() { k.each(k.dice[regulars+1], 20*time.Second, k.stranger(k.dice[regulars+1])) })
}

// each does something again and again, after pauses of that length on average, until stop.
func (k *crowd) each(dice *rand.Rand, mean time.Duration, do func(ctx context.Context) error) {
	for {
		timer := time.NewTimer(time.Duration(dice.Int64N(int64(2 * mean))))
		select {
		case <-k.halt:
			timer.Stop()
			return
		case <-timer.C:
		}
		ctx, cancel := context.WithTimeout(k.t.Context(), patience)
		err := do(ctx)
		cancel()
		if err != nil {
			k.t.Errorf("after %d operations: %v", k.operations.Load(), err)
			return
		}
		k.operations.Add(1)
	}
}

func (k *crowd) stop() {
	close(k.halt)
	k.wg.Wait()
}

func (k *crowd) close() {
	k.t.Helper()
	for _, c := range k.clients {
		ctx, cancel := context.WithTimeout(k.t.Context(), patience)
		if err := c.Close(ctx); err != nil {
			k.t.Errorf("close: %v", err)
		}
		cancel()
	}
}

// pass lets time pass, of which there is enough in a bubble.
func pass(d time.Duration) { <-time.NewTimer(d).C }

// mortal makes a client with a session, a hold and a wait, whose machine is cut off or loses its connections; then its process ends.
func (k *crowd) mortal(dice *rand.Rand) func(ctx context.Context) error {
	const hosts = 4
	n := 0
	return func(ctx context.Context) error {
		n++
		host := fmt.Sprint("mortal", n%hosts)
		c := k.client(host, 5*time.Second)
		l, err := c.Lock(ctx, "mortal", client.MaxWait(10*time.Second), client.LockDelay(time.Second))
		if err != nil && !errors.Is(err, client.ErrNotAcquired) {
			return fmt.Errorf("mortal: %w", err)
		}
		waiting, cancel := context.WithCancel(ctx)
		defer cancel()
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			_, _ = c.Lock(waiting, "mortal") // never gets it, or dies with it
		}()
		pass(time.Duration(dice.Int64N(int64(4 * time.Second))))
		switch dice.IntN(3) {
		case 0: // it ends as it should
			if l != nil {
				_ = l.Unlock(ctx) // its session may be lost
			}
			cancel()
			<-waited
			return c.Close(ctx)
		case 1:
			k.c.Net.Reset(host)
		default:
			for i := range 3 {
				k.c.Net.Cut(host, k.c.Name(i))
			}
		}
		cancel()
		<-waited
		over, end := context.WithCancel(ctx)
		end()
		_ = c.Close(over) // nobody hears of it
		for i := range 3 {
			k.c.Net.Heal(host, k.c.Name(i))
		}
		return nil
	}
}

// stranger connects and says nothing, or nonsense, and stays for a while.
func (k *crowd) stranger(dice *rand.Rand) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		conn, err := k.c.Net.Host("stranger").Dial(ctx, k.c.Endpoints()[dice.IntN(3)])
		if err != nil {
			return nil //nolint:nilerr // the node may be down
		}
		if dice.IntN(2) == 0 {
			_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")) // it may be refused by then
		}
		pass(time.Duration(dice.Int64N(int64(10 * time.Second))))
		return conn.Close()
	}
}

// worker is one regular client.
type worker struct {
	*crowd
	c    *client.Client
	dice *rand.Rand
}

// step does one of the things that clients do.
func (w *worker) step(ctx context.Context) error {
	hot := fmt.Sprint("hot/", w.dice.IntN(3))
	switch w.dice.IntN(14) {
	case 0:
		l, err := w.c.TryLock(ctx, hot)
		return w.held(ctx, "try", l, err)
	case 1:
		l, err := w.c.LockAll(ctx, []string{"hot/0", "hot/1", "hot/2"}[:2+w.dice.IntN(2)])
		return w.held(ctx, "lock all", l, err)
	case 2:
		l, err := w.c.Lock(ctx, hot, client.MaxWait(time.Duration(1+w.dice.Int64N(int64(time.Second)))))
		return w.held(ctx, "lock with a limit", l, err)
	case 3:
		short, cancel := context.WithTimeout(ctx, time.Duration(w.dice.Int64N(int64(300*time.Millisecond))))
		defer cancel()
		l, err := w.c.Lock(short, hot)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil // it is cancelled in the background
		}
		return w.held(ctx, "lock, impatiently", l, err)
	case 4:
		l, err := w.c.Lock(ctx, "shared", client.Shared())
		return w.held(ctx, "share", l, err)
	case 5:
		l, err := w.c.Lock(ctx, "slots", client.Slots(2), client.Value([]byte("me")))
		return w.held(ctx, "slot", l, err)
	case 6:
		return w.lease(ctx)
	case 7:
		return w.session(ctx)
	case 8:
		return w.campaign(ctx)
	case 9:
		return w.look(ctx)
	default:
		l, err := w.c.Lock(ctx, hot)
		return w.held(ctx, "lock", l, err)
	}
}

// held works under a lock for a moment, and unlocks it.
func (w *worker) held(ctx context.Context, what string, l *client.Lock, err error) error {
	if errors.Is(err, client.ErrNotAcquired) {
		return nil
	}
	if err == nil {
		pass(time.Duration(w.dice.Int64N(int64(time.Second))))
		err = l.Unlock(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// lease takes a lease, and renews it, releases it, hands it on or leaves it to its end.
func (w *worker) lease(ctx context.Context) error {
	l, err := w.c.TryLease(ctx, fmt.Sprint("lease/", w.dice.IntN(4)), time.Duration(10+w.dice.IntN(50))*time.Second)
	if errors.Is(err, client.ErrNotAcquired) {
		return nil
	}
	if err == nil && w.dice.IntN(2) == 0 {
		err = l.Renew(ctx, time.Minute)
	}
	if err == nil && w.dice.IntN(3) == 0 {
		l, err = l.HandOn(ctx, 20*time.Second)
	}
	if err == nil && w.dice.IntN(2) == 0 {
		err = l.Release(ctx)
	}
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	return nil
}

// session opens a session of its own, holds a lock in it and closes it, with the lock or without.
func (w *worker) session(ctx context.Context) error {
	s, err := w.c.NewSession(ctx, client.SessionConfig{TTL: 10 * time.Second})
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	l, err := w.c.Lock(ctx, "session/"+s.ID().String(), client.InSession(s))
	if err == nil && w.dice.IntN(2) == 0 {
		err = l.Unlock(ctx)
	}
	if err != nil {
		return fmt.Errorf("lock in a session: %w", err)
	}
	pass(time.Duration(w.dice.Int64N(int64(3 * time.Second))))
	if err := s.Close(ctx); err != nil {
		return fmt.Errorf("close a session: %w", err)
	}
	return nil
}

// campaign leads for a moment.
func (w *worker) campaign(ctx context.Context) error {
	l, err := w.c.Campaign(ctx, "election", []byte("me"))
	if err == nil {
		err = l.Proclaim(ctx, []byte("still me"))
	}
	if err == nil {
		_, err = w.c.Leader(ctx, "election")
	}
	if err == nil {
		err = l.Resign(ctx)
	}
	if err != nil {
		return fmt.Errorf("election: %w", err)
	}
	return nil
}

// look reads.
func (w *worker) look(ctx context.Context) error {
	_, err := w.c.Get(ctx, "hot/0")
	if errors.Is(err, client.ErrNotFound) {
		err = nil
	}
	for _, e := range w.c.List(ctx, "") {
		err = errors.Join(err, e)
	}
	for _, e := range w.c.Sessions(ctx) {
		err = errors.Join(err, e)
	}
	if err == nil {
		_, err = w.c.CheckToken(ctx, "hot/0", 1)
	}
	if err != nil {
		return fmt.Errorf("look: %w", err)
	}
	return nil
}

package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

// referee knows who believes to hold what.
type referee struct {
	t *testing.T

	mu     sync.Mutex // guards the fields below
	held   map[string][]*client.Lock
	newest map[string]uint64
	grants int
}

// enter notes a new hold: nobody else may believe to hold the name, and its token is above all before it.
func (r *referee) enter(l *client.Lock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants++
	for _, name := range l.Names() {
		r.held[name] = slices.DeleteFunc(r.held[name], func(other *client.Lock) bool { return other.Err() != nil })
		for _, other := range r.held[name] {
			if l.Err() == nil {
				r.t.Errorf("%s is held twice: tokens %d (until %v) and %d (until %v)", name, other.Token(), other.ValidUntil(), l.Token(), l.ValidUntil())
			}
		}
		if l.Err() == nil && l.Token() <= r.newest[name] {
			r.t.Errorf("%s: token %d after %d", name, l.Token(), r.newest[name])
		}
		r.newest[name] = max(r.newest[name], l.Token())
		r.held[name] = append(r.held[name], l)
	}
}

// play acquires and releases at random until ctx ends.
func (r *referee) play(ctx context.Context, c *client.Client, dice *rand.Rand, names []string) {
	for ctx.Err() == nil {
		limit, cancel := context.WithTimeout(ctx, time.Duration(1+dice.IntN(8000))*time.Millisecond)
		var l *client.Lock
		var err error
		switch name := names[dice.IntN(len(names))]; dice.IntN(4) {
		case 0:
			l, err = c.TryLock(limit, name)
		case 1:
			l, err = c.LockAll(limit, names)
		case 2:
			l, err = c.Lock(limit, name, client.MaxWait(time.Duration(1+dice.IntN(3000))*time.Millisecond))
		default:
			l, err = c.Lock(limit, name)
		}
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrNotAcquired) {
				r.t.Errorf("acquire: %v", err)
			}
			continue
		}
		r.enter(l)
		rest := time.NewTimer(time.Duration(dice.IntN(2000)) * time.Millisecond)
		select {
		case <-rest.C:
		case <-l.Context().Done():
		}
		rest.Stop()
		limit, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Duration(dice.IntN(5000))*time.Millisecond)
		_ = l.Unlock(limit)
		cancel()
	}
}

// havoc breaks the network and nodes at random, and counts how.
func havoc(ctx context.Context, c *testcluster.Cluster, dice *rand.Rand, hosts []string, turns int) map[string]int64 {
	met := map[string]int64{}
	for range turns {
		pause, cancel := context.WithTimeout(ctx, time.Duration(1+dice.IntN(1500))*time.Millisecond)
		<-pause.Done()
		cancel()
		a, b := hosts[dice.IntN(len(hosts))], hosts[dice.IntN(len(hosts))]
		switch dice.IntN(13) {
		case 0, 1:
			c.Net.Cut(a, b)
			met["partial cut"]++
		case 2:
			c.Net.CutOneWay(a, b)
			met["one-way cut"]++
		case 3, 4, 9, 10, 11, 12:
			for _, x := range hosts {
				for _, y := range hosts {
					if dice.IntN(2) == 0 {
						c.Net.Heal(x, y)
					}
				}
			}
		case 5:
			c.Net.Reset(a)
			met["reset"]++
		case 6:
			c.Net.Delay(a, b, time.Duration(dice.IntN(300))*time.Millisecond)
			met["delay"]++
		case 7:
			if i := dice.IntN(3); c.Running(i) {
				c.Crash(i)
				met["crash"]++
			}
		case 8:
			for i := range 3 {
				if !c.Running(i) {
					c.Run(i)
				}
			}
		}
	}
	for _, x := range hosts {
		for _, y := range hosts {
			c.Net.Heal(x, y)
			c.Net.Delay(x, y, 0)
		}
	}
	for i := range 3 {
		if !c.Running(i) {
			c.Run(i)
		}
	}
	c.WaitReady()
	return met
}

// TestHavoc lets clients compete while the network and the nodes fail at random. Never do two of them believe to hold a lock, and in
// the end none of them is left behind by anybody.
func TestHavoc(t *testing.T) {
	total, met := reliability.Run{Runs: int64(runs(t, 3))}, map[string]int64{}
	for run := range runs(t, 3) {
		seed := uint64(number(t, "LOCKD_SEED", 1) + run)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, c *testcluster.Cluster) {
				began, dice := time.Now(), rand.New(rand.NewPCG(seed, 1))
				r := &referee{t: t, held: map[string][]*client.Lock{}, newest: map[string]uint64{}}
				names, hosts := []string{"x", "y"}, []string{c.Name(0), c.Name(1), c.Name(2)}
				ctx, stop := context.WithCancel(t.Context())
				var all sync.WaitGroup
				for i := range 4 {
					host := fmt.Sprint("c", i)
					hosts = append(hosts, host)
					cl := dialFrom(t, c, host, time.Duration(1+2*i)*time.Second, func(cfg *client.Config) {
						if i%2 == 1 {
							cfg.Grace = time.Second
						}
					})
					for j := range 3 {
						mine := rand.New(rand.NewPCG(seed, uint64(10*i+j+2)))
						all.Go(func() { r.play(ctx, cl, mine, names) })
					}
				}
				for kind, n := range havoc(ctx, c, dice, hosts, 100) {
					met[kind] += n
				}
				stop()
				all.Wait()
				time.Sleep(20 * time.Second)
				last := dialFrom(t, c, "last", 5*time.Second)
				for _, name := range names {
					if _, err := last.TryLock(t.Context(), name); err != nil {
						t.Errorf("%s is left behind: %v: %+v", name, err, get(t, last, name))
					}
				}
				t.Logf("%d grants", r.grants)
				total.Operations += int64(r.grants)
				total.Simulated += time.Since(began)
			})
		})
	}
	total.Seeds = reliability.SeedRange(uint64(number(t, "LOCKD_SEED", 1)), uint64(total.Runs))
	record(t, total, met)
}

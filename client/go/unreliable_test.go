//go:build unix

package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/wire"
)

// mishaps counts what an unreliable proxy does.
type mishaps struct{ lost, doubled, refused, grants atomic.Int64 }

// unreliable makes a proxy lose, double and refuse requests, and lose and double answers. Events come at least once.
func (p *proxy) unreliable(dice *rand.Rand, met *mishaps) {
	refusals := []wire.Failure{
		{Code: wire.DiskFull, Known: true}, {Code: wire.Overloaded, Known: true}, {Code: wire.NoLeader, Known: true}, {Code: wire.Interrupted},
	}
	p.set(func() {
		p.up = func(m wire.Message) (toNode, toClient []wire.Message) {
			if m.Type() < wire.TypeOpen || m.Type() >= wire.TypeWaitOver {
				return []wire.Message{m}, nil
			}
			switch dice.IntN(12) {
			case 0:
				met.lost.Add(1)
				return nil, nil
			case 1:
				met.refused.Add(1)
				f := refusals[dice.IntN(len(refusals))]
				if f.ID = idOf(m); !f.Known && dice.IntN(2) == 0 {
					toNode = []wire.Message{m}
				}
				return toNode, []wire.Message{&f}
			case 2:
				met.doubled.Add(1)
				return []wire.Message{m, m}, nil
			}
			return []wire.Message{m}, nil
		}
		p.down = func(m wire.Message) []wire.Message {
			luck := dice.IntN(12)
			switch m.(type) {
			case *wire.Welcome:
				return []wire.Message{m}
			case *wire.WaitOver, *wire.SessionEnded, *wire.Revoked:
				luck = max(luck, 1)
			}
			switch luck {
			case 0:
				met.lost.Add(1)
				return nil
			case 1:
				met.doubled.Add(1)
				return []wire.Message{m, m}
			}
			return []wire.Message{m}
		}
	})
}

// holders knows who holds what.
type holders struct {
	t   *testing.T
	met *mishaps

	mu   sync.Mutex // guards held
	held map[string]*client.Lock
}

func (h *holders) enter(l *client.Lock) {
	h.met.grants.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range l.Names() {
		if other := h.held[name]; other != nil && other.Err() == nil && l.Err() == nil {
			h.t.Errorf("%s is held with the tokens %d and %d", name, other.Token(), l.Token())
		}
		h.held[name] = l
	}
}

// use acquires and releases at random until ctx ends.
func (h *holders) use(ctx context.Context, c *client.Client, dice *rand.Rand, names []string) {
	within := func(most int) (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), time.Duration(1+dice.IntN(most))*time.Millisecond)
	}
	for ctx.Err() == nil {
		limit, cancel := within(4000)
		var l *client.Lock
		var err error
		switch name := names[dice.IntN(len(names))]; dice.IntN(6) {
		case 0:
			l, err = c.TryLock(limit, name)
		case 1:
			l, err = c.LockAll(limit, names)
		case 2:
			var lease *client.Lease
			if lease, err = c.AcquireLease(limit, name, time.Hour); err == nil {
				if err = lease.Release(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, client.ErrNotHeld) { // of a doubled one
					h.t.Errorf("release a lease: %v", err)
				}
			}
		default:
			l, err = c.Lock(limit, name, client.MaxWait(time.Duration(1+dice.IntN(5000))*time.Millisecond))
		}
		cancel()
		if err != nil || l == nil {
			continue // the nodes are what they are
		}
		h.enter(l)
		rest, cancel := within(500)
		<-rest.Done()
		cancel()
		limit, cancel = within(1000)
		_ = l.Unlock(limit) // it goes on in the background
		cancel()
	}
}

// TestUnreliableNodes lets clients compete while requests and answers are lost, doubled and refused at random. Never is a lock held
// twice, and in the end nothing is held that nobody knows of, though every session lives on.
func TestUnreliableNodes(t *testing.T) {
	runs := uint64(4)
	if text, ok := os.LookupEnv("LOCKD_RUNS"); ok {
		var err error
		if runs, err = strconv.ParseUint(text, 10, 32); err != nil || runs == 0 {
			t.Fatalf("LOCKD_RUNS=%q is not a number of runs", text)
		}
	}
	var met mishaps
	for seed := range runs {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
				defer stop()
				h := &holders{t: t, met: &met, held: map[string]*client.Lock{}}
				names := []string{"x", "y"}
				var all sync.WaitGroup
				var proxies []*proxy
				for i := range uint64(3) {
					c, p := w.proxied(fmt.Sprint("host", i), func(cfg *client.Config) { cfg.TTL = time.Duration(3+4*i) * time.Second })
					p.unreliable(rand.New(rand.NewPCG(seed, i)), &met)
					proxies = append(proxies, p)
					for j := range uint64(3) {
						all.Go(func() { h.use(ctx, c, rand.New(rand.NewPCG(seed, 10+3*i+j)), names) })
					}
				}
				all.Wait()
				for _, p := range proxies {
					p.set(func() { p.up, p.down = nil, nil })
				}
				time.Sleep(10 * time.Second)
				last := w.client("last")
				for _, name := range names {
					if _, err := last.TryLock(t.Context(), name); err != nil {
						info, _ := last.Get(t.Context(), name)
						t.Errorf("%s is left behind: %v: %+v", name, err, info)
					}
				}
			})
		})
	}
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: t.Name(), Layer: "cluster", Runs: int64(runs), Operations: met.grants.Load(), Simulated: time.Duration(runs) * 130 * time.Second,
		Seeds: reliability.SeedRange(0, runs), Command: fmt.Sprintf("LOCKD_RUNS=%d go test ./client/go -run '^TestUnreliableNodes$'", runs),
	}, map[string]int64{"loss": met.lost.Load(), "double": met.doubled.Load(), "refused": met.refused.Load()})...)
}

package lockd_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/lockd"
)

// deaf makes a node that reaches nobody at an address while the switch is on.
func deaf(address string, on *atomic.Bool) func(*lockd.Config) {
	return func(c *lockd.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, to string) (net.Conn, error) {
			if to == address && on.Load() {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return dial(ctx, to)
		}
	}
}

// Whoever has promised to take part in a founding that was given up without it joins the cluster that was founded then.
func TestGivenUpFoundingBindsNobody(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		var silent, away atomic.Bool
		founder, bound, third := w.add(deaf(wildHost(2)+":7401", &silent)), w.add(deaf(wildHost(0)+":7401", &away)), w.add()
		for _, n := range w.nodes {
			w.run(n)
		}
		time.Sleep(5 * time.Second)
		silent.Store(true)
		if err := founder.server.Init(t.Context()); err == nil || !strings.Contains(err.Error(), "needs a promise of all") {
			t.Fatalf("a founding without a promise of all: %v", err)
		}
		bound.crash()
		silent.Store(false)
		time.Sleep(15 * time.Second) // until it is missed
		if err := founder.server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.await("n1 n3", founder, third)
		away.Store(true) // it hears of the cluster before it can ask the founder
		w.run(bound)
		time.Sleep(10 * time.Second)
		away.Store(false)
		w.await("n1 n2 n3", w.nodes...)
	})
}

// A founder that ended in the middle, and comes back at another address, still frees those who have promised.
func TestFounderMoves(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		var silent atomic.Bool
		founder := w.add(deaf(wildHost(2)+":7401", &silent))
		w.add()
		w.add()
		for _, n := range w.nodes {
			w.run(n)
		}
		time.Sleep(5 * time.Second)
		silent.Store(true)
		wished := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { wished <- founder.server.Init(ctx) }()
		time.Sleep(500 * time.Millisecond) // n2 has promised, n3 has not
		founder.crash()
		cancel()
		if err := <-wished; err == nil {
			t.Fatal("founded by a node that has crashed")
		}
		silent.Store(false)
		founder.config.ListenRaft = wildHost(0) + ":7501"
		for range 2 { // the second time it knows of no founding any more
			w.run(founder)
			time.Sleep(5 * time.Second)
			founder.crash()
		}
		w.run(founder)
		time.Sleep(15 * time.Second)
		if err := founder.server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.await("n1 n2 n3", w.nodes...)
	})
}

// Who has just been started knows nobody yet. An operator who is quicker than gossip must not found a second cluster beside the first.
func TestInitWaitsForTheSeedsToBeAsked(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		w.run(w.add())
		time.Sleep(5 * time.Second)
		if err := w.nodes[0].server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.await("n1", w.nodes...)
		w.net.Delay(wildHost(0), wildHost(1), 100*time.Millisecond)
		late := w.add()
		w.run(late)
		synctest.Wait() // it runs, and the first question to a seed is under way
		if err := late.server.Init(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to a cluster already") {
			t.Errorf("a second cluster: %v", err)
		}
		w.await("n1 n2", w.nodes...)
	})
}

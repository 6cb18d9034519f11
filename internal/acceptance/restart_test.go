package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

// steady holds a lock and a lease through whatever happens, while others compete for a third lock.
type steady struct {
	referee
	client *client.Client
	lock   *client.Lock
	lease  client.LeaseRef
	stop   func()
}

func beginSteady(t *testing.T, c *testcluster.Cluster, seed uint64, ttl time.Duration) *steady {
	t.Helper()
	s := &steady{referee: referee{t: t, held: map[string][]*client.Lock{}, newest: map[string]uint64{}}, client: dialFrom(t, c, "steady", ttl)}
	s.lock = lock(t, s.client, "kept")
	lease, err := s.client.AcquireLease(t.Context(), "leased", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.lease = lease.Ref()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range uint64(3) {
		cl := dialFrom(t, c, fmt.Sprint("c", i), ttl)
		all.Go(func() { s.play(ctx, cl, rand.New(rand.NewPCG(seed, i)), []string{"x", "y"}) })
	}
	s.stop = func() { cancel(); all.Wait() }
	return s
}

// granted waits for another grant to those who compete.
func (s *steady) granted() {
	s.t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.grants
	}
	for before, waited := count(), 0; count() == before; waited++ {
		if waited == 600 {
			s.t.Fatal("no grant for a minute")
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
	}
}

// end requires that what was held is held still, and returns how many grants there were.
func (s *steady) end() int64 {
	s.t.Helper()
	s.stop()
	if err := s.lock.Err(); err != nil {
		s.t.Errorf("the lock was lost: %v", err)
	}
	for name, token := range map[string]uint64{"kept": s.lock.Token(), "leased": s.lease.Token} {
		if check, err := s.client.CheckToken(s.t.Context(), name, token); err != nil || check.Validity != client.TokenValid {
			s.t.Errorf("%s: token %d is %v, %v", name, token, check.Validity, err)
		}
	}
	unlock(s.t, s.lock)
	return int64(s.grants)
}

// TestRollingRestart restarts one node after the other, as an upgrade would: sessions with a TTL of three seconds live on, work goes on.
func TestRollingRestart(t *testing.T) {
	rounds := runs(t, 3)
	var operations int64
	began := time.Now()
	var took time.Duration
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		began = time.Now()
		s := beginSteady(t, c, 1, 3*time.Second)
		for range rounds {
			for i := range 3 {
				c.Stop(i)
				s.granted() // by the two others
				c.Run(i)
				c.WaitReady()
				s.granted()
			}
		}
		operations = s.end()
		took = time.Since(began)
	})
	t.Logf("%d restarts, %d grants in %v", 3*rounds, operations, took)
	record(t, reliability.Run{Runs: int64(rounds), Operations: operations, Simulated: took}, map[string]int64{"rolling restart": int64(3 * rounds)})
}

// TestRestartStorm crashes nodes again as soon as they are up, mostly before they could agree on a leader. When that ends everything
// acknowledged is there, and tokens have risen.
func TestRestartStorm(t *testing.T) {
	rounds := runs(t, 5)
	var operations, crashes int64
	var took time.Duration
	for round := range rounds {
		seed := uint64(number(t, "LOCKD_SEED", 1) + round)
		bubble(t, func(t *testing.T, c *testcluster.Cluster) {
			began := time.Now()
			dice := rand.New(rand.NewPCG(seed, 7))
			s := beginSteady(t, c, seed, 5*time.Minute)
			for range 40 {
				first, n := dice.IntN(3), 1+dice.IntN(3)
				for i := range n {
					c.Crash((first + i) % 3)
					crashes++
				}
				for i := range n {
					c.Run((first + i) % 3)
				}
				time.Sleep(time.Duration(dice.IntN(1200)) * time.Millisecond)
			}
			c.WaitReady()
			s.granted()
			operations += s.end()
			took += time.Since(began)
		})
	}
	t.Logf("%d crashes, %d grants in %v", crashes, operations, took)
	record(t, reliability.Run{Runs: int64(rounds), Operations: operations, Simulated: took}, map[string]int64{"restart storm": crashes})
}

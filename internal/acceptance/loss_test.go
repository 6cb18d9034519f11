package acceptance

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

// TestField02BlackHole cuts the holder off from all nodes, without a word to either side, at any moment of its session: it knows of
// the loss no later than its ValidUntil, and before the next holder is granted the lock.
func TestField02BlackHole(t *testing.T) {
	n := runs(t, 300)
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		holder, next := dialFrom(t, c, "holder", 2*time.Second), dialFrom(t, c, "next", 2*time.Second)
		random := rand.New(rand.NewPCG(2, 2))
		least := time.Hour
		for range n {
			l := lock(t, holder, "shop")
			lost := ended(l)
			waiter := begin(t.Context(), next, "shop")
			time.Sleep(time.Duration(random.Int64N(int64(3 * time.Second))))
			until := l.ValidUntil()
			cut(c, "holder", false)
			granted := waiter.wait(t)
			until = maxTime(until, l.ValidUntil())
			at := <-lost
			if at.After(until) || !at.Before(waiter.at) || !errors.Is(l.Err(), client.ErrLockLost) {
				t.Fatalf("lost at %v, valid until %v, granted again at %v: %v", at, until, waiter.at, l.Err())
			}
			least = min(least, waiter.at.Sub(at))
			if granted.Previous().How != client.HowExpired || granted.Token() <= l.Token() {
				t.Fatalf("token %d after %d, whose hold %v", granted.Token(), l.Token(), granted.Previous().How)
			}
			unlock(t, granted)
			cut(c, "holder", true)
		}
		t.Logf("%d black holes; from the loss to the next grant %v at least", n, least)
	})
	record(t, reliability.Run{Runs: int64(n), Operations: int64(2 * n)}, map[string]int64{"black hole": int64(n)})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// TestField11Suspend lets the client's machine sleep for twice its TTL while its monotonic clock stands still: the lock is lost when
// it wakes up, without an answer from anybody.
func TestField11Suspend(t *testing.T) {
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		var slept atomic.Int64
		cl := dialFrom(t, c, "laptop", 5*time.Second, func(cfg *client.Config) {
			cfg.Suspended = func() time.Duration { return time.Duration(slept.Load()) }
		})
		l := lock(t, cl, "draft")
		cut(c, "laptop", false) // nobody will tell
		slept.Store(int64(10 * time.Second))
		if err := l.Err(); !errors.Is(err, client.ErrLockLost) {
			t.Errorf("after a sleep of 10s: %v", err)
		}
		<-l.Context().Done()
		cut(c, "laptop", true)
		again := lock(t, cl, "draft")
		if again.Token() <= l.Token() {
			t.Errorf("token %d after %d", again.Token(), l.Token())
		}
		unlock(t, again)
	})
}

// TestField17LateSuccess delivers confirmations of KeepAlives when the validity they speak of is long over: nothing held before comes back.
func TestField17LateSuccess(t *testing.T) {
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		cl := dialFrom(t, c, "far", 3*time.Second)
		l := lock(t, cl, "moon")
		lost := ended(l)
		for i := range 3 {
			c.Net.Delay(c.Name(i), "far", 4*time.Second)
		}
		at := <-lost
		if at.After(l.ValidUntil()) {
			t.Errorf("lost at %v, valid until %v", at, l.ValidUntil())
		}
		for range 20 {
			time.Sleep(time.Second) // the confirmations arrive
			if err := l.Err(); !errors.Is(err, client.ErrLockLost) {
				t.Fatalf("the lock came back: %v", err)
			}
		}
		for i := range 3 {
			c.Net.Delay(c.Name(i), "far", 0)
		}
		unlock(t, lock(t, cl, "moon"))
	})
}

// TestField03OneNodeOutOfReach takes each node in turn away from a client with a short TTL, without a word to either side: the session
// goes on over another one.
func TestField03OneNodeOutOfReach(t *testing.T) {
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		cl := dialFrom(t, c, "holder", 2*time.Second)
		l := lock(t, cl, "shop")
		for round := range 9 {
			away := c.Name(round % 3)
			c.Net.Cut("holder", away)
			time.Sleep(10 * time.Second)
			c.Net.Heal("holder", away)
			if err := l.Err(); err != nil {
				t.Fatalf("lost while %s was out of reach: %v", away, err)
			}
		}
		unlock(t, l)
	})
}

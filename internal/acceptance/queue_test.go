package acceptance

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

// TestField04WaiterExpires lets the session of a waiter run out: its place is gone, those behind it move up by one, and the lock is
// never granted to it. A waiter whose session is closed hears of it at once.
func TestField04WaiterExpires(t *testing.T) {
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		holder, third := dialFrom(t, c, "holder", 5*time.Second), dialFrom(t, c, "third", 5*time.Second)
		second := dialFrom(t, c, "second", 2*time.Second)
		l := lock(t, holder, "gate")
		ctx, giveUp := context.WithCancel(t.Context())
		dead := begin(ctx, second, "gate")
		synctest.Wait()
		alive := begin(t.Context(), third, "gate")
		synctest.Wait()
		if info := get(t, holder, "gate"); info.Waiting != 2 || info.Waiters[0].Identity != "second" {
			t.Fatalf("%d wait, %+v", info.Waiting, info.Waiters)
		}
		cut(c, "second", false)
		time.Sleep(4 * time.Second) // its TTL and a second
		if info := get(t, holder, "gate"); info.Waiting != 1 || info.Waiters[0].Identity != "third" {
			t.Fatalf("after the expiry %d wait, %+v", info.Waiting, info.Waiters)
		}
		unlock(t, l)
		unlock(t, alive.wait(t))
		if _, err := holder.Get(t.Context(), "gate"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("the lock is not free: %v", err)
		}
		giveUp()
		<-dead.done
		if dead.err == nil {
			t.Error("a dead waiter was granted the lock")
		}
		cut(c, "second", true)
	})
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		cl := dialFrom(t, c, "one", 5*time.Second)
		session, err := cl.NewSession(t.Context(), client.SessionConfig{TTL: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		l := lock(t, cl, "gate")
		waiter := begin(t.Context(), cl, "gate", client.InSession(session))
		synctest.Wait()
		before := time.Now()
		if err := session.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-waiter.done
		if waiter.err == nil || waiter.at.Sub(before) > time.Second {
			t.Errorf("the waiter heard %v after %v", waiter.err, waiter.at.Sub(before))
		}
		unlock(t, l)
	})
}

// TestField05CancelRacesWithGrant gives a wait up at the moment of its grant, some microseconds before or after: either it is
// granted or it is not, and the lock never stays behind without a holder who knows.
func TestField05CancelRacesWithGrant(t *testing.T) {
	n := runs(t, 500)
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		for i := range 3 { // so that the race is one
			c.Net.Delay(c.Name(i), "a", time.Millisecond)
			c.Net.Delay(c.Name(i), "b", time.Millisecond)
		}
		a, b := dialFrom(t, c, "a", 10*time.Second), dialFrom(t, c, "b", 10*time.Second)
		random := rand.New(rand.NewPCG(5, 5))
		granted := 0
		for range n {
			l := lock(t, a, "race")
			ctx, cancel := context.WithCancel(t.Context())
			waiter := begin(ctx, b, "race")
			time.Sleep(5 * time.Millisecond)
			time.AfterFunc(time.Duration(random.Int64N(int64(8*time.Millisecond))), cancel)
			time.Sleep(2 * time.Millisecond)
			unlock(t, l)
			<-waiter.done
			cancel()
			if waiter.err == nil {
				granted++
				unlock(t, waiter.lock)
			}
			time.Sleep(time.Second) // a cancel goes on in the background
			if info, err := a.Get(t.Context(), "race"); !errors.Is(err, client.ErrNotFound) {
				t.Fatalf("an orphan: %+v, %v, %v", info, err, waiter.err)
			}
		}
		t.Logf("%d races, %d granted, %d cancelled", n, granted, n-granted)
		if granted == 0 || granted == n {
			t.Error("one side always won: that is no race")
		}
	})
	record(t, reliability.Run{Runs: int64(n), Operations: int64(2 * n)}, map[string]int64{"abandoned": int64(n)})
}

// TestField06UnlockRetried loses the answer to an Unlock, so that it is sent again after the same session has the lock again: the
// newer grant survives.
func TestField06UnlockRetried(t *testing.T) {
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		cl, reader := dialFrom(t, c, "flaky", 20*time.Second), dialFrom(t, c, "reader", 5*time.Second)
		for range runs(t, 20) {
			old := lock(t, cl, "door")
			for i := range 3 {
				c.Net.CutOneWay(c.Name(i), "flaky") // the Unlock arrives, its answer does not
			}
			unlocked := make(chan error, 1)
			go func() { unlocked <- old.Unlock(t.Context()) }()
			time.Sleep(100 * time.Millisecond)
			if info, err := reader.Get(t.Context(), "door"); !errors.Is(err, client.ErrNotFound) {
				t.Fatalf("the release did not arrive: %+v, %v", info, err)
			}
			again := begin(t.Context(), cl, "door") // the same session
			time.Sleep(100 * time.Millisecond)
			c.Net.Reset("flaky")
			cut(c, "flaky", true)
			l := again.wait(t)
			if err := <-unlocked; err != nil {
				t.Errorf("the unlock: %v", err)
			}
			time.Sleep(5 * time.Second) // whatever is still on its way
			if check, err := reader.CheckToken(t.Context(), "door", l.Token()); err != nil || check.Validity != client.TokenValid || l.Err() != nil {
				t.Fatalf("the newer grant is %v: %v, %v", check.Validity, err, l.Err())
			}
			unlock(t, l)
		}
	})
}

// TestHeldSinceIsTold asks, in a cluster where nothing else happens, for how long a lock has been held.
func TestHeldSinceIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, c *testcluster.Cluster) {
		cl := dialFrom(t, c, "one", 15*time.Second)
		l := lock(t, cl, "long")
		time.Sleep(10 * time.Second)
		if held := get(t, cl, "long").Holders[0].Since; held < 9*time.Second || held > 10*time.Second {
			t.Errorf("held for %v, not for ten seconds", held)
		}
		unlock(t, l)
	})
}

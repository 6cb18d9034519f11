//go:build unix

package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

// TestLease lives as long as its TTL, whatever becomes of the session, and whoever knows its reference can deal with it.
func TestLease(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b, ctx := w.client("a"), w.client("b"), t.Context()
		l := got[*client.Lease](t)(a.AcquireLease(ctx, "a", 20*time.Second))
		if left := time.Until(l.ValidUntil()); left < 18*time.Second || left > 19*time.Second {
			t.Errorf("valid for %v", left)
		}
		if token, ok := client.TokenFrom(l.Context()); !ok || token != l.Token() || l.Floor() != l.Token() {
			t.Errorf("token %d, floor %d of lease %d", token, l.Floor(), l.Token())
		}
		must(t, a.Close(ctx)) // the session is gone, the lease is not
		must(t, l.Err())
		if _, err := b.TryLock(ctx, "a"); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("second holder: %v", err)
		}
		ref := got[client.LeaseRef](t)(client.ParseLeaseRef(l.Ref().String()))
		if ref != l.Ref() {
			t.Errorf("reference %v of %v", ref, l.Ref())
		}
		other := b.Lease(ref)
		if !other.ValidUntil().IsZero() || other.Err() != nil {
			t.Errorf("a lease of which nothing is known: %v, %v", other.ValidUntil(), other.Err())
		}
		time.Sleep(10 * time.Second)
		must(t, other.Renew(ctx, time.Minute))
		if left := time.Until(other.ValidUntil()); left < 57*time.Second || left > time.Minute {
			t.Errorf("renewed for %v", left)
		}
		must(t, other.Renew(ctx, time.Second)) // moves nothing back
		if left := time.Until(other.ValidUntil()); left < 57*time.Second {
			t.Errorf("renewed for less: %v", left)
		}
		<-l.Context().Done() // the first program knows nothing of it
		if !errors.Is(l.Err(), client.ErrLockLost) || !errors.Is(context.Cause(l.Context()), client.ErrLockLost) {
			t.Errorf("cause %v", l.Err())
		}
		next := got[*client.Lease](t)(other.HandOn(ctx, 30*time.Second))
		if next.Token() <= other.Token() || next.Ref().ID == ref.ID || next.Previous().How != client.HowHandedOn {
			t.Errorf("handed on: %v, previous %v", next.Ref(), next.Previous())
		}
		if !errors.Is(other.Err(), client.ErrReleased) {
			t.Errorf("the old one: %v", other.Err())
		}
		if err := b.Lease(ref).Renew(ctx, time.Minute); !errors.Is(err, client.ErrNotHeld) {
			t.Errorf("renewal by the old reference: %v", err)
		}
		must(t, next.Release(ctx))
		if err := next.Release(ctx); !errors.Is(err, client.ErrNotHeld) {
			t.Errorf("second release: %v", err)
		}
		if _, err := next.HandOn(ctx, time.Minute); !errors.Is(err, client.ErrNotHeld) {
			t.Errorf("take over of what is released: %v", err)
		}
		mustLock(t, b, "a")
	})
}

// TestLeaseAfterAWait counts its validity from a renewal: nobody knows how long ago the grant was.
func TestLeaseAfterAWait(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		l := mustLock(t, a, "a")
		leased := make(chan *client.Lease)
		go func() {
			l, err := b.AcquireLease(t.Context(), "a", 10*time.Second)
			if err != nil {
				t.Error(err)
			}
			leased <- l
		}()
		time.Sleep(time.Minute)
		must(t, l.Unlock(t.Context()))
		lease := <-leased
		if left := time.Until(lease.ValidUntil()); left < 8*time.Second || left > 9*time.Second {
			t.Errorf("valid for %v", left)
		}
		next := mustLock(t, a, "a")
		if next.Previous().How != client.HowExpired || lease.Err() == nil {
			t.Errorf("previous %v, lease %v", next.Previous(), lease.Err())
		}
	})
}

// TestLeaseGivenUp leaves nothing behind when its caller waits no more.
func TestLeaseGivenUp(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		for i := range 3 {
			w.Net.Delay("b", w.Name(i), 5*time.Millisecond)
		}
		for i := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			lease, err := b.AcquireLease(ctx, "a", time.Hour)
			cancel()
			if err == nil {
				must(t, lease.Release(t.Context()))
			}
			wait, stop := context.WithTimeout(t.Context(), time.Minute)
			l, err := a.Lock(wait, "a")
			stop()
			must(t, err)
			must(t, l.Unlock(t.Context()))
		}
	})
}

// TestLeaseOfALostSession finds the lease that was granted while its session was lost.
func TestLeaseOfALostSession(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a", func(c *client.Config) { c.TTL = 2 * time.Second }), w.client("b")
		l := mustLock(t, b, "a")
		mustLock(t, a, "other")
		leased := make(chan *client.Lease)
		go func() {
			l, err := a.AcquireLease(t.Context(), "a", time.Hour)
			if err != nil {
				t.Error(err)
			}
			leased <- l
		}()
		time.Sleep(500 * time.Millisecond)
		for i := range 3 {
			w.Net.CutOneWay(w.Name(i), "a")
		}
		must(t, l.Unlock(t.Context()))
		time.Sleep(5 * time.Second)
		w.heal("a")
		lease := <-leased
		info := got[client.LockInfo](t)(b.Get(t.Context(), "a"))
		if len(info.Holders) != 1 || info.Holders[0].Lease != lease.Ref().ID || info.Holders[0].Token != lease.Token() || lease.ValidUntil().IsZero() {
			t.Errorf("lease %v, holders %+v", lease.Ref(), info.Holders)
		}
		must(t, lease.Release(t.Context()))
	})
}

// TestLeaseRef refuses what is no reference.
func TestLeaseRef(t *testing.T) {
	ref := client.LeaseRef{Name: "a.b/c d", ID: client.LeaseID{1, 2}, Token: 1 << 50}
	if back, err := client.ParseLeaseRef(ref.String()); err != nil || back != ref {
		t.Errorf("%v, %v of %q", back, err, ref)
	}
	for _, bad := range []string{"", ".", "..", "01.2.a", ref.ID.String() + ".x.a", ref.ID.String() + ".1.", ref.ID.String() + ".1", "zz" + ref.String()[2:]} {
		if _, err := client.ParseLeaseRef(bad); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

//go:build unix

package client_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

// TestSuspendIsSeenWithinTheMargin stops the machine for longer than what it holds is valid. No timer that waits for that knows; the
// contexts have to end within the margin that validity has for it, however short it is.
func TestSuspendIsSeenWithinTheMargin(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 4 * time.Second, 30 * time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				margin := min(ttl/10, time.Second)
				var slept atomic.Int64
				c := w.client("a", func(c *client.Config) {
					c.TTL, c.Suspended = ttl, func() time.Duration { return time.Duration(slept.Load()) }
				})
				l := mustLock(t, c, "a")
				lease := got[*client.Lease](t)(c.AcquireLease(t.Context(), "b", ttl))
				time.Sleep(ttl / 3)
				w.cut("a")
				for what, ctx := range map[string]context.Context{"lock": l.Context(), "lease": lease.Context()} {
					slept.Add(int64(ttl))
					began := time.Now()
					<-ctx.Done()
					if took := time.Since(began); took > margin {
						t.Errorf("the context of the %s ends %v after the stop", what, took)
					}
				}
				w.heal("a")
			})
		})
	}
}

package front_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// TestEndedLeasesAreForgotten has many more leases on one connection than are listened for at one time, one after the other: however they
// end, the connection is told of the end of the next one.
func TestEndedLeasesAreForgotten(t *testing.T) {
	const leases = 1100
	for name, end := range map[string]func(c, other *client, held wire.Outcome){
		"by their time": func(c, other *client, _ wire.Outcome) {
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			other.want(&wire.RenewLease{ID: other.next(), Name: "other", Lease: wire.ID{1}, Token: 1, TTL: time.Hour}, wire.Gone)
			next[*wire.Revoked](c)
		},
		"handed on": func(c, other *client, held wire.Outcome) {
			taken := other.want(&wire.TakeLease{ID: other.next(), Name: "l", Lease: wire.ID{1}, Token: held.Token, NewLease: wire.ID{2}, TTL: time.Hour}, wire.Granted)
			other.want(&wire.ReleaseLease{ID: other.next(), Name: "l", Lease: wire.ID{2}, Token: taken.Token}, wire.OK)
			next[*wire.Revoked](c)
		},
		"released elsewhere": func(_, other *client, held wire.Outcome) {
			other.want(&wire.ReleaseLease{ID: other.next(), Name: "l", Lease: wire.ID{1}, Token: held.Token}, wire.OK)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				c, other := w.connect(0), w.connect(1)
				life := c.openWith(1, 10*time.Minute, 0)
				take := func(seq uint64) wire.Outcome {
					a := c.acquire(life, seq, 0, "l")
					a.Request.Acked, a.Lease, a.LeaseTTL = seq-1, wire.ID{1}, time.Second
					return c.want(a, wire.Granted)
				}
				for seq := range uint64(leases) {
					end(c, other, take(seq+1))
				}
				held := take(leases + 1)
				other.want(&wire.TakeLease{ID: other.next(), Name: "l", Lease: wire.ID{1}, Token: held.Token, NewLease: wire.ID{2}, TTL: time.Hour}, wire.Granted)
				if over := next[*wire.Revoked](c); over.Token != held.Token {
					t.Errorf("told of %d, not of %d", over.Token, held.Token)
				}
			})
		})
	}
}

package locktable_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestTimings follows a lock through every way in which a wait and a hold can end, in cluster time.
func TestTimings(t *testing.T) {
	r := newRun(t)
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	step := func(at int, cmd locktable.Command, want ...locktable.Timing) locktable.Reply {
		t.Helper()
		r.clock = seconds(at)
		applied := r.apply(cmd)
		if diff := cmp.Diff(want, append([]locktable.Timing(nil), applied.Timings...)); diff != "" {
			t.Fatalf("entry %d at %d s: -want +got\n%s", r.index, at, diff)
		}
		return applied.Reply
	}
	waited := func(took int, code locktable.Code) locktable.Timing {
		return locktable.Timing{Name: "x", Took: seconds(took), Code: code}
	}
	held := func(took int, how locktable.How) locktable.Timing {
		return locktable.Timing{Name: "x", Took: seconds(took), How: how}
	}
	acquire := func(l session.Life, wait int) *locktable.Acquire {
		return &locktable.Acquire{Request: r.request(l), Names: []string{"x"}, Mode: locktable.Exclusive, Wait: seconds(wait), Owner: 1}
	}
	release := func(l session.Life, token uint64) *locktable.Release {
		return &locktable.Release{Request: r.request(l), Name: "x", Token: token}
	}
	a, b, c := r.open(), r.open(), r.open()

	first := step(1, acquire(a, 0), waited(0, locktable.Granted)).Token
	step(2, acquire(b, 0)) // a try that is refused has not waited
	step(3, acquire(b, 100))
	step(4, acquire(c, 2))
	step(7, &locktable.Tick{Term: 1}, waited(2, locktable.TimedOut)) // its limit was at 6
	step(9, release(a, first), held(8, locktable.Released), waited(6, locktable.Granted))

	step(10, acquire(c, 100))
	cancelled := r.seqs[c]
	step(13, &locktable.Cancel{Request: r.request(c), Target: cancelled, Name: "x"}, waited(3, locktable.Cancelled))

	step(14, acquire(c, 100))
	step(20, &locktable.Expire{Term: 1, Lives: []session.Life{b}}, held(11, locktable.Expired), waited(6, locktable.Granted))
	step(21, &locktable.Close{Session: c}, held(1, locktable.Closed))

	id, next := session.ID{1}, session.ID{2}
	lease := acquire(a, 0)
	lease.LeaseID, lease.LeaseTTL = id, 10*time.Second
	token := step(30, lease, waited(0, locktable.Granted)).Token
	step(32, &locktable.TakeLease{Name: "x", ID: id, Token: token, NewID: next, TTL: 5 * time.Second}, held(2, locktable.HandedOn))
	step(40, &locktable.Tick{Term: 1}, held(5, locktable.Expired)) // its deadline was at 37
}

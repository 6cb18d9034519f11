package front_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

func TestReads(t *testing.T) {
	for place := range 2 {
		t.Run(fmt.Sprintf("node %d", place+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				c := w.connect(place)
				life := c.openWith(1, 20*time.Second, 3*time.Second)
				c.open(2)
				m := c.acquire(life, 1, 0, "jobs/a")
				m.Value, m.Metadata = []byte("v"), []byte("m")
				held := c.want(m, wire.Granted)
				c.want(c.acquire(life, 2, wire.Forever, "jobs/a"), wire.Queued)
				c.want(c.acquire(life, 3, 0, "jobs/b"), wire.Granted)
				c.want(c.acquire(life, 4, 0, "other"), wire.Granted)

				c.send(&wire.CheckTokens{ID: c.next(), Tokens: []wire.Token{
					{Name: "jobs/a", Token: held.Token}, {Name: "jobs/a", Token: held.Token - 1}, {Name: "nothing", Token: 1},
				}})
				checks := next[*wire.TokensReply](c)
				want := fmt.Sprint([]wire.Check{
					{Validity: wire.Valid, Newest: held.Token, Floor: held.Token},
					{Validity: wire.Stale, Newest: held.Token, Floor: held.Token},
					{Validity: wire.Free},
				})
				if fmt.Sprint(checks.Checks) != want || checks.Index == 0 {
					t.Errorf("%+v, want %v", checks, want)
				}

				c.send(&wire.Get{ID: c.next(), Name: "jobs/a", Most: 10})
				lock := next[*wire.LockReply](c)
				if !lock.Found || lock.Lock.Held != 1 || lock.Lock.Queue != 1 || len(lock.Lock.Holders) != 1 || len(lock.Lock.Waiters) != 1 ||
					lock.Lock.Holders[0].Life != life || string(lock.Lock.Holders[0].Value) != "v" || lock.Lock.Waiters[0].Seq != 2 || lock.Age != 0 {
					t.Errorf("%+v", lock)
				}
				c.send(&wire.Get{ID: c.next(), Name: "jobs/a"})
				if lock := next[*wire.LockReply](c); len(lock.Lock.Holders)+len(lock.Lock.Waiters) != 0 || lock.Lock.Held != 1 {
					t.Errorf("%+v", lock)
				}
				c.send(&wire.Get{ID: c.next(), Name: "nothing", Most: 10})
				if lock := next[*wire.LockReply](c); lock.Found {
					t.Errorf("%+v", lock)
				}

				c.send(&wire.List{ID: c.next(), Prefix: "jobs/", Most: 1})
				first := next[*wire.ListReply](c)
				c.send(&wire.List{ID: c.next(), Prefix: "jobs/", After: "jobs/a", Most: 1})
				second := next[*wire.ListReply](c)
				if len(first.Locks) != 1 || first.Locks[0].Name != "jobs/a" || !first.More || first.Locks[0].Queue != 1 ||
					len(second.Locks) != 1 || second.Locks[0].Name != "jobs/b" || second.More {
					t.Errorf("%+v, %+v", first, second)
				}

				c.send(&wire.GetSession{ID: c.next(), Life: wire.Life{ID: life.ID}})
				one := next[*wire.SessionReply](c)
				if len(one.Sessions) != 1 || one.Sessions[0].Life != life || one.Sessions[0].Grace != 3*time.Second {
					t.Errorf("%+v", one)
				}
				c.send(&wire.GetSession{ID: c.next(), Life: wire.Life{ID: life.ID, Index: 1 << 50}})
				if none := next[*wire.SessionReply](c); len(none.Sessions) != 0 {
					t.Errorf("%+v", none)
				}
				c.send(&wire.ListSessions{ID: c.next(), Most: 1})
				some := next[*wire.SessionReply](c)
				c.send(&wire.ListSessions{ID: c.next(), After: life.Index, Most: 5})
				rest := next[*wire.SessionReply](c)
				if len(some.Sessions) != 1 || some.Sessions[0].Life != life || !some.More || len(rest.Sessions) != 1 || rest.More {
					t.Errorf("%+v, %+v", some, rest)
				}

				c.send(&wire.Status{ID: c.next()})
				s := next[*wire.StatusReply](c)
				if s.Node != uint64(place+1) || s.Leader != 1 || s.Locks != 3 || s.Sessions != 2 || s.Commit != s.Index || s.Agent != "test/1" {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A linearizable read waits for what was answered before; a stale one tells how old it may be, and does not wait for a leader.
func TestStaleReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, other := w.connect(1), w.connect(0)
		life := other.open(1)
		stale := func() *wire.LockReply {
			t.Helper()
			c.send(&wire.Get{ID: c.next(), Stale: true, Name: "a", Most: 1})
			return next[*wire.LockReply](c)
		}
		if r := stale(); r.Age != wire.Forever || r.Found {
			t.Errorf("of a node that never asked: %+v", r)
		}
		synctest.Wait() // it has asked now
		time.Sleep(50 * time.Millisecond)
		if r := stale(); r.Age != 50*time.Millisecond {
			t.Errorf("%+v", r)
		}
		w.set(func() { w.nodes[1].held = true })
		other.want(other.acquire(life, 1, 0, "a"), wire.Granted)
		if r := stale(); r.Found {
			t.Errorf("%+v", r)
		}
		c.send(&wire.Get{ID: c.next(), Name: "a", Most: 1})
		c.quiet(time.Second)
		w.set(func() { w.nodes[1].held = false })
		if r := next[*wire.LockReply](c); !r.Found || r.Age != 0 {
			t.Errorf("%+v", r)
		}
		w.lead(-1)
		c.send(&wire.Get{ID: c.next(), Name: "a", Most: 1})
		if r := stale(); !r.Found || r.Age != time.Second { // when the read began that took a second
			t.Errorf("without a leader: %+v", r)
		}
		time.Sleep(time.Minute)
		next[*wire.Failure](c) // of the one that needs a leader
		if r := stale(); !r.Found || r.Age != time.Minute+time.Second {
			t.Errorf("without a leader: %+v", r)
		}
	})
}

// What does not fit a frame is left out, and counted.
func TestRepliesFitAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.connect(0)
		var lives []wire.Life
		for i := range 300 {
			c.send(&wire.Open{ID: c.next(), Session: wire.ID{byte(i), byte(i >> 8)}, TTL: time.Minute, Metadata: make([]byte, 4096)})
			lives = append(lives, wire.Life{ID: wire.ID{byte(i), byte(i >> 8)}, Index: next[*wire.Reply](c).Index})
		}
		for i := range 20 {
			m := c.acquire(lives[i], 1, 0, "a")
			m.Mode, m.Value, m.Metadata = wire.Shared, make([]byte, 64<<10), make([]byte, 4096)
			c.want(m, wire.Granted)
		}
		c.want(c.acquire(lives[50], 1, wire.Forever, "a"), wire.Queued)
		c.send(&wire.Get{ID: c.next(), Name: "a", Most: 1000})
		r := next[*wire.LockReply](c)
		if r.Lock.Held != 20 || r.Lock.Queue != 1 || len(r.Lock.Holders) < 14 || len(r.Lock.Holders) == 20 {
			t.Errorf("%d holders of %d, %d waiters", len(r.Lock.Holders), r.Lock.Held, r.Lock.Queue)
		}
		total, after := 0, uint64(0)
		for more, pieces := true, 0; more; pieces++ {
			c.send(&wire.ListSessions{ID: c.next(), After: after, Most: 1000})
			list := next[*wire.SessionReply](c)
			total += len(list.Sessions)
			after, more = list.Sessions[len(list.Sessions)-1].Life.Index, list.More
		}
		if total != len(lives) {
			t.Errorf("%d sessions were told of, want %d", total, len(lives))
		}
	})
}

package locktable_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// chaos draws commands of every kind over few names, sessions and tokens, so that they meet.
type chaos struct {
	rng   *rand.Rand
	clock time.Duration
	lives []session.Life
	seqs  map[session.Life]uint64
	token func() uint64
}

func newChaos(seed uint64, table func() *locktable.Table) *chaos {
	c := &chaos{rng: rand.New(rand.NewPCG(seed, 1)), seqs: make(map[session.Life]uint64)}
	c.token = func() uint64 { return table().Counter() - min(table().Counter(), c.rng.Uint64N(12)) }
	return c
}

func (c *chaos) pick(n int) int { return c.rng.IntN(n) }

func (c *chaos) names() []string {
	n := 1
	if c.pick(4) == 0 {
		n = 1 + c.pick(4)
	}
	var names []string
	for _, i := range c.rng.Perm(8)[:n] {
		names = append(names, fmt.Sprintf("n%d", i))
	}
	return names
}

func (c *chaos) id() session.ID { return session.ID{0: byte(1 + c.pick(6))} }

func (c *chaos) request() locktable.Request {
	l := c.lives[c.pick(len(c.lives))]
	if c.pick(8) > 0 {
		l = c.lives[max(0, len(c.lives)-1-c.pick(6))]
	}
	if c.pick(5) > 0 {
		c.seqs[l]++
	}
	q := locktable.Request{Session: l, Seq: max(c.seqs[l], 1)}
	if c.pick(2) == 0 {
		q.Acked = q.Seq - min(q.Seq, 1+c.rng.Uint64N(6))
	}
	for range c.pick(3) {
		q.Seen = append(q.Seen, q.Seq-min(q.Seq, c.rng.Uint64N(8)))
	}
	return q
}

func (c *chaos) acquire() locktable.Command {
	a := &locktable.Acquire{
		Request: c.request(), Names: c.names(), Mode: locktable.Exclusive, Owner: c.rng.Uint64N(4), Wait: locktable.Forever,
		Value: make([]byte, c.pick(20)),
	}
	switch c.pick(6) {
	case 0, 1:
		a.Mode = locktable.Shared
	case 2:
		a.Mode, a.Limit = locktable.Slot, 2
	}
	switch c.pick(3) {
	case 0:
		a.Wait = 0
	case 1:
		a.Wait = time.Duration(1+c.pick(10)) * time.Second
	}
	a.Delay = time.Duration(max(c.pick(10)-5, 0)) * time.Second
	a.Reentrant = len(a.Names) == 1 && c.pick(3) == 0
	if c.pick(4) == 0 {
		a.Reentrant, a.LeaseID, a.LeaseTTL = false, c.id(), time.Duration(1+c.pick(8))*time.Second
	}
	return a
}

func (c *chaos) command() locktable.Command {
	c.clock += time.Duration(c.rng.ExpFloat64() * float64(400*time.Millisecond))
	if len(c.lives) == 0 || c.pick(20) == 0 {
		return &locktable.Open{ID: c.id(), TTL: time.Duration(1+c.pick(20)) * time.Second}
	}
	name := fmt.Sprintf("n%d", c.pick(8))
	switch k := c.pick(100); {
	case k < 50:
		return c.acquire()
	case k < 70:
		return &locktable.Release{Request: c.request(), Name: name, Token: c.token()}
	case k < 80:
		q := c.request()
		return &locktable.Cancel{Request: q, Name: name, Target: q.Seq - min(q.Seq, c.rng.Uint64N(6))}
	case k < 83:
		return &locktable.SetValue{Request: c.request(), Name: name, Token: c.token(), LeaseID: c.id(), Value: make([]byte, c.pick(50))}
	case k < 87:
		return &locktable.RenewLease{Name: name, ID: c.id(), Token: c.token(), TTL: time.Duration(1+c.pick(9)) * time.Second}
	case k < 89:
		return &locktable.ReleaseLease{Name: name, ID: c.id(), Token: c.token()}
	case k < 92:
		return &locktable.TakeLease{Name: name, ID: c.id(), Token: c.token(), NewID: c.id(), TTL: time.Duration(1+c.pick(9)) * time.Second}
	case k < 94:
		return &locktable.Expire{Term: 1, Lives: []session.Life{c.request().Session, c.request().Session}}
	case k < 95:
		return &locktable.Close{Session: c.request().Session}
	case k < 99 || c.pick(20) > 0:
		return &locktable.Tick{Term: 1}
	}
	return &locktable.Incarnate{Incarnation: [16]byte(c.id()), Wait: time.Duration(c.pick(5)-1) * time.Second}
}

// next returns the bytes of the next entry.
func (c *chaos) next() []byte {
	data := locktable.Encode(c.command())
	locktable.SetStamp(data, c.clock)
	return data
}

// TestRebuiltTableGoesOnAlike runs random histories on two Tables, one of which is rebuilt from its records again and again: both
// must answer and do the same, entry by entry.
func TestRebuiltTableGoesOnAlike(t *testing.T) {
	for seed := range uint64(300) {
		live, rebuilt := locktable.NewTable(), locktable.NewTable()
		store := newStore()
		c := newChaos(seed, func() *locktable.Table { return live })
		for index := uint64(1); index <= 200; index++ {
			data := c.next()
			want, err := live.Apply(index, 1, data)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			got, err := rebuilt.Apply(index, 1, data)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("seed %d, entry %d (-live +rebuilt):\n%s", seed, index, diff)
			}
			for _, e := range want.Effects {
				if e.Kind == locktable.Opened {
					c.lives = append(c.lives, e.Session)
				}
			}
			checkLocks(t, live)
			store.cut(t, rebuilt)
			if c.pick(10) == 0 {
				rebuilt = store.load(t)
			}
			wantHash, _ := live.Hash()
			if gotHash, _ := rebuilt.Hash(); gotHash != wantHash {
				t.Fatalf("seed %d, entry %d: hash %s, rebuilt %s", seed, index, wantHash, gotHash)
			}
			holds, waits := live.Totals()
			if h, w := rebuilt.Totals(); h != holds || w != waits {
				t.Fatalf("seed %d, entry %d: %d holds and %d waits, rebuilt %d and %d", seed, index, holds, waits, h, w)
			}
		}
		store.check(t, rebuilt)
	}
}

// checkLocks: no two holders that exclude each other, and no lock that is free while its first waiter wants nothing else.
func checkLocks(t *testing.T, table *locktable.Table) {
	t.Helper()
	work := table.Work()
	_, embargo := table.Incarnation()
	for _, name := range table.Names("") {
		v, ok := table.Lock(name, 100)
		if !ok {
			t.Fatalf("%s is listed and does not exist", name)
		}
		for _, h := range v.Holders {
			if h.Mode == locktable.Exclusive && v.Held != 1 || (h.Mode == locktable.Slot) != (v.Limit > 0) {
				t.Fatalf("the holders of %s: %+v", name, v.Holders)
			}
			if got := table.CheckToken(name, h.Token).Validity == locktable.Valid; got != (h.Ended == locktable.NotEnded) {
				t.Fatalf("token %d of %s is valid: %t, and its hold %s", h.Token, name, got, h.Ended)
			}
		}
		if v.Limit > 0 && v.Held > int(v.Limit) {
			t.Fatalf("%s has %d holders", name, v.Held)
		}
		if v.Held == 0 && v.Queue > 0 && len(v.Waiters[0].Names) == 1 && !work.Left && work.Clock >= embargo {
			t.Fatalf("%s is free, and %+v waits", name, v.Waiters[0])
		}
	}
}

package front_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// A socket that is closed behind the request and before the answer: whoever repeats the request, over any node and as often as he likes,
// gets the answer of the first, and the lock is granted once.
func TestClosedBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		life := w.connect(0).open(1)
		tokens := map[uint64]bool{}
		const rounds = 100
		for i := range uint64(rounds) {
			name, seq := fmt.Sprintf("a/%d", i), i+1
			first := w.connect(int(i % 2))
			request := first.acquire(life, seq, 0, name)
			request.Request.Acked = seq - 1
			first.send(request)
			if i%3 == 0 {
				synctest.Wait() // the answer lies there unread
			}
			if err := first.conn.Close(); err != nil {
				t.Fatal(err)
			}
			var told []uint64
			for place := range 2 {
				again := w.connect(place)
				repeat := again.acquire(life, seq, 0, name)
				repeat.Request.Acked = seq - 1
				told = append(told, again.want(repeat, wire.Granted).Token)
				_ = again.conn.Close()
			}
			if told[0] != told[1] || tokens[told[0]] {
				t.Fatalf("%s: the repeats are told tokens %d, granted before: %v", name, told, tokens[told[0]])
			}
			tokens[told[0]] = true
		}
	})
}

// Requests that come again out of order, in the ids of other requests, and after a year: those not yet acknowledged are answered as at first,
// those acknowledged are refused, and nothing is done twice. A session that has ended meanwhile stays ended.
func TestRequestsOfAYearAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(0)
		life, ended := c.open(1), c.open(2)
		a := c.want(c.acquire(life, 1, 0, "a"), wire.Granted).Token
		c.want(c.release(life, 2, "a", a), wire.OK)
		b := c.want(c.acquire(life, 3, 0, "b"), wire.Granted).Token
		old := c.want(c.acquire(ended, 1, 0, "old"), wire.Granted).Token
		w.expire(ended)
		time.Sleep(365 * 24 * time.Hour)

		c = w.connect(1)
		for _, seq := range []uint64{3, 1, 2, 2, 1, 3} {
			switch c.id = 7; seq { // one id for all: it names a request only until that is answered
			case 1:
				if got := c.want(c.acquire(life, 1, 0, "a"), wire.Granted).Token; got != a {
					t.Errorf("the first request is told token %d a year later, not %d", got, a)
				}
			case 2:
				c.want(c.release(life, 2, "a", a), wire.OK)
			case 3:
				if got := c.want(c.acquire(life, 3, 0, "b"), wire.Granted).Token; got != b {
					t.Errorf("the third request is told token %d a year later, not %d", got, b)
				}
			}
		}
		other := c.open(3)
		c.want(c.acquire(other, 1, 0, "b"), wire.Held)
		again := c.want(c.acquire(other, 2, 0, "a"), wire.Granted).Token // it was released, and the repeats have not taken it
		if newest := max(a, b, old); again <= newest {
			t.Errorf("token %d after %d", again, newest)
		}
		acknowledged := c.acquire(life, 4, 0, "c")
		acknowledged.Request.Acked = 3
		c.want(acknowledged, wire.Granted)
		c.want(c.acquire(life, 1, 0, "a"), wire.StaleSeq)
		c.want(c.acquire(ended, 1, 0, "old"), wire.SessionUnknown)
	})
}

// Half of a frame, and then the end or the other half much later: what is not whole has no effect and is in nobody's way.
func TestHalfAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.connect(0)
		life := c.open(1)
		whole, err := wire.Append(nil, c.acquire(life, 1, 0, "half"))
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range []int{1, 4, 5, len(whole) / 2, len(whole) - 1} {
			gone := w.connect(0)
			gone.raw(whole[:cut])
			if err := gone.conn.Close(); err != nil {
				t.Fatal(err)
			}
			slow := w.connect(0)
			slow.raw(whole[:cut])
			time.Sleep(5 * time.Second)
			c.want(c.acquire(life, uint64(100+cut), 0, fmt.Sprint("other/", cut)), wire.Granted)
			w.nodes[0].freeOf(t, "half")
			if err := slow.conn.Close(); err != nil {
				t.Fatal(err)
			}
		}
		late := w.connect(0)
		late.raw(whole[:len(whole)/2])
		time.Sleep(5 * time.Second)
		late.raw(whole[len(whole)/2:])
		if r := next[*wire.Reply](late); r.Outcome.Code != wire.Granted {
			t.Errorf("a frame that came in two halves is answered %+v", r)
		}
	})
}

// freeOf requires that nobody holds the lock.
func (n *node) freeOf(t *testing.T, name string) {
	t.Helper()
	c := n.w.connect(n.place)
	c.send(&wire.Get{ID: c.next(), Name: name})
	if lock := next[*wire.LockReply](c); lock.Found {
		t.Errorf("%+v", lock)
	}
}

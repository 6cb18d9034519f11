package front_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

func (w *world) proposed(place int) int {
	return get(w, func() int { return len(w.nodes[place].data) })
}

// Commands that are waiting go to the leader together.
func TestForwardsAreBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		w := newWorld(t, 2, func(o *front.Options) { o.Events.Forwarded = func(n int) { sizes = append(sizes, n) } })
		c := w.connect(1)
		life := c.open(1)
		w.net.Cut("n1", "n2")
		// What fills the window of the cut connection stands still; the rest waits to be sent.
		for i := range 600 {
			m := c.acquire(life, uint64(i+1), 0, fmt.Sprint("a", i))
			m.Value = make([]byte, 1000)
			c.send(m)
		}
		synctest.Wait()
		w.net.Heal("n1", "n2")
		for range 600 {
			if r := next[*wire.Reply](c); r.Outcome.Code != wire.Granted {
				t.Fatalf("%+v", r)
			}
		}
		if sizes[0] != 1 || len(sizes) > 200 || w.proposed(0) != 601 {
			t.Errorf("batches of %v, %d proposed", sizes, w.proposed(0))
		}
	})
}

// A command is sent on at most once. When the link breaks, nobody knows what became of it, and the client repeats it; one that was
// not sent goes over the next link.
func TestA9ForwardedAtMostOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(1)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		m := c.acquire(life, 1, 0, "a")
		c.send(m)
		synctest.Wait()
		w.net.Reset("n1")
		f := c.failure()
		if f.Code != wire.Interrupted || f.Known || f.Text == "" {
			t.Errorf("%+v", f)
		}
		time.Sleep(time.Second)
		if n := w.proposed(0); n != 2 {
			t.Errorf("the leader was given %d commands", n)
		}
		c.quiet(time.Second) // nothing more comes of it
		w.set(func() { w.nodes[0].stuck = false })
		synctest.Wait()
		m.ID = c.next()
		c.want(m, wire.Granted)
		if n := w.proposed(0); n != 3 {
			t.Errorf("the leader was given %d commands", n)
		}
	})
}

// While there is no leader a command waits, for some time; then it is known to have had no effect.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(1)
		life := c.open(1)
		w.lead(-1)
		began := time.Now()
		c.send(c.acquire(life, 1, 0, "a"))
		f := c.failure()
		if took := time.Since(began); f.Code != wire.NoLeader || !f.Known || f.Text == "" || took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("after %v: %+v", took, f)
		}
		c.send(&wire.Get{ID: c.next(), Name: "a", Most: 1})
		if f := c.failure(); f.Code != wire.NoLeader || !f.Known || f.Text == "" {
			t.Errorf("%+v", f)
		}
		c.send(c.acquire(life, 2, 0, "b"))
		time.Sleep(time.Second)
		for place := range 2 { // both ways: over a link, and here
			w.lead(place)
			if place == 0 {
				if o := c.reply(); o.Code != wire.Granted {
					t.Errorf("%+v", o)
				}
			}
			c.want(c.acquire(life, uint64(10+place), 0, fmt.Sprint("c", place)), wire.Granted)
		}
	})
}

// A leader that is none any more, or hands over, or is too busy, says that the command had no effect.
func TestRefusals(t *testing.T) {
	tests := []struct {
		err   error
		code  wire.Code
		known bool
	}{
		{raft.ErrBusy, wire.Overloaded, true},
		{raft.ErrDiskFull, wire.DiskFull, true},
		{raft.ErrTooLarge, wire.TooLarge, true},
		{raft.ErrClosed, wire.ShuttingDown, true},
		{fmt.Errorf("%w: term over", raft.ErrUnknown), wire.Interrupted, false},
		{raft.ErrTransferring, wire.NoLeader, true},
		{&raft.NotLeaderError{}, wire.NoLeader, true},
		{errors.New("what nobody has thought of"), wire.Interrupted, false},
	}
	for place := range 2 {
		for _, test := range tests {
			t.Run(fmt.Sprintf("node %d: %v", place+1, test.err), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 2)
					c := w.connect(place)
					life := c.open(1)
					w.set(func() { w.nodes[0].refuse = test.err })
					c.send(c.acquire(life, 1, 0, "a"))
					f := c.failure()
					if f.Code != test.code || f.Known != test.known || f.Text == "" {
						t.Errorf("%+v", f)
					}
				})
			})
		}
	}
}

// A command that the leader did not take as it hands over is offered again, before its client is told.
func TestCommandsSurviveATransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(0)
		life := c.open(1)
		w.set(func() { w.nodes[0].refuse = raft.ErrTransferring })
		c.send(c.acquire(life, 1, 0, "a"))
		time.Sleep(200 * time.Millisecond)
		w.lead(1)
		if o := c.reply(); o.Code != wire.Granted {
			t.Errorf("%+v", o)
		}
		if n := w.proposed(1); n != 1 {
			t.Errorf("the new leader was given %d commands", n)
		}
	})
}

// A link to a node that led answers what it can, for a moment, and is closed: a leader that was stopped never answers, and its client is to
// repeat the command as soon as there is another one.
func TestFormerLeaderStillAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		c := w.connect(2)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		m := c.acquire(life, 1, 0, "a")
		c.send(m)
		synctest.Wait()
		w.lead(1)
		elected := time.Now()
		c.want(c.acquire(life, 2, 0, "b"), wire.Granted)
		c.quiet(30 * time.Millisecond)
		c.id = m.ID
		if f := c.failure(); f.Code != wire.Interrupted || f.Known {
			t.Errorf("%+v", f)
		}
		if took := time.Since(elected); took > 100*time.Millisecond {
			t.Errorf("the client is told %v after the election", took)
		}
		w.lead(0)
		w.set(func() { w.nodes[0].stuck = false })
		c.want(c.acquire(life, 3, 0, "c"), wire.Granted)
	})
}

// node speaks to a leader as another node does.
func (w *world) asNode() *client {
	w.t.Helper()
	c := w.dial(0)
	h := hello()
	h.Role, h.Cluster, h.Node = wire.RoleNode, clusterID, 2
	c.send(h)
	next[*wire.Welcome](c)
	return c
}

// Bytes that are no command, and what only the leader decides, must not enter the log.
func TestForwardedBytesAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.asNode()
		life := session.Life{ID: session.ID{1}, Index: 1}
		later := locktable.Encode(&locktable.Close{Session: life})
		later[0] = 99
		c.send(&wire.Forward{Batch: 5, Commands: []wire.Command{
			{Data: nil},
			{Data: []byte{1, 2, 3}},
			{Data: later},
			{Data: append(locktable.Encode(&locktable.Close{Session: life}), 0)},
			{Data: locktable.Encode(&locktable.Expire{Term: 1, Lives: []session.Life{life}})},
			{Data: locktable.Encode(&locktable.Tick{Term: 1})},
			{Data: locktable.Encode(&locktable.Incarnate{Incarnation: [16]byte{1}})},
			{Data: locktable.Encode(&locktable.Close{Session: life})},
		}})
		codes := map[uint64]wire.Code{}
		for len(codes) < 8 {
			m := next[*wire.Forwarded](c)
			for _, r := range m.Results {
				codes[r.Place] = r.Outcome.Code
				if r.Outcome.Code.Failed() && !r.Known || m.Batch != 5 {
					t.Errorf("%+v", r)
				}
			}
		}
		want := map[uint64]wire.Code{
			0: wire.Malformed, 1: wire.Malformed, 2: wire.Malformed, 3: wire.Malformed, 4: wire.Unsupported, 5: wire.Unsupported,
			6: wire.Unsupported, 7: wire.SessionUnknown,
		}
		if fmt.Sprint(codes) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", codes, want)
		}
		if n := w.proposed(0); n != 1 {
			t.Errorf("%d commands were proposed", n)
		}
	})
}

// A node that is not the leader sends nothing on: it would be sent twice.
func TestForwardsAreNotSentOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.asNode()
		w.lead(1)
		c.send(&wire.Forward{Batch: 1, Commands: []wire.Command{{Data: locktable.Encode(&locktable.Open{ID: session.ID{1}, TTL: time.Second})}}})
		m := next[*wire.Forwarded](c)
		if len(m.Results) != 1 || m.Results[0].Outcome.Code != wire.NoLeader || !m.Results[0].Known || w.proposed(1) != 0 {
			t.Errorf("%+v", m)
		}
	})
}

// Whatever is wrong with what a node sends, its commands would stay unanswered: the connection ends.
func TestBadNodes(t *testing.T) {
	tests := []struct {
		name string
		send func(c *client)
		code wire.Code
	}{
		{"malformed", func(c *client) { c.raw(frame(wire.TypeForward, 0xc0)) }, wire.Malformed},
		{"a request of a client", func(c *client) { c.send(&wire.Status{ID: 1}) }, wire.Unsupported},
		{"a KeepAlive of a client", func(c *client) { c.send(&wire.KeepAlive{}) }, wire.Unsupported},
		{"a second Hello", func(c *client) { c.send(hello()) }, wire.OutOfStep},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, 2).asNode()
				test.send(c)
				c.over(test.code)
			})
		})
	}
}

// A node of another cluster, or another node than was meant, is no leader.
func TestLinksKnowWhomTheyMean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, func(o *front.Options) {
			if o.Peer == peerID(1) { // it is told a wrong address of the leader
				o.Nodes = func() []wire.Node { return []wire.Node{{ID: 1, Address: address(1)}} }
			}
		})
		c := w.connect(1)
		c.send(&wire.Open{ID: c.next(), Session: wire.ID{1}, TTL: time.Second})
		if f := c.failure(); f.Code != wire.NoLeader || !f.Known {
			t.Errorf("%+v", f)
		}
	})
}

package front_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// A KeepAlive is answered behind every event of its session up to its read index, and by a node that has applied that.
func TestEventsComeBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, other := w.connect(1), w.connect(0)
		life, stranger := c.open(1), other.open(2)
		held := other.want(other.acquire(stranger, 1, 0, "a"), wire.Granted)
		c.want(c.acquire(life, 1, wire.Forever, "a"), wire.Queued)

		w.set(func() { w.nodes[1].held = true })
		other.want(other.release(stranger, 2, "a", held.Token), wire.OK) // which grants it
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		c.quiet(time.Second)
		w.set(func() { w.nodes[1].held = false })
		over := next[*wire.WaitOver](c)
		if over.Life != life || over.Seq != 1 || over.Outcome.Code != wire.Granted || over.Outcome.Token <= held.Token {
			t.Errorf("%+v", over)
		}
		a := next[*wire.KeepAliveAnswer](c)
		if a.Life != life || a.Number != 1 || a.Verdict != wire.Renewed || a.Index < over.Index {
			t.Errorf("%+v", a)
		}
	})
}

// Events go to every connection on which the session was named, by an Open, a KeepAlive or a command, and to no other.
func TestEventsGoWhereTheSessionWasNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		opener, beater, commander, stranger := w.connect(0), w.connect(1), w.connect(1), w.connect(1)
		life := opener.open(1)
		beater.send(&wire.KeepAlive{Life: life, Number: 1})
		next[*wire.KeepAliveAnswer](beater)
		commander.want(commander.acquire(life, 1, 0, "a"), wire.Granted)
		w.expire(life)
		for i, c := range []*client{opener, beater, commander} {
			if e := next[*wire.SessionEnded](c); e.Life != life || e.How != 3 || e.Index == 0 {
				t.Errorf("connection %d: %+v", i, e)
			}
		}
		stranger.quiet(time.Second)
	})
}

// A connection listens from before its command is passed on: the wait may be over before its node has applied that it began.
func TestNoEventIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, other := w.connect(1), w.connect(0)
		life, stranger := c.open(1), other.open(2)
		held := other.want(other.acquire(stranger, 1, 0, "a"), wire.Granted)
		w.set(func() { w.nodes[1].held = true })
		c.want(c.acquire(life, 1, wire.Forever, "a"), wire.Queued)
		other.want(other.release(stranger, 2, "a", held.Token), wire.OK)
		w.set(func() { w.nodes[1].held = false })
		if over := next[*wire.WaitOver](c); over.Outcome.Code != wire.Granted || over.Seq != 1 {
			t.Errorf("%+v", over)
		}
		// A repeat elsewhere is answered with the end of the wait.
		again := w.connect(0)
		m := again.acquire(life, 1, wire.Forever, "a")
		again.want(m, wire.Granted)
	})
}

// Answers to KeepAlives and events overtake answers to requests, and no one holds them up.
func TestUrgentOvertakesBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.connect(0)
		life := c.open(1)
		m := c.acquire(life, 1, 0, "a")
		m.Value = make([]byte, 60<<10)
		c.want(m, wire.Granted)
		w.set(func() { w.nodes[0].mute = true })
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		synctest.Wait()
		const asked = 8
		for range asked {
			c.send(&wire.Get{ID: c.next(), Stale: true, Name: "a", Most: 1})
		}
		synctest.Wait() // one is on its way, one is being written, and the next ones wait
		w.nodes[0].answer(w.took()[0])
		synctest.Wait()
		w.expire(life)
		synctest.Wait()
		var got []string
		for range asked + 2 {
			got = append(got, c.read().Type().String())
		}
		i := slices.Index(got, "KeepAliveAnswer")
		if i < 0 || i > 2 || got[i+1] != "SessionEnded" {
			t.Errorf("%v", got)
		}
	})
}

// What a node cannot tell any more it does not leave out silently.
func TestInstall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, bystander, other := w.connect(1), w.connect(1), w.connect(0)
		life, stranger := c.open(1), other.open(2)
		held := other.want(other.acquire(stranger, 1, 0, "a"), wire.Granted)
		c.want(c.acquire(life, 1, wire.Forever, "a"), wire.Queued)
		w.set(func() { w.nodes[1].held = true })
		other.want(other.release(stranger, 2, "a", held.Token), wire.OK)
		w.nodes[1].install(w.nodes[0])
		c.over(wire.OutOfStep)

		c = w.connect(1)
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		if a := next[*wire.KeepAliveAnswer](c); a.Verdict != wire.Renewed {
			t.Errorf("%+v", a)
		}
		w.set(func() { w.nodes[1].held = false })
		c.want(c.acquire(life, 1, wire.Forever, "a"), wire.Granted)
		bystander.send(&wire.Get{ID: bystander.next(), Name: "a", Most: 1})
		if r := next[*wire.LockReply](bystander); !r.Found || r.Lock.Held != 1 {
			t.Errorf("%+v", r)
		}
	})
}

func TestNodesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(1)
		w.lead(-1)
		if m, ok := c.read().(*wire.Nodes); !ok || m.Leader != 0 || len(m.Nodes) != 3 {
			t.Errorf("%+v", m)
		}
		w.lead(1)
		if m, ok := c.read().(*wire.Nodes); !ok || m.Leader != 2 {
			t.Errorf("%+v", m)
		}
		w.nodes[1].front.Announce()
		if m, ok := c.read().(*wire.Nodes); !ok || m.Leader != 2 {
			t.Errorf("%+v", m)
		}
	})
}

// Stopping finishes what is under way, refuses the rest, and says goodbye.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c, idle := w.connect(0), w.connect(0)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		m := c.acquire(life, 1, 0, "a")
		c.send(m)
		synctest.Wait()
		drained := make(chan error)
		go func() { drained <- w.nodes[0].front.Drain(t.Context()) }()
		synctest.Wait()
		refused := c.acquire(life, 2, 0, "b")
		c.send(refused)
		if f := c.failure(); f.Code != wire.ShuttingDown || !f.Known || f.Text == "" {
			t.Errorf("%+v", f)
		}
		if _, err := w.net.Host("client").Dial(t.Context(), address(0)); err == nil {
			t.Error("a new connection was accepted")
		}
		idle.quiet(time.Second)
		w.set(func() { w.nodes[0].stuck = false })
		c.id = m.ID
		if o := c.reply(); o.Code != wire.Granted {
			t.Errorf("%+v", o)
		}
		c.over(wire.ShuttingDown)
		idle.over(wire.ShuttingDown)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// What other nodes have sent is finished too.
func TestDrainOfALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.asNode()
		open := func(batch uint64) *wire.Forward {
			return &wire.Forward{Batch: batch, Commands: []wire.Command{{Data: locktable.Encode(&locktable.Open{ID: session.ID{1}, TTL: time.Second})}}}
		}
		w.set(func() { w.nodes[0].stuck = true })
		c.send(open(1))
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- w.nodes[0].front.Drain(t.Context()) }()
		synctest.Wait()
		c.send(open(2))
		if m := next[*wire.Forwarded](c); m.Batch != 2 || m.Results[0].Outcome.Code != wire.ShuttingDown || !m.Results[0].Known {
			t.Errorf("%+v", m)
		}
		w.set(func() { w.nodes[0].stuck = false })
		if m := next[*wire.Forwarded](c); m.Batch != 1 || m.Results[0].Outcome.Code != wire.OK {
			t.Errorf("%+v", m)
		}
		c.over(wire.ShuttingDown)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// A command that does not end holds up nobody's goodbye for longer than the time there is.
func TestDrainHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.connect(0)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		c.send(c.acquire(life, 1, 0, "a"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := w.nodes[0].front.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		c.over(wire.ShuttingDown)
	})
}

// A Front that is stopped leaves nothing behind, whatever its peers do.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, silent := w.connect(1), w.dial(1)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		c.send(c.acquire(life, 1, 0, "a"), &wire.KeepAlive{Life: life, Number: 1})
		synctest.Wait()
		if err := w.nodes[1].end(); err != nil {
			t.Error(err)
		}
		if m := silent.read(); m != nil {
			t.Errorf("%+v", m)
		}
		if err := w.nodes[0].end(); err != nil {
			t.Error(err)
		}
	})
}

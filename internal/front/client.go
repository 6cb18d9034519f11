package front

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// client is the connection of a client.
type client struct {
	*stream
	f        *Front
	inFlight atomic.Int32

	topics map[topic]uint64 // what was named here, with the index of a life if it is known; guarded by the audience
	leases int              // of topics; guarded by the audience
	gone   bool             // guarded by the audience

	reads, views *turns // made by the reader when they are first needed
}

var errGoodbye = errors.New("front: the peer said goodbye")

// serveClient serves a client until its connection is over.
func (f *Front) serveClient(ctx context.Context, s *stream, hello *wire.Hello) error {
	c := &client{stream: s, f: f}
	clock := f.clock()
	f.mu.Lock()
	err := s.push(f.welcoming(hello, clock), true)
	f.clients[c] = struct{}{} // from here on it is told of changes
	f.mu.Unlock()
	defer c.close()
	for err == nil {
		var m wire.Message
		if m, err = s.read(); err == nil {
			err = c.handle(ctx, m)
		} else {
			err = c.wrong(err)
		}
	}
	return err
}

// close forgets the connection, and reports the sessions that want that to count.
func (c *client) close() {
	c.f.mu.Lock()
	delete(c.f.clients, c)
	c.f.mu.Unlock()
	lives := c.f.audience.close(c)
	if len(lives) == 0 {
		return
	}
	var parted []session.Life
	c.f.o.State.View(func(t *locktable.Table) {
		for _, life := range lives {
			if terms, _, ok := t.Session(life); !ok || terms.Grace > 0 { // what is not applied here yet may have one
				parted = append(parted, life)
			}
		}
	})
	c.f.beats.part(parted)
}

// wrong answers a frame that was wrong in itself; any other error ends the connection.
func (c *client) wrong(err error) error {
	var body *wire.BodyError
	if !errors.As(err, &body) {
		return err
	}
	c.f.malformed(body.Type)
	switch {
	case betweenNodes(body.Type):
		return foreign(body.Type)
	case body.IsRequest():
		c.refuse(body.Type, body.ID, refusal(wire.Malformed, 0, err.Error()))
	}
	return nil
}

// betweenNodes reports whether a type is of those that nodes send each other.
func betweenNodes(t wire.Type) bool { return t >= wire.TypeDigest && t < wire.TypeReply }

func foreign(t wire.Type) error {
	return &parting{wire.Unsupported, fmt.Sprintf("%s comes from nodes only", t)}
}

// handle does what a message asks for. An error ends the connection.
func (c *client) handle(ctx context.Context, m wire.Message) error {
	switch m := m.(type) {
	case *wire.KeepAlive:
		if c.f.audience.join(c, topic{session: m.Life.ID}, m.Life.Index) {
			c.f.beats.take(c, m)
		}
		return nil
	case *wire.Hello:
		return &parting{wire.OutOfStep, "a second Hello"}
	case *wire.Goodbye:
		return errGoodbye
	case *wire.Unknown:
		if m.IsRequest() {
			c.refuse(m.Kind, m.ID, refusal(wire.Unsupported, 0, fmt.Sprintf("this node does not know type %s", m.Kind)))
			return nil
		}
	}
	if betweenNodes(m.Type()) {
		return foreign(m.Type())
	}
	if o, ok := orderOf(m); ok {
		c.order(ctx, m.Type(), o)
	} else if q, ok := queryOf(m); ok {
		c.query(ctx, q)
	}
	return nil // what a client does not send is passed over, as what is not known
}

// admit counts a request among those under way, or says why it is refused.
func (c *client) admit() *verdict {
	if c.f.draining.Load() {
		return refusal(wire.ShuttingDown, 0, "the node is shutting down")
	}
	if int(c.inFlight.Add(1)) > c.f.o.Limits.InFlight {
		c.inFlight.Add(-1)
		return refusal(wire.Overloaded, patience, fmt.Sprintf("%d requests of this connection wait for an answer", c.f.o.Limits.InFlight))
	}
	c.f.busy.Add(1)
	return nil
}

// leaves counts a request as answered, so that the client may send another one.
func (c *client) leaves(t wire.Type, code wire.Code, name string, arrived time.Time) {
	c.inFlight.Add(-1)
	if c.f.o.Events.Request != nil {
		c.f.o.Events.Request(Request{Type: t, Code: code, Name: name, Took: time.Since(arrived)})
	}
}

// answered counts a request as over, behind its answer: Drain closes the connection when there are none.
func (f *Front) answered() {
	f.busy.Add(-1)
	f.calm()
}

// refuse answers a request that was not admitted.
func (c *client) refuse(t wire.Type, id uint64, v *verdict) {
	if c.f.o.Events.Request != nil {
		c.f.o.Events.Request(Request{Type: t, Code: v.outcome.Code})
	}
	c.send(v.failure(id))
}

// order passes a command on, after its session was named: whatever it brings about is told.
func (c *client) order(ctx context.Context, t wire.Type, o order) {
	if v := c.admit(); v != nil {
		c.refuse(t, o.id, v)
		return
	}
	cmd := &command{asker: c, order: o, kind: t, arrived: time.Now()}
	cmd.entry.Data = locktable.Encode(o.command)
	cmd.order.command = nil
	c.f.begin(ctx, cmd)
	if v := c.f.accepts(cmd); v != nil {
		c.f.finish(cmd, v)
		return
	}
	if o.topic != (topic{}) && !c.f.audience.join(c, o.topic, o.index) && o.topic.token == 0 {
		c.f.finish(cmd, refusal(wire.Overloaded, patience, fmt.Sprintf("this connection has named %d sessions", c.f.o.Limits.Lives)))
		return
	}
	c.f.routes.submit(cmd)
}

func (c *client) front() *Front { return c.f }

// answer implements asker. What the answer names is listened for before it is sent.
func (c *client) answer(cmd *command, v *verdict) {
	c.leaves(cmd.kind, v.outcome.Code, cmd.order.name, cmd.arrived)
	var m wire.Message
	if v.outcome.Code.Failed() {
		m = v.failure(cmd.order.id)
	} else {
		c.hear(cmd, v)
		m = &wire.Reply{ID: cmd.order.id, Index: v.index, Clock: v.clock, Outcome: v.outcome}
	}
	c.send(m)
	c.f.answered()
}

// hear begins, or ends, to listen for what an outcome names.
func (c *client) hear(cmd *command, v *verdict) {
	switch {
	case v.outcome.Code == wire.SessionUnknown:
		c.f.audience.leave(c, cmd.order.topic)
	case cmd.kind == wire.TypeOpen && v.outcome.Code == wire.OK:
		c.f.audience.join(c, cmd.order.topic, v.index)
	case cmd.kind == wire.TypeReleaseLease || cmd.kind == wire.TypeRenewLease && v.outcome.Code == wire.Gone:
		c.f.audience.leave(c, cmd.order.topic)
	case v.outcome.Code == wire.Granted && v.outcome.Deadline != 0:
		c.f.audience.join(c, topic{token: v.outcome.Token}, 0)
	}
}

// tell queues an event of a session. Events and answers to KeepAlives share the urgent queue, so they keep their order.
func (c *client) tell(event wire.Message) {
	if err := c.push(event, true); err != nil {
		c.f.o.Logger.Error("an event does not fit a message", "type", event.Type().String(), "error", err)
	}
}

// send queues an answer.
func (c *client) send(m wire.Message) {
	if err := c.push(m, false); err != nil {
		c.f.o.Logger.Error("an answer does not fit a message", "type", m.Type().String(), "error", err)
	}
}

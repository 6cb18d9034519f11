package lockd_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// raw is a connection that speaks the protocol itself, one request after another.
type raw struct {
	t       testing.TB
	conn    net.Conn
	r       *wire.Reader
	w       *wire.Writer
	id      uint64
	pushed  []wire.Message // what came and was no answer
	welcome *wire.Welcome
}

func newRaw(t testing.TB, conn net.Conn) *raw {
	return &raw{t: t, conn: conn, r: wire.NewReader(conn, wire.FrameMax), w: wire.NewWriter(conn)}
}

// hello greets the node.
func (c *raw) hello() error {
	hello := &wire.Hello{Magic: wire.Magic, VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleClient, Agent: "test"}
	if err := c.send(hello); err != nil {
		return err
	}
	m, err := c.read(10 * time.Second)
	if err != nil {
		return err
	}
	welcome, ok := m.(*wire.Welcome)
	if !ok {
		return fmt.Errorf("no welcome but %+v", m)
	}
	c.welcome = welcome
	return nil
}

// connect greets the node at an address, and closes the connection when the test ends.
func connect(t testing.TB, dial func(ctx context.Context, address string) (net.Conn, error), address string) *raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	conn, err := dial(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := newRaw(t, conn)
	if err := c.hello(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *raw) send(m wire.Message) error {
	if err := c.w.Write(m); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *raw) read(within time.Duration) (wire.Message, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	return c.r.Read()
}

// ask sends a request and returns its answer: a *wire.Reply, a *wire.Failure or a reading's answer.
func (c *raw) ask(request func(id uint64) wire.Message) (wire.Message, error) {
	c.id++
	if err := c.send(request(c.id)); err != nil {
		return nil, err
	}
	for {
		m, err := c.read(20 * time.Second)
		if err != nil {
			return nil, err
		}
		var id uint64
		switch m := m.(type) {
		case *wire.Reply:
			id = m.ID
		case *wire.Failure:
			id = m.ID
		case *wire.LockReply:
			id = m.ID
		}
		if id == c.id {
			return m, nil
		}
		c.pushed = append(c.pushed, m)
	}
}

// command wants the log's answer.
func (c *raw) command(request func(id uint64) wire.Message) *wire.Reply {
	c.t.Helper()
	m, err := c.ask(request)
	if err != nil {
		c.t.Fatal(err)
	}
	reply, ok := m.(*wire.Reply)
	if !ok {
		c.t.Fatalf("the answer is %+v, want a Reply", m)
	}
	return reply
}

func (c *raw) open(n uint64, ttl time.Duration) wire.Life {
	c.t.Helper()
	var id wire.ID
	binary.BigEndian.PutUint64(id[:], n)
	reply := c.command(func(i uint64) wire.Message { return &wire.Open{ID: i, Session: id, TTL: ttl} })
	if reply.Outcome.Code != wire.OK {
		c.t.Fatalf("Open: %v", reply.Outcome.Code)
	}
	return wire.Life{ID: id, Index: reply.Index}
}

func (c *raw) acquire(life wire.Life, seq uint64, name string, wait time.Duration) wire.Outcome {
	c.t.Helper()
	return c.command(func(i uint64) wire.Message {
		return &wire.Acquire{
			ID: i, Request: wire.Request{Life: life, Seq: seq, Acked: seq - 1}, Names: []string{name}, Mode: wire.Exclusive,
			Wait: wait, Owner: seq,
		}
	}).Outcome
}

func (c *raw) release(life wire.Life, seq uint64, name string, token uint64) wire.Code {
	c.t.Helper()
	return c.command(func(i uint64) wire.Message {
		return &wire.Release{ID: i, Request: wire.Request{Life: life, Seq: seq, Acked: seq - 1}, Name: name, Token: token}
	}).Outcome.Code
}

func (c *raw) get(name string) *wire.LockReply {
	c.t.Helper()
	m, err := c.ask(func(i uint64) wire.Message { return &wire.Get{ID: i, Name: name, Most: 10} })
	if err != nil {
		c.t.Fatal(err)
	}
	reply, ok := m.(*wire.LockReply)
	if !ok {
		c.t.Fatalf("the answer to Get is %+v", m)
	}
	return reply
}

// push returns the next push that is wanted, which may have come already.
func (c *raw) push(within time.Duration, wanted func(wire.Message) bool) wire.Message {
	c.t.Helper()
	for _, m := range c.pushed {
		if wanted(m) {
			return m
		}
	}
	for end := time.Now().Add(within); time.Now().Before(end); {
		m, err := c.read(time.Until(end))
		if err != nil {
			c.t.Fatal(err)
		}
		if wanted(m) {
			return m
		}
		c.pushed = append(c.pushed, m)
	}
	c.t.Fatalf("the push did not come within %v", within)
	return nil
}

// keepAlive renews a life over a connection that did not before, and returns the answer.
func (c *raw) keepAlive(life wire.Life) *wire.KeepAliveAnswer {
	c.t.Helper()
	const number = 1
	if err := c.send(&wire.KeepAlive{Life: life, Number: number}); err != nil {
		c.t.Fatal(err)
	}
	m := c.push(10*time.Second, func(m wire.Message) bool {
		a, ok := m.(*wire.KeepAliveAnswer)
		return ok && a.Life == life && a.Number == number
	})
	answer, _ := m.(*wire.KeepAliveAnswer)
	return answer
}

// renews sends KeepAlives of a life until one is answered: what a node has sent on to a leader that is gone is lost.
func (c *raw) renews(life wire.Life, every time.Duration) {
	c.t.Helper()
	for number := uint64(1); number < 100; number++ {
		if err := c.send(&wire.KeepAlive{Life: life, Number: number}); err != nil {
			c.t.Fatal(err)
		}
		for end := time.Now().Add(every); time.Now().Before(end); {
			m, err := c.read(time.Until(end))
			if answer, ok := m.(*wire.KeepAliveAnswer); ok && answer.Verdict == 1 {
				return
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Fatal(err)
			}
		}
	}
	c.t.Fatal("no KeepAlive is answered")
}

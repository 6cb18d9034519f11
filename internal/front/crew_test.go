package front_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
)

// overSockets runs a node that clients reach over real sockets, which can be full.
func overSockets(t *testing.T) (connect func() *client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	newWorld(t, 1, func(o *front.Options) { o.Listener = l })
	return func() *client {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c := &client{t: t, conn: conn, in: wire.NewReader(conn, wire.FrameMax), out: wire.NewWriter(conn)}
		c.send(hello())
		next[*wire.Welcome](c)
		return c
	}
}

// Clients whose sockets are full hold up nobody else's answers, although the same goroutines write them; and they get all that is
// theirs when they read again.
func TestFullSocketsHoldUpNobody(t *testing.T) {
	connect := overSockets(t)
	const lazy, asked = 2, 250
	holder := connect()
	life := holder.open(1)
	m := holder.acquire(life, 1, 0, "large")
	m.Value = make([]byte, 60<<10)
	holder.want(m, wire.Granted)
	idle := make([]*client, lazy)
	var sending sync.WaitGroup
	for i := range idle {
		c := connect()
		idle[i] = c
		sending.Go(func() {
			for id := range uint64(asked) {
				c.send(&wire.Get{ID: id, Stale: true, Name: "large", Most: 1})
			}
		})
	}
	sending.Wait() // 15 MB are asked for by each: more than a socket takes
	for i := range 200 {
		name := string(rune('a' + i%26))
		o := holder.want(holder.acquire(life, uint64(2*i+2), 0, name), wire.Granted)
		holder.want(holder.release(life, uint64(2*i+3), name, o.Token), wire.OK)
	}
	for _, c := range idle {
		for id := range uint64(asked) {
			if r := next[*wire.LockReply](c); r.ID != id || len(r.Lock.Holders) != 1 || len(r.Lock.Holders[0].Value) != 60<<10 {
				t.Fatalf("answer %d is to %d, with %d holders", id, r.ID, len(r.Lock.Holders))
			}
		}
	}
}

// A client that has gone while it is answered harms nobody.
func TestBrokenSockets(t *testing.T) {
	connect := overSockets(t)
	c := connect()
	life := c.open(1)
	for i := range uint64(50) {
		gone := connect()
		other := gone.open(byte(i + 2))
		for seq := range uint64(20) {
			gone.send(gone.acquire(other, seq+1, time.Minute, "one"))
		}
		socket, ok := gone.conn.(*net.TCPConn)
		if !ok {
			t.Fatalf("%T is no socket", gone.conn)
		}
		if err := socket.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = socket.Close() // a reset, with answers on their way
		o := c.want(c.acquire(life, 2*i+1, 0, "own"), wire.Granted)
		c.want(c.release(life, 2*i+2, "own", o.Token), wire.OK)
	}
}

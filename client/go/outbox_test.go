package client

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/lockd/lockd/internal/wire"
)

// narrow is a connection with little room, that calls during in the midst of a write.
type narrow struct {
	net.Conn
	room   int
	during func()
	sent   bytes.Buffer
}

func (c *narrow) WritePrompt(b []byte) (int, error) {
	if f := c.during; f != nil {
		c.during = nil
		f()
	}
	n := min(len(b), c.room)
	c.room -= n
	return c.sent.Write(b[:n])
}

func status(t *testing.T, id uint64) (wire.Message, []byte) {
	t.Helper()
	m := &wire.Status{ID: id}
	b, err := wire.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

// TestOutboxPrompt sends what is put without the writer: also what is put while somebody writes.
func TestOutboxPrompt(t *testing.T) {
	o, conn := newOutbox(), &narrow{room: 1 << 20}
	o.quick = conn
	first, a := status(t, 1)
	second, b := status(t, 2)
	conn.during = func() {
		if err := o.put(second); err != nil {
			t.Error(err)
		}
		o.flush(false) // leaves it to who writes
		if conn.sent.Len() > 0 {
			t.Errorf("sent %x within another write", conn.sent.Bytes())
		}
	}
	if err := o.put(first); err != nil {
		t.Fatal(err)
	}
	o.flush(false)
	if want := append(a, b...); !bytes.Equal(conn.sent.Bytes(), want) {
		t.Errorf("sent %x, not %x", conn.sent.Bytes(), want)
	}
	if len(o.wake) > 0 {
		t.Error("the writer was woken, for nothing")
	}
}

// TestOutboxWithoutRoom leaves to the writer what the connection has no room for: the rest of a frame goes before all others.
func TestOutboxWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o, conn := newOutbox(), &narrow{room: 3}
		o.quick = conn
		done := make(chan struct{})
		var all sync.WaitGroup
		first, a := status(t, 1)
		if err := o.put(first); err != nil {
			t.Fatal(err)
		}
		o.flush(false)
		urgent := &wire.KeepAlive{Number: 7}
		if err := o.put(urgent); err != nil {
			t.Fatal(err)
		}
		o.flush(false)
		all.Go(func() { _ = o.write(near, done) })
		got := wire.NewReader(io.MultiReader(bytes.NewReader(conn.sent.Bytes()), far), wire.FrameMax)
		for _, want := range []wire.Type{wire.TypeStatus, wire.TypeKeepAlive} {
			m, err := got.Read()
			if err != nil || m.Type() != want {
				t.Errorf("read %v, %v, not %v", m, err, want)
			}
		}
		if n := conn.sent.Len(); n != 3 || len(a) <= 3 {
			t.Errorf("%d bytes went without the writer", n)
		}
		close(done)
		all.Wait()
	})
}

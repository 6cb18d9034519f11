package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one end of a connection.
type conn struct {
	net           *Network
	local, remote Addr
	in, out       *pipe
	closed        chan struct{}
	once          sync.Once
	reading       deadline
	writing       deadline
}

func newConn(n *Network, local, remote Addr, in, out *pipe) *conn {
	c := &conn{net: n, local: local, remote: remote, in: in, out: out, closed: make(chan struct{})}
	c.reading.set(time.Time{})
	c.writing.set(time.Time{})
	return c
}

// Read reads what has arrived, and waits for something to.
func (c *conn) Read(b []byte) (int, error) {
	for {
		late := c.reading.passed()
		if isClosed(late) {
			return 0, c.error("read", os.ErrDeadlineExceeded)
		}
		n, wait, changed, err := c.in.take(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, c.error("read", err)
		}
		c.pause(changed, wait, late)
	}
}

// Write writes all of b, and waits for room.
func (c *conn) Write(b []byte) (int, error) {
	written := 0
	for {
		late := c.writing.passed()
		if isClosed(late) {
			return written, c.error("write", os.ErrDeadlineExceeded)
		}
		n, changed, err := c.out.put(b[written:])
		written += n
		if err != nil || written == len(b) {
			return written, c.error("write", err)
		}
		c.pause(changed, 0, late)
	}
}

// WritePrompt writes as much of b as there is room for, and waits for nothing: what a TCP socket offers through its descriptor.
func (c *conn) WritePrompt(b []byte) (n int, err error) {
	if isClosed(c.writing.passed()) {
		return 0, c.error("write", os.ErrDeadlineExceeded)
	}
	n, _, err = c.out.put(b)
	return n, c.error("write", err)
}

// pause waits until a pipe has changed, some time has passed, a deadline has, or the connection is closed.
func (c *conn) pause(changed <-chan struct{}, wait time.Duration, late <-chan struct{}) {
	var arrival <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		arrival = t.C
	}
	select {
	case <-changed:
	case <-arrival:
	case <-late:
	case <-c.closed:
	}
}

// error dresses an error as the package net does; io.EOF stays bare.
func (c *conn) error(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// Close closes both directions: the other side reads io.EOF behind what was written, and cannot write any more.
func (c *conn) Close() error {
	err := c.error("close", net.ErrClosed)
	c.once.Do(func() {
		err = nil
		close(c.closed)
		c.out.closeSent()
		c.in.closeRead()
		for _, p := range []*pipe{c.in, c.out} {
			if p.over() {
				c.net.forget(p)
			}
		}
		c.reading.set(time.Time{})
		c.writing.set(time.Time{})
	})
	return err
}

// CloseWrite ends the stream to the other side, which can still write.
func (c *conn) CloseWrite() error {
	c.out.closeSent()
	return nil
}

// drop resets a connection that was never accepted.
func (c *conn) drop() {
	for _, p := range []*pipe{c.in, c.out} {
		p.reset("")
		c.net.forget(p)
	}
}

// LocalAddr returns the address of this end.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	c.reading.set(t)
	c.writing.set(t)
	return nil
}

// SetReadDeadline ends Read, the present one too, at t; the zero time means never.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.reading.set(t)
	return nil
}

// SetWriteDeadline ends Write, the present one too, at t; the zero time means never.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.writing.set(t)
	return nil
}

// deadline is a time that can be waited for and moved. The zero deadline has no time, and is not ready before set.
type deadline struct {
	mu    sync.Mutex // guards all below
	timer *time.Timer
	moved uint64        // how often it was set
	late  chan struct{} // closed when it has passed
}

// passed returns a channel that is closed when the deadline has passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.late
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.moved++
	if d.late == nil || isClosed(d.late) {
		d.late = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		close(d.late)
		return
	}
	moved := d.moved
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.moved == moved {
			close(d.late)
		}
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

package memnet

import (
	"net"
	"os"
	"sync"
	"time"
)

// packetBacklog is how many datagrams a socket keeps for a reader that is late; more are lost, as the kernel's are.
const packetBacklog = 1024

// datagram is one on its way.
type datagram struct {
	data []byte
	from Addr
}

// packetConn is a socket for datagrams: a net.PacketConn.
type packetConn struct {
	net     *Network
	host    string
	at      Addr
	queue   chan datagram
	once    sync.Once
	closed  chan struct{}
	reading deadline
}

// ListenPacket opens a socket for datagrams at host:port, as Listen does for connections; the two do not share their ports. A datagram
// into a cut, to nobody, or to one that does not read is lost, and nobody is told.
func (h *Host) ListenPacket(address string) (net.PacketConn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := h.bind(address, func(at string) bool { return n.sockets[at] != nil })
	if err != nil {
		return nil, err
	}
	c := &packetConn{net: n, host: h.name, at: Addr(at), queue: make(chan datagram, packetBacklog), closed: make(chan struct{})}
	c.reading.set(time.Time{})
	n.sockets[at] = c
	return c, nil
}

// ReadFrom waits for a datagram; what does not fit into b is lost.
func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		late := c.reading.passed()
		if isClosed(c.closed) {
			return 0, nil, &net.OpError{Op: "read", Net: "mem", Addr: c.at, Err: net.ErrClosed}
		}
		if isClosed(late) {
			return 0, nil, &net.OpError{Op: "read", Net: "mem", Addr: c.at, Err: os.ErrDeadlineExceeded}
		}
		select {
		case d := <-c.queue:
			return copy(b, d.data), d.from, nil
		case <-c.closed:
		case <-late:
		}
	}
}

// WriteTo sends a datagram; nobody learns whether it arrives.
func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if isClosed(c.closed) {
		return 0, &net.OpError{Op: "write", Net: "mem", Addr: to, Err: net.ErrClosed}
	}
	host, _, err := net.SplitHostPort(to.String())
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "mem", Addr: to, Err: err}
	}
	c.net.mu.Lock()
	s := c.net.ways[way{c.host, host}]
	c.net.mu.Unlock()
	if s.cut {
		return len(b), nil
	}
	d := datagram{data: append([]byte(nil), b...), from: c.at}
	if s.delay <= 0 {
		c.net.deliver(to.String(), d)
	} else {
		time.AfterFunc(s.delay, func() { c.net.deliver(to.String(), d) })
	}
	return len(b), nil
}

// deliver hands a datagram to whoever listens there, if there is room.
func (n *Network) deliver(to string, d datagram) {
	n.mu.Lock()
	c := n.sockets[to]
	n.mu.Unlock()
	if c == nil {
		return
	}
	select {
	case c.queue <- d:
	default:
	}
}

// Close ends the socket; ReadFrom returns at once.
func (c *packetConn) Close() error {
	err := error(&net.OpError{Op: "close", Net: "mem", Addr: c.at, Err: net.ErrClosed})
	c.once.Do(func() {
		err = nil
		c.net.mu.Lock()
		delete(c.net.sockets, string(c.at))
		c.net.mu.Unlock()
		close(c.closed)
		c.reading.set(time.Time{})
	})
	return err
}

// LocalAddr returns where the socket is.
func (c *packetConn) LocalAddr() net.Addr { return c.at }

// SetDeadline sets the deadline of ReadFrom; WriteTo never waits.
func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline ends ReadFrom, the present one too, at t; the zero time means never.
func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.reading.set(t)
	return nil
}

// SetWriteDeadline does nothing, as WriteTo never waits.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

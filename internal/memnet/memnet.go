package memnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// backlog is how many connections a listener takes before they are accepted.
const backlog = 128

// Network is a set of hosts and the ways between them. It is safe for concurrent use.
type Network struct {
	mu        sync.Mutex // guards all below; taken before that of a pipe
	listeners map[string]*listener
	sockets   map[string]*packetConn // for datagrams
	ways      map[way]state
	pipes     map[*pipe]struct{} // of connections that one side at least has open
	changed   chan struct{}      // closed at each change of a way
	port      int                // the last one that was drawn
}

// way is one direction between two hosts.
type way struct{ from, to string }

// state is how a way is. The zero state is healthy.
type state struct {
	cut   bool
	delay time.Duration
}

// New returns a network where all hosts reach each other at once.
func New() *Network {
	return &Network{
		listeners: make(map[string]*listener), sockets: make(map[string]*packetConn), ways: make(map[way]state),
		pipes: make(map[*pipe]struct{}), changed: make(chan struct{}), port: 50_000,
	}
}

// Host returns the host of a name. It needs no making.
func (n *Network) Host(name string) *Host { return &Host{net: n, name: name} }

// Cut stops everything between two hosts, in both directions.
func (n *Network) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay stops everything that one host sends to another.
func (n *Network) CutOneWay(from, to string) {
	n.set(way{from, to}, func(s *state) { s.cut = true })
}

// Heal undoes Cut and CutOneWay. What stood still goes on.
func (n *Network) Heal(a, b string) {
	n.set(way{a, b}, func(s *state) { s.cut = false })
	n.set(way{b, a}, func(s *state) { s.cut = false })
}

// Delay lets what is sent between two hosts from now on arrive later, in each direction.
func (n *Network) Delay(a, b string, d time.Duration) {
	n.set(way{a, b}, func(s *state) { s.delay = d })
	n.set(way{b, a}, func(s *state) { s.delay = d })
}

// Reset breaks all connections of a host, as its kernel does when its process dies. Beyond a cut, the other side does not learn of it
// before that is healed.
func (n *Network) Reset(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.pipes {
		if p.way.from == host || p.way.to == host {
			p.reset(host)
		}
	}
}

// set changes a way and all connections over it.
func (n *Network) set(w way, change func(*state)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.ways[w]
	change(&s)
	n.ways[w] = s
	for p := range n.pipes {
		if p.way == w {
			p.set(s)
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Host is one machine of the network. It is safe for concurrent use.
type Host struct {
	net  *Network
	name string
}

// Listen listens at host:port, where the host is empty, an address of all or of the loopback, or the name of this one. Port 0 draws
// one.
func (h *Host) Listen(address string) (net.Listener, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := h.bind(address, func(at string) bool { return n.listeners[at] != nil })
	if err != nil {
		return nil, err
	}
	l := &listener{net: n, at: Addr(at), calls: make(chan *conn, backlog), closed: make(chan struct{})}
	n.listeners[at] = l
	return l, nil
}

// bind returns the address at which a host listens, if it is its own and nobody uses it; mu of the network is held.
func (h *Host) bind(address string, used func(at string) bool) (string, error) {
	at, err := h.resolve(address)
	if err != nil {
		return "", &net.OpError{Op: "listen", Net: "mem", Addr: Addr(address), Err: err}
	}
	host, port, _ := net.SplitHostPort(at)
	if port == "0" {
		at = h.net.draw(host)
	}
	switch {
	case host != h.name:
		err = syscall.EADDRNOTAVAIL
	case used(at):
		err = syscall.EADDRINUSE
	default:
		return at, nil
	}
	return "", &net.OpError{Op: "listen", Net: "mem", Addr: Addr(at), Err: err}
}

// resolve writes an address with the name of its host.
func (h *Host) resolve(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("the port %q is no number up to 65535", port)
	}
	switch host {
	case "", "0.0.0.0", "::", "localhost", "127.0.0.1", "::1":
		host = h.name
	}
	return net.JoinHostPort(host, port), nil
}

// draw returns an address nobody uses; mu is held.
func (n *Network) draw(host string) string {
	n.port++
	return net.JoinHostPort(host, strconv.Itoa(n.port))
}

// Dial connects to a listener. Beyond a cut it waits for that to be healed, or for ctx to end.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := h.dial(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: Addr(address), Err: err}
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, address string) (*conn, error) {
	at, err := h.resolve(address)
	if err != nil {
		return nil, err
	}
	to, _, _ := net.SplitHostPort(at)
	if err := h.net.passage(ctx, h.name, to); err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	l := h.net.listeners[at]
	h.net.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	near, far := h.net.connect(h.name, l.at)
	select {
	case l.calls <- far:
		return near, nil
	case <-l.closed:
		err = syscall.ECONNREFUSED
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	near.drop()
	return nil, err
}

// passage waits until a packet could go from one host to another and back.
func (n *Network) passage(ctx context.Context, from, to string) error {
	for {
		n.mu.Lock()
		there, back, changed := n.ways[way{from, to}], n.ways[way{to, from}], n.changed
		n.mu.Unlock()
		var arrived <-chan time.Time
		if !there.cut && !back.cut {
			if there.delay+back.delay <= 0 {
				return context.Cause(ctx)
			}
			t := time.NewTimer(there.delay + back.delay)
			defer t.Stop()
			arrived = t.C
		}
		select {
		case <-arrived:
			return nil
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// connect makes a connection, and returns its two ends.
func (n *Network) connect(from string, to Addr) (near, far *conn) {
	host, _, _ := net.SplitHostPort(string(to))
	n.mu.Lock()
	defer n.mu.Unlock()
	there, back := way{from, host}, way{host, from}
	out, in := newPipe(there, n.ways[there]), newPipe(back, n.ways[back])
	n.pipes[out], n.pipes[in] = struct{}{}, struct{}{}
	local := Addr(n.draw(from))
	near = newConn(n, local, to, in, out)
	far = newConn(n, to, local, out, in)
	return near, far
}

// forget drops a pipe that nobody can hear of any more.
func (n *Network) forget(p *pipe) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pipes, p)
}

// listener is a net.Listener.
type listener struct {
	net    *Network
	at     Addr
	calls  chan *conn
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: l.at, Err: net.ErrClosed}
	default:
	}
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: l.at, Err: net.ErrClosed}
	}
}

// Close ends the listener. Connections that were not accepted are reset.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, string(l.at))
		l.net.mu.Unlock()
		close(l.closed)
	})
	for {
		select {
		case c := <-l.calls:
			c.drop()
		default:
			return nil
		}
	}
}

// Addr returns where it listens.
func (l *listener) Addr() net.Addr { return l.at }

// Addr is the address of one end, host:port.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the address.
func (a Addr) String() string { return string(a) }

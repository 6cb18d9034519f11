package lockd

import (
	"net"
	"sync"
)

// limited is a listener with a bound on the connections that are open at one time; more are closed as they come, so that a flood on
// the HTTP port takes no descriptors from the others.
type limited struct {
	net.Listener
	room chan struct{}
}

func newLimited(l net.Listener, connections int) *limited {
	return &limited{Listener: l, room: make(chan struct{}, connections)}
}

// Accept returns the next connection there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			_ = conn.Close()
		}
	}
}

// counted is a connection that makes room when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

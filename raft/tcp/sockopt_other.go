//go:build !linux

package tcp

import (
	"net"
	"time"
)

// tuneSocket makes a TCP connection fit for small urgent messages, and bounds how long a peer that answers nothing goes
// unnoticed. All of it is best effort.
func tuneSocket(conn net.Conn, patience time.Duration) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetNoDelay(true)
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: patience / 2, Interval: patience / 5, Count: 3})
	}
}

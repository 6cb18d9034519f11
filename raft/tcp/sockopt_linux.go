package tcp

import (
	"net"
	"syscall"
	"time"
)

// From linux/tcp.h; package syscall has them on some architectures only.
const (
	tcpUserTimeout  = 18
	tcpNotSentLowat = 25

	// unsentBytes bounds what waits in the kernel before it is on the wire, where nothing can overtake it.
	unsentBytes = 256 << 10
)

// tuneSocket makes a TCP connection fit for small urgent messages beside bulk, and bounds how long a peer that answers
// nothing goes unnoticed. All of it is best effort.
func tuneSocket(conn net.Conn, patience time.Duration) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = c.SetNoDelay(true)
	_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: patience / 2, Interval: patience / 5, Count: 3})
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(patience.Milliseconds()))
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentBytes)
	})
}

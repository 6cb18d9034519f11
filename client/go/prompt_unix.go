//go:build unix

package client

import (
	"errors"
	"net"
	"syscall"
)

// promptTCP writes to a socket as much as it has room for. It is not safe for concurrent use.
type promptTCP struct {
	raw  syscall.RawConn
	once func(fd uintptr) bool // kept, so that it is made but once

	b   []byte
	n   int
	err error
}

// promptOf returns how to write to a connection without waiting, nil if there is no way to. Types that embed one, to change what is
// sent, are not to be gone past.
func promptOf(conn net.Conn) prompt {
	switch conn := conn.(type) {
	case prompt:
		return conn
	case *net.TCPConn:
		raw, err := conn.SyscallConn()
		if err != nil {
			return nil // it is closed
		}
		p := &promptTCP{raw: raw}
		p.once = p.write
		return p
	default:
		return nil
	}
}

// WritePrompt writes what there is room for.
func (p *promptTCP) WritePrompt(b []byte) (n int, err error) {
	p.b, p.n, p.err = b, 0, nil
	err = p.raw.Write(p.once)
	p.b = nil
	return p.n, errors.Join(err, p.err)
}

// write tries once, and waits for nothing.
func (p *promptTCP) write(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), p.b)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
		default:
			p.n, p.err = max(n, 0), err
		}
		return true
	}
}

package front

import (
	"net"
	"syscall"
)

// prompt writes to a socket what it takes at once, without ever waiting. One goroutine uses it at a time.
type prompt struct {
	raw  syscall.RawConn
	once func(fd uintptr) bool // made beforehand: a function for each call would be allocated

	piece []byte
	n     int
	err   error
}

// newPrompt returns nil for a connection that is no bare socket.
func newPrompt(c net.Conn) *prompt {
	socket, ok := c.(syscall.Conn)
	if !ok || writeOnce == nil {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	p := &prompt{raw: raw}
	p.once = func(fd uintptr) bool {
		p.n, p.err = writeOnce(fd, p.piece)
		return true // also when it has taken nothing: this is where waiting would begin
	}
	return p
}

// write returns how much was taken. That the socket is full is no error.
func (p *prompt) write(piece []byte) (int, error) {
	p.piece, p.n, p.err = piece, 0, nil
	err := p.raw.Write(p.once)
	p.piece = nil
	if err != nil {
		return 0, err
	}
	return p.n, p.err
}

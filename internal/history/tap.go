package history

import (
	"context"
	"encoding/binary"
	"net"
	"sync"

	"github.com/lockd/lockd/internal/wire"
)

const frameHeader = 5 // length of what follows it but for these four bytes, and the type

// Dial returns dial, with all frames of its connections noted: those that go out before they are sent, those that come in before the client gets
// them. It understands nothing that TLS has encrypted. A nil dial is TCP.
func (r *Recorder) Dial(dial func(ctx context.Context, address string) (net.Conn, error)) func(ctx context.Context, address string) (net.Conn, error) {
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return &tap{Conn: c, r: r, id: r.number()}, nil
	}
}

// tap is a connection whose frames are noted.
type tap struct {
	net.Conn

	r  *Recorder
	id uint64

	in, out stream
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.in.add(b[:n], func(frame []byte) { t.r.frame(t.id, '<', t.r.clock(), frame) })
	return n, err
}

func (t *tap) Write(b []byte) (int, error) {
	t.out.add(b, func(frame []byte) { t.r.frame(t.id, '>', t.r.clock(), frame) })
	return t.Conn.Write(b)
}

// stream finds the frames in one direction of a connection.
type stream struct {
	mu   sync.Mutex // guards the fields below
	rest []byte     // of a frame that is not there as a whole
	lost bool       // it is no stream of frames
}

func (s *stream) add(b []byte, take func(frame []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		return
	}
	s.rest = append(s.rest, b...)
	from := 0
	for len(s.rest)-from >= frameHeader {
		size := int(binary.BigEndian.Uint32(s.rest[from:]))
		if size < 1 || size > wire.FrameMax {
			s.lost = true
			return
		}
		if len(s.rest)-from < 4+size {
			break
		}
		frame := s.rest[from : from+4+size]
		if noted(wire.Type(frame[4])) {
			take(frame)
		}
		from += 4 + size
	}
	s.rest = append(s.rest[:0], s.rest[from:]...)
}

// noted reports whether a message says anything of locks and sessions. What says who a client is must not be written down.
func noted(t wire.Type) bool {
	return t != wire.TypeHello && t != wire.TypeWelcome && t != wire.TypeGoodbye && t != wire.TypeNodes && t != wire.TypeNoQuorum
}

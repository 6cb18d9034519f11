package client

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

const (
	// outboxMax is how many bytes may wait for a socket that is not ready. A node that takes no more is given up. What is said at once to
	// one that has just been reached, all that it has not answered, may be more: else it could never be reached again.
	outboxMax = 4 << 20

	// outboxKept is how large a buffer is kept for the next frames.
	outboxKept = 64 << 10

	// writePatience is how long a socket may take no byte.
	writePatience = 10 * time.Second
)

var errFull = errors.New("the node does not read: too much is waiting to be sent to it")

// prompt is a connection that can take what it has room for without waiting, be it nothing.
type prompt interface {
	WritePrompt(b []byte) (n int, err error)
}

// outbox holds the frames that a connection is to send, so that who sends never waits for the network. KeepAlives go first.
type outbox struct {
	wake  chan struct{} // for the writer; one slot
	quick prompt        // nil: only the writer writes

	mu             sync.Mutex // guards all below
	urgent, normal []byte
	rest           []byte // of what was taken; goes before all others
	spare          []byte // room for the next frames
	writing        bool   // somebody writes, and will take what is put meanwhile
	err            error  // nothing can be written any more
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put takes a message, for flush to send. A *wire.FormatError says that it breaks a limit, errFull that too much is waiting.
func (o *outbox) put(m wire.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if (o.writing || len(o.rest) > 0) && len(o.urgent)+len(o.normal)+len(o.rest) > outboxMax {
		return errFull
	}
	queue := &o.normal
	if m.Type() == wire.TypeKeepAlive {
		queue = &o.urgent
	}
	if *queue == nil {
		*queue, o.spare = o.spare, nil
	}
	b, err := wire.Append(*queue, m)
	if err != nil {
		return err
	}
	*queue = b
	return nil
}

// flush sends what was put, as far as that needs no waiting; the rest is the writer's. In a crowd all of it is: he gathers what the
// others are about to put.
func (o *outbox) flush(crowd bool) {
	const turns = 3 // then others keep this one from its own affairs
	for range turns {
		if o.quick == nil || crowd {
			break
		}
		b := o.take()
		if b == nil {
			return
		}
		n, err := o.quick.WritePrompt(b)
		if o.wrote(b, n, err); n < len(b) {
			break
		}
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be written next, nil if that is nothing or somebody else's affair. wrote has to follow.
func (o *outbox) take() (b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing || o.err != nil {
		return nil
	}
	for _, queue := range []*[]byte{&o.rest, &o.urgent, &o.normal} {
		if len(*queue) > 0 {
			b, *queue, o.writing = *queue, nil, true
			break
		}
	}
	return b
}

// wrote tells what became of what was taken: n bytes of it are sent.
func (o *outbox) wrote(b []byte, n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing, o.err = false, err
	if n < len(b) {
		o.rest = b[n:]
	} else if cap(b) <= outboxKept {
		o.spare = b[:0]
	}
}

// write sends what is left to it, until an error, also one of flush, or until done is closed.
func (o *outbox) write(conn net.Conn, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return net.ErrClosed
		case <-o.wake:
		}
		for b := o.take(); b != nil; b = o.take() {
			o.wrote(b, len(b), o.send(conn, b))
		}
		if err := o.failed(); err != nil {
			return err
		}
	}
}

// send waits until all is written, and leaves the connection without a deadline.
func (o *outbox) send(conn net.Conn, b []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

func (o *outbox) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

package client

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

const (
	// outboxMax is how many bytes may wait for a socket. A node that takes no more is given up.
	outboxMax = 4 << 20

	// writePatience is how long a socket may take no byte.
	writePatience = 10 * time.Second
)

var errFull = errors.New("the node does not read: too much is waiting to be sent to it")

// outbox holds the frames that a connection is to send, so that who sends never waits for the network. KeepAlives go first.
type outbox struct {
	wake chan struct{} // one slot

	mu             sync.Mutex // guards all below
	urgent, normal []byte
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put takes a message. A *wire.FormatError says that it breaks a limit, errFull that too much is waiting.
func (o *outbox) put(m wire.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.urgent)+len(o.normal) > outboxMax {
		return errFull
	}
	queue := &o.normal
	if m.Type() == wire.TypeKeepAlive {
		queue = &o.urgent
	}
	b, err := wire.Append(*queue, m)
	if err != nil {
		return err
	}
	*queue = b
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// swap takes everything that waits, and gives two buffers to fill.
func (o *outbox) swap(urgent, normal []byte) (takenUrgent, takenNormal []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	takenUrgent, takenNormal = o.urgent, o.normal
	o.urgent, o.normal = urgent[:0], normal[:0]
	return takenUrgent, takenNormal
}

// write sends what is put, until an error or until done is closed.
func (o *outbox) write(conn net.Conn, done <-chan struct{}) error {
	var urgent, normal []byte
	for {
		select {
		case <-done:
			return net.ErrClosed
		case <-o.wake:
		}
		urgent, normal = o.swap(urgent, normal)
		if err := conn.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
			return err
		}
		for _, b := range [][]byte{urgent, normal} {
			if len(b) == 0 {
				continue
			}
			if _, err := conn.Write(b); err != nil {
				return err
			}
		}
	}
}

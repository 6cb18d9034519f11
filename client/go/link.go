package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/lockd/lockd/internal/wire"
)

// agent is what the client calls itself.
const agent = "lockd-go/1"

// link is a connection that a node has welcomed.
type link struct {
	endpoint string
	welcome  *wire.Welcome
	raw      net.Conn // below TLS, if there is any
	conn     net.Conn
	reader   *wire.Reader
	out      *outbox
	left     atomic.Bool // its owner has closed it, to go to the leader

	considered bool // its owner has thought of that
}

// run reads until the connection breaks or ctx ends, hands each message to take, and sends what is put into the outbox. It returns when
// nothing of the link runs any more.
func (l *link) run(ctx context.Context, take func(wire.Message)) error {
	done, written := make(chan struct{}), make(chan struct{})
	var writeErr error
	go func() {
		defer close(written)
		writeErr = l.out.write(l.conn, done)
		l.close()
	}()
	stop := context.AfterFunc(ctx, l.close)
	err := l.read(take)
	stop()
	l.close()
	close(done)
	<-written
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, net.ErrClosed) { // the writer closed it
		err = writeErr
	}
	return err
}

func (l *link) read(take func(wire.Message)) error {
	for {
		m, err := l.reader.Read()
		if err != nil {
			if _, ok := errors.AsType[*wire.BodyError](err); ok {
				continue // the stream goes on behind it, and what it was the answer to is asked for again
			}
			return err
		}
		if bye, ok := m.(*wire.Goodbye); ok {
			return refusal(bye, l.endpoint)
		}
		take(m)
	}
}

// close ends the connection at once: it goes past TLS, which would wait for the network.
func (l *link) close() { _ = l.raw.Close() } // nothing is left to be done about an error

// open connects to one node and is welcomed, within the patience of the directory.
func (d *directory) open(ctx context.Context, endpoint string) (*link, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.patience, fmt.Errorf("no answer within %v", d.patience))
	defer cancel()
	raw, err := d.dial(ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", endpoint, cmpErr(context.Cause(ctx), err))
	}
	l := &link{endpoint: endpoint, raw: raw, conn: raw, out: newOutbox()}
	stop := context.AfterFunc(ctx, l.close)
	err = l.greet(ctx, d)
	if !stop() || err != nil {
		l.close()
		return nil, fmt.Errorf("connect to %s: %w", endpoint, cmpErr(context.Cause(ctx), err))
	}
	if d.tls == nil {
		l.out.quick = promptOf(raw)
	}
	return l, nil
}

// cmpErr returns the first that is not nil.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// greet speaks TLS, sends Hello and reads Welcome.
func (l *link) greet(ctx context.Context, d *directory) error {
	if d.tls != nil {
		secure, err := secured(ctx, l.raw, d.tls, l.endpoint)
		if err != nil {
			return err
		}
		l.conn = secure
	}
	cluster, incarnation := d.identity()
	hello, err := wire.Append(nil, &wire.Hello{
		Magic: wire.Magic, VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleClient, Cluster: cluster,
		Incarnation: incarnation, Agent: agent, Credential: d.credential,
	})
	if err != nil {
		return err
	}
	if _, err := l.conn.Write(hello); err != nil {
		return err
	}
	l.reader = wire.NewReader(l.conn, wire.FrameMax) // a Welcome that names many nodes is long
	m, err := l.reader.Read()
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *wire.Goodbye:
		return refusal(m, l.endpoint)
	case *wire.Welcome:
		l.welcome = m
		return d.welcomed(m, cluster, incarnation, l.endpoint)
	default:
		return fmt.Errorf("it answers Hello with %v", m.Type())
	}
}

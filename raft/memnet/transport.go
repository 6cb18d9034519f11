package memnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/lockd/lockd/raft"
)

var (
	errCut  = errors.New("raft/memnet: link is cut")
	errGone = errors.New("raft/memnet: connection reset by peer")

	// ErrClosed is returned by Start and SendSnapshot of a closed or crashed Transport.
	ErrClosed = errors.New("raft/memnet: transport is closed")
)

// Limits of what waits for one node whose Handler is slow. Log traffic beyond is dropped, newest first, and of other
// messages the oldest half.
const (
	maxLog    = 16 << 10
	maxUrgent = 4 << 10
)

// Transport is the raft.Transport of one node.
type Transport struct {
	net  *Network
	id   raft.PeerID
	wake chan struct{} // something is queued
	down chan struct{} // closed when the transport is
	wg   sync.WaitGroup

	// The fields below are guarded by net.mu.
	handler raft.Handler
	closed  bool
	peers   map[raft.PeerID]struct{}
	streams map[*stream]struct{}
	urgent  []raft.Message
	logs    []raft.Message
	hints   []raft.Hint
}

var _ raft.Transport = (*Transport)(nil)

// Start implements raft.Transport.
func (t *Transport) Start(h raft.Handler) error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.handler != nil {
		return errors.New("raft/memnet: started twice")
	}
	t.handler = h
	t.wg.Go(func() { t.deliver(h) })
	return nil
}

// SetPeers implements raft.Transport. Addresses do not matter.
func (t *Transport) SetPeers(peers []raft.Peer) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.peers = make(map[raft.PeerID]struct{}, len(peers))
	for _, p := range peers {
		t.peers[p.ID] = struct{}{}
	}
}

// Send implements raft.Transport.
func (t *Transport) Send(ms []raft.Message) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if t.closed {
		return
	}
	for _, m := range ms {
		if m.From == t.id && m.To != t.id {
			t.net.carry(m)
		}
	}
}

// Close implements raft.Transport. Peers see the same as after a crash.
func (t *Transport) Close() error {
	t.net.mu.Lock()
	t.net.crash(t)
	t.net.mu.Unlock()
	t.wg.Wait()
	return nil
}

// names reports whether SetPeers named id; mu is held.
func (t *Transport) names(id raft.PeerID) bool {
	_, ok := t.peers[id]
	return ok
}

// take queues a message for the Handler; mu is held.
func (t *Transport) take(m raft.Message) {
	switch {
	case t.handler == nil:
		return
	case !m.Urgent():
		if len(t.logs) >= maxLog {
			return
		}
		t.logs = append(t.logs, m)
	default:
		if len(t.urgent) >= maxUrgent {
			t.urgent = append([]raft.Message(nil), t.urgent[maxUrgent/2:]...)
		}
		t.urgent = append(t.urgent, m)
	}
	signal(t.wake)
}

// hint queues a hint for the Handler; mu is held.
func (t *Transport) hint(h raft.Hint) {
	if t.handler != nil {
		t.hints = append(t.hints, h)
		signal(t.wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// deliver calls the Handler until the transport is closed. The urgent messages that are there go before the log
// traffic, one run of messages of one peer at a time.
func (t *Transport) deliver(h raft.Handler) {
	for {
		run, hints, open := t.next()
		if !open {
			return
		}
		for _, hint := range hints {
			h.Hint(hint)
		}
		if len(run) > 0 {
			h.Receive(run)
		}
		if len(run) > 0 || len(hints) > 0 {
			continue
		}
		select {
		case <-t.wake:
		case <-t.down:
			return
		}
	}
}

func (t *Transport) next() (run []raft.Message, hints []raft.Hint, open bool) {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	hints, t.hints = t.hints, nil
	q := &t.urgent
	if len(*q) == 0 {
		q = &t.logs
	}
	n := 0
	for n < len(*q) && (*q)[n].From == (*q)[0].From {
		n++
	}
	run, *q = (*q)[:n:n], (*q)[n:]
	return run, hints, !t.closed
}

// SendSnapshot implements raft.Transport.
func (t *Transport) SendSnapshot(ctx context.Context, head raft.SnapshotHeader, r io.Reader) error {
	s, h, err := t.openStream(head)
	if err != nil {
		return fmt.Errorf("raft/memnet: send snapshot to %v: %w", head.To, err)
	}
	defer s.forget()
	stop := context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	defer stop()
	s.to.wg.Go(func() { s.receive(h, head) })
	if _, err := io.Copy(s.w, r); err != nil {
		s.fail(err)
	} else {
		_ = s.w.Close()
	}
	if err := s.outcome(); err != nil {
		return fmt.Errorf("raft/memnet: send snapshot to %v: %w", head.To, err)
	}
	return nil
}

func (t *Transport) openStream(head raft.SnapshotHeader) (*stream, raft.Handler, error) {
	n := t.net
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.nodes[head.To]
	switch {
	case t.closed:
		return nil, nil, ErrClosed
	case head.From != t.id:
		return nil, nil, fmt.Errorf("a snapshot from %v cannot be sent by %v", head.From, t.id)
	case to == nil || to.handler == nil || !t.names(head.To) && !to.names(t.id):
		return nil, nil, raft.ErrUnreachable
	case n.links[way{t.id, head.To}].Cut || n.links[way{head.To, t.id}].Cut:
		return nil, nil, fmt.Errorf("%w: %w", raft.ErrUnreachable, errCut)
	}
	s := &stream{from: t, to: to, failed: make(chan struct{}), verdict: make(chan error, 1)}
	s.r, s.w = io.Pipe()
	t.streams[s], to.streams[s] = struct{}{}, struct{}{}
	return s, to.handler, nil
}

// stream is a snapshot on its way.
type stream struct {
	from, to *Transport
	r        *io.PipeReader
	w        *io.PipeWriter
	verdict  chan error // of the receiver
	once     sync.Once
	failed   chan struct{} // closed when the stream is cut
	cause    error         // why it is; set before
}

func (s *stream) peerOf(t *Transport) *Transport {
	if s.from == t {
		return s.to
	}
	return s.from
}

// fail cuts the stream; the first cause stays. It does not block.
func (s *stream) fail(cause error) {
	s.once.Do(func() {
		s.cause = cause
		close(s.failed)
		_ = s.w.CloseWithError(fmt.Errorf("raft/memnet: snapshot is cut: %w", cause))
	})
}

func (s *stream) forget() {
	s.from.net.mu.Lock()
	defer s.from.net.mu.Unlock()
	delete(s.from.streams, s)
	delete(s.to.streams, s)
}

// receive runs on the receiving side.
func (s *stream) receive(h raft.Handler, head raft.SnapshotHeader) {
	ctx, cancel := context.WithCancelCause(context.Background()) //nolint:forbidigo // the life of the stream on this side
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.failed:
			cancel(s.cause)
		case <-done:
		}
	}()
	err := h.ReceiveSnapshot(ctx, head, s.r)
	if err == nil {
		var one [1]byte
		if n, end := io.ReadFull(s.r, one[:]); n > 0 {
			err = errors.New("the receiver did not read all of it")
		} else if !errors.Is(end, io.EOF) {
			err = end
		}
	}
	s.verdict <- err
	_ = s.r.CloseWithError(errRejected)
}

// errRejected is what the sender's Write gets; outcome then finds the verdict.
var errRejected = errors.New("raft/memnet: the receiver reads no more")

// outcome waits for the receiver's verdict or for the end of the stream.
func (s *stream) outcome() error {
	select {
	case <-s.failed:
	default:
		select {
		case err := <-s.verdict:
			return err
		case <-s.failed:
		}
	}
	switch {
	case errors.Is(s.cause, errGone) || errors.Is(s.cause, errCut):
		return fmt.Errorf("%w: %w", raft.ErrUnreachable, s.cause)
	case errors.Is(s.cause, errRejected):
		return <-s.verdict
	}
	return s.cause
}

package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/lockd/lockd/raft"
)

// errLocal wraps the error of the Reader that a snapshot is read from.
var errLocal = errors.New("raft/tcp: cannot read the snapshot to be sent")

// RejectedError says that the receiver of a snapshot did not accept it.
type RejectedError struct {
	Peer   raft.PeerID
	Reason string
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("raft/tcp: snapshot rejected by node %v: %s", e.Peer, e.Reason)
}

// SendSnapshot implements raft.Transport. A failing r gives its error, a receiver that does not accept a *RejectedError,
// a peer out of reach or silent an error that wraps raft.ErrUnreachable.
func (t *Transport) SendSnapshot(ctx context.Context, head raft.SnapshotHeader, r io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	address, err := t.beginSending(head, &cancel)
	if err != nil {
		return err
	}
	defer t.endSending(&cancel)
	k, _, err := t.dial(ctx, address, hello{purpose: forSnapshot, to: head.To})
	if err != nil {
		return fmt.Errorf("send snapshot to %v at %s: %w", head.To, address, err)
	}
	defer k.fail(nil)
	stop := context.AfterFunc(ctx, func() { k.fail(context.Cause(ctx)) })
	defer stop()
	if err := t.stream(k, head, r); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("send snapshot to %v at %s: %w", head.To, address, err)
	}
	return nil
}

func (t *Transport) beginSending(head raft.SnapshotHeader, cancel *context.CancelCauseFunc) (address string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lanes[head.To]
	switch {
	case t.closed:
		return "", ErrClosed
	case head.From != t.o.Self:
		return "", fmt.Errorf("raft/tcp: a snapshot from %v cannot be sent by %v", head.From, t.o.Self)
	case l == nil:
		return "", fmt.Errorf("%w: %v is no peer", raft.ErrUnreachable, head.To)
	}
	t.sending[cancel] = struct{}{}
	return l.address, nil
}

func (t *Transport) endSending(cancel *context.CancelCauseFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sending, cancel)
}

// stream sends everything and returns the receiver's verdict. The receiver shows signs of life all the time, so one
// goroutine that listens to it, and ends the connection when there is silence, frees a blocked write too.
func (t *Transport) stream(k *link, head raft.SnapshotHeader, r io.Reader) error {
	verdict := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := readVerdict(idle(k, t.o.Limits.Silence), head.To)
		verdict <- err
		k.fail(err)
	})
	quiet := t.keepAlive(k, k.fail)
	defer func() {
		k.fail(nil) // frees those that are waited for
		quiet()
		wg.Wait()
	}()
	err := writeStream(k, head, r)
	if err == nil || !errors.Is(err, errLocal) {
		// What the receiver has said, or not said, tells more than a failed write.
		return <-verdict
	}
	return err
}

func readVerdict(in io.Reader, from raft.PeerID) error {
	r := newFrameReader(in, frameHead+maxVerdictBytes, 1+maxVerdictBytes)
	for {
		f, err := r.next()
		switch {
		case err != nil:
			return fmt.Errorf("%w: no verdict: %w", raft.ErrUnreachable, err)
		case f.kind == frameAlive:
		case f.kind == frameVerdict && len(f.body) == 1 && f.body[0] == 0:
			return nil
		case f.kind == frameVerdict && len(f.body) > 0 && f.body[0] == 1:
			return &RejectedError{from, string(f.body[1:])}
		default:
			return fmt.Errorf("%w: type %d with %d bytes is no verdict", errFrame, f.kind, len(f.body))
		}
	}
}

// keepAlive shows signs of life on k until quiet is called; if it cannot, it says so to lost.
func (t *Transport) keepAlive(k *link, lost func(error)) (quiet func()) {
	const perSilence = 4
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(t.o.Limits.Silence / perSilence)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if err := k.sendAlive(); err != nil {
					lost(err)
					return
				}
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// receiveSnapshot hands the stream on k to the Handler and tells the sender how it ended.
func (t *Transport) receiveSnapshot(ctx context.Context, k *link, h hello) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in := newStreamReader(idle(k, t.o.Limits.Silence))
	head, err := in.header()
	if err == nil && (head.From != h.from || head.To != t.o.Self) {
		err = fmt.Errorf("%w: header names %v to %v, the connection is %v to %v", errFrame, head.From, head.To, h.from, t.o.Self)
	}
	if err == nil {
		quiet := t.keepAlive(k, cancel)
		err = t.started().ReceiveSnapshot(ctx, head, in)
		quiet()
		if err == nil {
			err = in.finish()
		}
	}
	if err != nil {
		t.log.Warn("did not accept a snapshot", "peer", h.from.String(), "error", err.Error())
	}
	if k.send(encodeVerdict(err), t.o.Limits.Silence) == nil {
		lingerUntil(k, time.Now().Add(t.o.Limits.Silence))
	}
}

// lingerUntil discards what a sender still sends after the verdict, so that no reset overtakes the verdict.
func lingerUntil(k *link, deadline time.Time) {
	_ = k.SetReadDeadline(deadline)
	_, _ = io.Copy(io.Discard, k)
}

// idleReader fails when nothing has come for a while.
type idleReader struct {
	conn    net.Conn
	silence time.Duration
}

func idle(conn net.Conn, silence time.Duration) io.Reader { return idleReader{conn, silence} }

func (r idleReader) Read(p []byte) (int, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(r.silence))
	n, err := r.conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("nothing for %v: %w", r.silence, err)
	}
	return n, err
}

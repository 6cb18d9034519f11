package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lockd/lockd/raft"
)

const (
	deliverMessages = 512 // in one call of Handler.Receive
	lingerBytes     = 64 << 10
)

// inbound is a connection that a peer dialed to send us messages.
type inbound struct {
	*link
	peer  raft.PeerID
	boot  uint64
	reply string
	pong  chan struct{}
	ended chan struct{} // closed when nothing is read any more
}

// dismiss ends the connection on purpose, and tells the peer that this is not the end of our process.
func (c *inbound) dismiss(cause error) {
	c.blame(cause) // first, as the peer may hang up at once
	_ = c.send(controlFrame(frameBye), farewell)
	c.fail(cause)
}

func (t *Transport) accept(ctx context.Context) {
	const minPause, maxPause = 5 * time.Millisecond, time.Second
	for pause := minPause; ; {
		socket, err := t.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, most likely.
			t.log.Error("cannot accept connections", "error", err.Error())
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		select {
		case t.handshakes <- struct{}{}:
			t.wg.Go(func() { t.serve(ctx, socket) })
		default:
			t.logRefusal(socket, hello{}, refuse(CodeBusy, "%d handshakes are going on", maxHandshakes))
			_ = socket.Close()
		}
	}
}

// serve talks to whoever dialed us, until the connection or ctx ends.
func (t *Transport) serve(ctx context.Context, socket net.Conn) {
	k := newLink(socket)
	stop := context.AfterFunc(ctx, func() { k.fail(ErrClosed) })
	defer stop()
	defer k.fail(nil)
	tuneSocket(socket, t.o.Limits.Write)
	if t.o.TLS != nil {
		k.Conn = tls.Server(socket, t.o.TLS)
	}
	_ = k.SetDeadline(time.Now().Add(t.o.Limits.Handshake))
	c, h, err := t.meet(ctx, k)
	<-t.handshakes
	if err != nil {
		var refusal *RefusedError
		if !errors.As(err, &refusal) {
			refusal = refuse(CodeBad, "%v", err)
		}
		if ctx.Err() == nil {
			t.logRefusal(socket, h, refusal)
			linger(k)
		}
		return
	}
	switch _ = k.SetDeadline(time.Time{}); h.purpose {
	case forMessages:
		t.stats.accepted.Add(1)
		t.listen(ctx, c)
	case forSnapshot:
		t.receiveSnapshot(ctx, k, h)
		<-t.streams
	case forProbe:
		linger(k)
	case forAsk:
		if err := t.answerAsk(ctx, k, h); err != nil && ctx.Err() == nil {
			t.log.Warn("a question was not answered", "remote", socket.RemoteAddr().String(), "from", h.from.String(), "error", err.Error())
		}
		<-t.asks
		linger(k)
	}
}

// linger waits for the other side to hang up: to close with unread bytes would reset the connection and with it what
// we said last.
func linger(k *link) {
	_ = k.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, k, lingerBytes)
}

func (t *Transport) logRefusal(socket net.Conn, h hello, r *RefusedError) {
	t.stats.refusals.Add(1)
	if hushed, ok := t.refusals.allow(r.Code, time.Now()); ok {
		t.log.Warn("refused a connection", "remote", socket.RemoteAddr().String(), "from", h.from.String(),
			"code", int(r.Code), "reason", r.Reason, "more_like_this", hushed)
	}
}

// meet shakes hands with who dialed us. A refusal has been told to the other side.
func (t *Transport) meet(ctx context.Context, k *link) (*inbound, hello, error) {
	body, err := readPreamble(k, maxHelloBytes)
	var h hello
	if err == nil {
		h, err = decodeHello(body)
	}
	c := &inbound{
		link: k, peer: h.from, boot: h.boot, reply: h.reply, pong: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	var refusal *RefusedError
	if err != nil && !errors.As(err, &refusal) {
		return nil, h, err
	}
	if refusal == nil {
		refusal = t.check(ctx, h, c)
	}
	a := answer{by: t.identity()}
	if refusal != nil {
		a.code, a.reason = refusal.Code, refusal.Reason
	}
	if _, err = k.Write(a.encode()); err == nil && refusal != nil {
		err = refusal
	}
	if err != nil && refusal == nil {
		t.leave(c)
		if h.purpose == forSnapshot {
			<-t.streams
		}
		if h.purpose == forAsk {
			<-t.asks
		}
	}
	return c, h, err
}

// check decides whether to talk to who said hello, and counts them in.
func (t *Transport) check(ctx context.Context, h hello, c *inbound) *RefusedError {
	switch {
	case h.purpose == forProbe:
		return nil
	case h.purpose == forAsk:
		return t.admitAsk()
	case h.cluster != t.o.Cluster:
		return refuse(CodeCluster, "this is cluster %x, not %x", t.o.Cluster, h.cluster)
	case h.to != t.o.Self:
		return refuse(CodeIdentity, "this is node %v, not %v", t.o.Self, h.to)
	case h.from == t.o.Self && h.boot == t.o.Boot:
		return refuse(CodeIdentity, "node %v has dialed itself", h.from)
	case h.from == t.o.Self:
		return t.cloned(c, t.o.Boot)
	case h.from.Node == 0:
		return refuse(CodeBad, "the hello names no sender")
	case t.started() == nil:
		return refuse(CodeNotReady, "node %v has not been started yet", t.o.Self)
	case h.purpose == forSnapshot:
		return t.admitStream(h)
	}
	return t.admit(ctx, c)
}

func (t *Transport) admitStream(h hello) *RefusedError {
	t.mu.RLock()
	c := t.accepted[h.from]
	t.mu.RUnlock()
	if c != nil && c.boot != h.boot {
		return refuse(CodeBusy, "another process of node %v is connected", h.from)
	}
	select {
	case t.streams <- struct{}{}:
		return nil
	default:
		return refuse(CodeBusy, "%d snapshots are being received", maxStreams)
	}
}

func (t *Transport) admitAsk() *RefusedError {
	if t.o.Answer == nil {
		return refuse(CodeNotReady, "node %v answers no questions", t.o.Self)
	}
	select {
	case t.asks <- struct{}{}:
		return nil
	default:
		return refuse(CodeBusy, "%d questions are being answered", maxAsks)
	}
}

// admit makes c the connection of its peer. When there is one with another boot number already, that process is asked
// whether it is alive: a restart leaves dead connections behind, a copied data directory does not.
func (t *Transport) admit(ctx context.Context, c *inbound) *RefusedError {
	for {
		other, refusal := t.enter(c)
		if other == nil {
			return refusal
		}
		if t.alive(ctx, other) {
			return t.cloned(c, other.boot)
		}
		other.fail(errSilent)
		t.leave(other)
	}
}

func (t *Transport) cloned(c *inbound, boot uint64) *RefusedError {
	if t.o.Events.Clone != nil {
		t.o.Events.Clone(Clone{Peer: c.peer, Boot: boot, Second: c.boot, Remote: c.socket.RemoteAddr().String()})
	}
	return refuse(CodeClone, "two processes claim to be node %v: boot %x, which is alive, and boot %x", c.peer, boot, c.boot)
}

// enter registers c, or returns the connection of another process with the same PeerID.
func (t *Transport) enter(c *inbound) (other *inbound, refusal *RefusedError) {
	var older *inbound
	t.mu.Lock()
	defer func() {
		t.mu.Unlock()
		if older != nil {
			older.fail(errReplaced)
		}
	}()
	old := t.accepted[c.peer]
	switch {
	case t.closed:
		return nil, refuse(CodeNotReady, "node %v is closing", t.o.Self)
	case old == nil && len(t.accepted) >= maxAccepted:
		return nil, refuse(CodeBusy, "%d peers are connected", maxAccepted)
	case old != nil && old.boot != c.boot:
		return old, nil
	}
	older, t.accepted[c.peer] = old, c
	switch l := t.lanes[c.peer]; {
	case l == nil && c.reply != "":
		t.startLane(c.peer, c.reply, false)
	case l != nil && !l.named && l.address != c.reply:
		t.stopLane(l)
		t.startLane(c.peer, c.reply, false)
	case l != nil && l.named:
		l.kickOff() // the peer is back
	}
	return nil, nil
}

// leave takes c off the register, if it is there.
func (t *Transport) leave(c *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.accepted[c.peer] != c {
		return
	}
	delete(t.accepted, c.peer)
	if l := t.lanes[c.peer]; l != nil && !l.named {
		t.stopLane(l)
	}
}

// alive asks the process behind c for an answer.
func (t *Transport) alive(ctx context.Context, c *inbound) bool {
	select {
	case <-c.pong: // of an earlier question
	default:
	}
	patience := t.o.Limits.CloneCheck
	if c.send(controlFrame(framePing), patience) != nil {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.pong:
		return true
	case <-c.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// listen delivers what the peer sends until the connection ends.
func (t *Transport) listen(ctx context.Context, c *inbound) {
	t.log.Info("peer has connected", "peer", c.peer.String(), "remote", c.socket.RemoteAddr().String())
	c.fail(t.deliver(c))
	t.leave(c)
	close(c.ended)
	cause := c.failure()
	if ctx.Err() != nil || errors.Is(cause, errDeliberate) {
		return
	}
	if errors.Is(cause, errFrame) {
		t.log.Error("closed the connection of a peer", "peer", c.peer.String(), "cause", cause.Error())
		return
	}
	t.log.Info("peer has gone", "peer", c.peer.String(), "cause", cause.Error())
	t.hint(c.peer, cause)
}

// deliver reads messages and hands over together what has arrived together.
func (t *Transport) deliver(c *inbound) error {
	handler := t.started()
	r := newFrameReader(c, readBuffer, maxFrameBytes)
	var batch []raft.Message
	var offset int64
	for {
		f, err := r.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case framePong:
			signal(c.pong)
		case frameBye:
			err = errBye
		default:
			var m raft.Message
			m, err = decodeMessage(f)
			m.From, m.To = c.peer, t.o.Self
			if err == nil {
				batch = append(batch, m)
			}
		}
		if len(batch) > 0 && (err != nil || len(batch) == deliverMessages || !r.ready()) {
			t.stats.received.Add(uint64(len(batch)))
			handler.Receive(batch)
			batch = nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", offset, err)
		}
		offset += int64(frameHead + len(f.body))
	}
}

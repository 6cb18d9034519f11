package tcp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/lockd/lockd/raft"
)

const (
	flushBytes   = 256 << 10 // encoded at a time, so that urgent messages need not wait for more
	flushMessage = 1024
	// idleMessages and idleBytes bound each queue of a lane without a connection: enough for the first messages of a
	// node that has just started to dial.
	idleMessages = 64
	idleBytes    = 1 << 20
	// largeEntry is from where an entry is handed to the kernel where it lies instead of being copied first.
	largeEntry = 16 << 10
	// farewell is how long the last frame of a connection may take.
	farewell = 100 * time.Millisecond
)

// lane sends messages to one peer at one address: run dials, writes and dials again.
type lane struct {
	t       *Transport
	peer    raft.PeerID
	address string
	cancel  context.CancelCauseFunc
	log     *slog.Logger
	named   bool          // by SetPeers; guarded by Transport.mu
	wake    chan struct{} // there is something to write
	kick    chan struct{} // do not wait any longer before you dial

	// The fields below belong to run.
	random *rand.Rand
	hush   limiter
	batch  []raft.Message
	out    batchWriter

	mu        sync.Mutex // guards the fields below
	connected bool
	urgent    queue
	logs      queue
}

// push queues messages for the peer.
func (l *lane) push(ms []raft.Message) {
	var droppedLog, droppedUrgent int
	l.mu.Lock()
	for i := range ms {
		switch m := &ms[i]; {
		case m.From != l.t.o.Self:
			droppedUrgent++
		case m.Urgent():
			droppedUrgent += l.pushUrgent(m)
		default:
			droppedLog += l.pushLog(m)
		}
	}
	l.mu.Unlock()
	if droppedLog > 0 {
		l.t.stats.droppedLog.Add(uint64(droppedLog))
	}
	if droppedUrgent > 0 {
		l.t.stats.droppedUrgent.Add(uint64(droppedUrgent))
	}
	signal(l.wake)
}

func (l *lane) pushUrgent(m *raft.Message) (dropped int) {
	limit := l.t.o.Limits.UrgentMessages
	if !l.connected {
		limit = min(limit, idleMessages)
	}
	if l.urgent.len() >= limit {
		dropped = (l.urgent.len() + 1) / 2
		l.urgent.dropOldest(dropped)
	}
	l.urgent.push(m, messageBytes(m))
	return dropped
}

func (l *lane) pushLog(m *raft.Message) (dropped int) {
	messages, bytes := l.t.o.Limits.LogMessages, l.t.o.Limits.LogBytes
	if !l.connected {
		messages, bytes = min(messages, idleMessages), min(bytes, idleBytes)
	}
	size := messageBytes(m)
	if l.logs.len() >= messages || l.logs.len() > 0 && l.logs.bytes+size > bytes {
		return 1
	}
	l.logs.push(m, size)
	return 0
}

// take moves what is to be written next into batch, urgent messages first.
func (l *lane) take(batch []raft.Message) []raft.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	for bytes := 0; len(batch) < flushMessage && bytes < flushBytes; {
		q := &l.urgent
		if q.len() == 0 {
			q = &l.logs
		}
		if q.len() == 0 {
			break
		}
		m, size := q.pop()
		batch, bytes = append(batch, m), bytes+size
	}
	return batch
}

// setConnected switches between the limits. What is queued of log traffic dies with a connection: the peer's process
// may have ended, and the leader has to ask again where its log ends.
func (l *lane) setConnected(connected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connected = connected
	if !connected {
		l.t.stats.droppedLog.Add(uint64(l.logs.len()))
		l.logs.dropOldest(l.logs.len())
		if extra := l.urgent.len() - idleMessages; extra > 0 {
			l.t.stats.droppedUrgent.Add(uint64(extra))
			l.urgent.dropOldest(extra)
		}
	}
}

// kickOff makes run dial now.
func (l *lane) kickOff() { signal(l.kick) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps a connection to the peer until ctx ends. Who was not named by SetPeers is dialed when there is something to
// send.
func (l *lane) run(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-l.kick:
	}
	for backoff := time.Duration(0); ctx.Err() == nil; {
		pause := time.Duration(0)
		began := time.Now()
		k, _, err := l.t.dial(ctx, l.address, hello{purpose: forMessages, to: l.peer})
		if err == nil {
			began = time.Now()
			l.carry(ctx, k)
		} else {
			l.unreachable(ctx, err)
		}
		if err == nil && time.Since(began) > l.t.o.Limits.MaxBackoff {
			backoff = 0
		} else {
			backoff = min(max(2*backoff, l.t.o.Limits.MinBackoff), l.t.o.Limits.MaxBackoff)
			pause = backoff/2 + time.Duration(l.random.Int64N(int64(backoff/2)+1))
		}
		l.pause(ctx, pause)
	}
}

func (l *lane) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.kick:
	case <-timer.C:
	}
}

// unreachable tells those whom it concerns that a dial failed.
func (l *lane) unreachable(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	kind := codeWelcome
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		kind = refusal.Code
		if l.t.o.Events.Refused != nil {
			l.t.o.Events.Refused(*refusal)
		}
	}
	if hushed, ok := l.hush.allow(kind, time.Now()); ok {
		l.log.Warn("cannot reach peer", "error", err.Error(), "more_like_this", hushed)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		l.t.hint(l.peer, err)
	}
}

// carry writes what is queued to k until the connection or ctx ends.
func (l *lane) carry(ctx context.Context, k *link) {
	stop := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); errors.Is(cause, errRemoved) {
			_ = k.send(controlFrame(frameBye), farewell)
		}
		k.fail(context.Cause(ctx))
	})
	defer stop()
	l.log.Info("connected to peer")
	l.hush = limiter{}
	l.setConnected(true)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		k.fail(l.watch(k))
	}()
	k.fail(l.write(k, gone))
	<-gone
	l.setConnected(false)
	cause := k.failure()
	if ctx.Err() != nil {
		return
	}
	l.log.Info("lost the connection to peer", "cause", cause.Error())
	if !errors.Is(cause, errDeliberate) && !errors.Is(cause, errFrame) {
		l.t.hint(l.peer, cause)
	}
}

// watch reads what the accepting side says, which is little, and so learns at once of the end of the connection.
func (l *lane) watch(k *link) error {
	const buffer = 64
	r := newFrameReader(k, buffer, buffer)
	for {
		f, err := r.next()
		if err != nil {
			return err
		}
		switch f.kind {
		case framePing:
			if err := k.send(controlFrame(framePong), l.t.o.Limits.Write); err != nil {
				return err
			}
		case frameBye:
			return errBye
		default:
			l.log.Error("peer sent what nobody sends this way", "frame_type", int(f.kind))
			return errFrame
		}
	}
}

// write is the only one to send messages on k; its result is nil when the connection ended otherwise.
func (l *lane) write(k *link, gone <-chan struct{}) error {
	for {
		l.batch = l.take(l.batch[:0])
		if len(l.batch) == 0 {
			select {
			case <-l.wake:
				continue
			case <-gone:
				return nil
			}
		}
		for i := range l.batch {
			if err := l.out.add(&l.batch[i]); err != nil {
				l.log.Error("dropped a message that cannot be sent", "error", err.Error())
			}
		}
		n := len(l.batch)
		clear(l.batch)
		if err := l.out.flush(k, l.t.o.Limits.Write); err != nil {
			return err
		}
		l.t.stats.sent.Add(uint64(n))
	}
}

// batchWriter encodes messages into one buffer and writes it at once. Large entries are not copied: one writev gathers
// them from where they lie.
type batchWriter struct {
	buf  []byte
	cut  int         // buf up to here is in vec
	vec  net.Buffers // pieces of buf and entries
	rest net.Buffers // what WriteTo eats
}

const keepBytes = 1 << 20 // of a buffer between batches

func (w *batchWriter) add(m *raft.Message) error {
	if n := messageBytes(m); n > maxFrameBytes {
		return errors.New("raft/tcp: message is too large for a frame")
	}
	a, ok := m.Body.(raft.Append)
	if !ok {
		b, err := appendMessage(w.buf, m)
		w.buf = b
		return err
	}
	w.buf = appendAppend(w.buf, m.Term, &a)
	for _, e := range a.Entries {
		if e.Size() < largeEntry {
			w.buf = append(w.buf, e.Bytes()...)
			continue
		}
		w.vec = append(w.vec, w.buf[w.cut:len(w.buf):len(w.buf)], e.Bytes())
		w.cut = len(w.buf)
	}
	return nil
}

func (w *batchWriter) flush(k *link, patience time.Duration) error {
	defer w.reset()
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	_ = k.SetWriteDeadline(time.Now().Add(patience))
	if len(w.vec) == 0 {
		_, err := k.Conn.Write(w.buf)
		return err
	}
	w.vec = append(w.vec, w.buf[w.cut:])
	w.rest = w.vec
	_, err := w.rest.WriteTo(k.Conn)
	return err
}

func (w *batchWriter) reset() {
	clear(w.vec)
	w.vec, w.rest, w.cut, w.buf = w.vec[:0], nil, 0, w.buf[:0]
	if cap(w.buf) > keepBytes {
		w.buf = nil
	}
}

// queue is a first-in-first-out queue of messages.
type queue struct {
	items []queued
	head  int
	bytes int
}

type queued struct {
	m    raft.Message
	size int
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(m *raft.Message, size int) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, queued{*m, size})
	q.bytes += size
}

func (q *queue) pop() (raft.Message, int) {
	it := q.items[q.head]
	q.items[q.head] = queued{}
	q.bytes -= it.size
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return it.m, it.size
}

func (q *queue) dropOldest(n int) {
	for range n {
		q.pop()
	}
}

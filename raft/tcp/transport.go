package tcp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/raft"
)

// Causes for which we end a connection ourselves; they say nothing about the peer's process.
var (
	errDeliberate = errors.New("raft/tcp: connection ended on purpose")
	errRemoved    = deliberate("the peer was removed")
	errReplaced   = deliberate("the peer has a newer connection")
	errSilent     = deliberate("another process claims to be the peer, and this one does not answer")
	errBye        = deliberate("the peer said goodbye")
)

type deliberateError string

func deliberate(text string) error           { return deliberateError(text) }
func (e deliberateError) Error() string      { return "raft/tcp: " + string(e) }
func (deliberateError) Is(target error) bool { return target == errDeliberate }

// ErrClosed is returned by Start and SendSnapshot of a closed Transport.
var ErrClosed = deliberate("the transport is closed")

// Transport is a raft.Transport over TCP.
type Transport struct {
	o          Options
	log        *slog.Logger
	listener   net.Listener
	handshakes chan struct{} // one element for each handshake that is going on
	asks       chan struct{} // and for each question that is being answered
	streams    chan struct{} // one element for each snapshot that is being received
	refusals   limiters
	stats      counters
	stopAccept context.CancelCauseFunc
	wg         sync.WaitGroup

	mu       sync.RWMutex // guards the fields below
	handler  raft.Handler
	closed   bool
	status   Status
	founded  bool // SetPeers has named somebody
	lanes    map[raft.PeerID]*lane
	accepted map[raft.PeerID]*inbound
	sending  map[*context.CancelCauseFunc]struct{} // of snapshots
}

var _ raft.Transport = (*Transport)(nil)

type counters struct {
	sent, received, droppedLog, droppedUrgent, dialed, accepted, refusals atomic.Uint64
}

const (
	maxHandshakes = 128
	maxStreams    = 4
	maxAccepted   = 2 * raft.MaxPeers
)

// New listens, and answers probes from now on. Messages and snapshots are refused until Start.
func New(o Options) (*Transport, error) {
	ctx, cancel := ownLife()
	if err := o.complete(ctx); err != nil {
		cancel(nil)
		return nil, err
	}
	t := &Transport{
		o:          o,
		log:        o.Logger.With("node", o.Self.String()),
		listener:   o.Listener,
		handshakes: make(chan struct{}, maxHandshakes),
		asks:       make(chan struct{}, maxAsks),
		streams:    make(chan struct{}, maxStreams),
		stopAccept: cancel,
		lanes:      map[raft.PeerID]*lane{},
		accepted:   map[raft.PeerID]*inbound{},
		sending:    map[*context.CancelCauseFunc]struct{}{},
	}
	t.wg.Go(func() { t.accept(ctx) })
	return t, nil
}

// ownLife makes a context that ends by Close alone: what runs in it outlives every call.
func ownLife() (context.Context, context.CancelCauseFunc) {
	return context.WithCancelCause(context.Background()) //nolint:forbidigo // there is no caller to take it from
}

// Addr returns the address of the listener.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// SetStatus says what probes are told from now on. Detail beyond MaxDetailBytes is cut off. Once SetPeers has named
// somebody the node belongs to a cluster, and is not Empty whatever its Status says.
func (t *Transport) SetStatus(s Status) {
	s.Detail = append([]byte(nil), s.Detail[:min(len(s.Detail), MaxDetailBytes)]...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status = s
}

func (t *Transport) identity() Identity {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.status
	s.Empty = s.Empty && !t.founded
	return Identity{Cluster: t.o.Cluster, ID: t.o.Self, Boot: t.o.Boot, Status: s}
}

// Stats returns the counters.
func (t *Transport) Stats() Stats {
	c := &t.stats
	return Stats{
		Sent: c.sent.Load(), Received: c.received.Load(), DroppedLog: c.droppedLog.Load(), DroppedUrgent: c.droppedUrgent.Load(),
		Dialed: c.dialed.Load(), Accepted: c.accepted.Load(), Refusals: c.refusals.Load(),
	}
}

// Start implements raft.Transport.
func (t *Transport) Start(h raft.Handler) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if t.handler != nil {
		return errors.New("raft/tcp: started twice")
	}
	t.handler = h
	return nil
}

func (t *Transport) started() raft.Handler {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.handler
}

// SetPeers implements raft.Transport; it may be called before Start. A peer whose address changes is dialed at once.
func (t *Transport) SetPeers(peers []raft.Peer) {
	want := make(map[raft.PeerID]string, len(peers))
	for _, p := range peers {
		if p.ID != t.o.Self {
			want[p.ID] = p.Address
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.founded = t.founded || len(peers) > 0
	for id, l := range t.lanes {
		if _, named := want[id]; l.named && !named {
			t.stopLane(l)
			if c := t.accepted[id]; c != nil {
				t.wg.Go(func() { c.dismiss(errRemoved) })
			}
		}
	}
	for id, address := range want {
		l := t.lanes[id]
		if l != nil && l.address == address {
			l.named = true
			l.kickOff()
			continue
		}
		if l != nil {
			t.stopLane(l)
		}
		t.startLane(id, address, true)
	}
}

// startLane makes and runs a lane; mu is held.
func (t *Transport) startLane(peer raft.PeerID, address string, named bool) {
	ctx, cancel := ownLife()
	l := &lane{
		t: t, peer: peer, address: address, cancel: cancel, named: named,
		log:    t.log.With("peer", peer.String(), "address", address),
		random: rand.New(rand.NewPCG(t.o.Seed, uint64(peer.Node)^peer.Incarnation)),
		wake:   make(chan struct{}, 1),
		kick:   make(chan struct{}, 1),
	}
	if named {
		l.kickOff()
	}
	t.lanes[peer] = l
	t.wg.Go(func() { l.run(ctx) })
}

// stopLane ends a lane; mu is held.
func (t *Transport) stopLane(l *lane) {
	l.cancel(errRemoved)
	delete(t.lanes, l.peer)
}

// Send implements raft.Transport. Messages whose From is somebody else, or whose To is nobody we know, are dropped.
func (t *Transport) Send(ms []raft.Message) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for len(ms) > 0 {
		n := 1
		for n < len(ms) && ms[n].To == ms[0].To {
			n++
		}
		if l := t.lanes[ms[0].To]; l != nil {
			l.push(ms[:n])
		}
		ms = ms[n:]
	}
}

// Close implements raft.Transport. It must not be called from a Handler's method.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	for _, l := range t.lanes {
		l.cancel(ErrClosed)
	}
	clear(t.lanes)
	for cancel := range t.sending {
		(*cancel)(ErrClosed)
	}
	t.mu.Unlock()
	var err error
	if first {
		t.stopAccept(ErrClosed)
		err = t.listener.Close()
	}
	t.wg.Wait()
	return err
}

func (t *Transport) hint(peer raft.PeerID, cause error) {
	if h := t.started(); h != nil {
		h.Hint(raft.Hint{Peer: peer, Reason: cause.Error()})
	}
}

// limiter lets the same thing be logged once in a while. One goroutine uses it at a time.
type limiter struct {
	kind   Code
	at     time.Time
	hushed int
}

const logPause = 30 * time.Second

// allow reports whether to log, and how many were kept back since the last time.
func (m *limiter) allow(kind Code, now time.Time) (hushed int, ok bool) {
	if !m.at.IsZero() && kind == m.kind && now.Sub(m.at) < logPause {
		m.hushed++
		return 0, false
	}
	hushed, m.kind, m.at, m.hushed = m.hushed, kind, now, 0
	return hushed, true
}

// limiters is a limiter for each Code, for many goroutines.
type limiters struct {
	mu     sync.Mutex // guards the field below
	byCode [codes]limiter
}

func (m *limiters) allow(code Code, now time.Time) (hushed int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byCode[min(int(code), codes-1)].allow(code, now)
}

package front

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// refusals bounds the connections that are being told, all at one time, that there are too many.
const refusals = 64

// Front is the client port of a node. See the package's documentation for how it is driven.
type Front struct {
	o          Options
	nodeLimits Limits // of connections between nodes
	audience   *audience
	routes     routes
	beats      beats
	crew       crew
	fresh      freshness

	wg       sync.WaitGroup // of everything that Run has started
	refusing chan struct{}  // has room for refusals
	applied  atomic.Uint64  // index up to which events were passed on
	pending  atomic.Int64   // bytes of commands that are not answered
	busy     atomic.Int64   // requests that are not answered
	draining atomic.Bool
	quiet    chan struct{} // has room for one: a request was answered, or a connection closed, while draining

	mu      sync.Mutex // guards the fields below
	streams map[*stream]struct{}
	clients map[*client]struct{}
	peers   int
	leader  raft.PeerID
	term    raft.Term
}

// New returns a Front. It serves nobody until Run, but what it is told meanwhile counts.
func New(o Options) (*Front, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Limits = o.Limits.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Front{
		o: o, nodeLimits: o.Limits, audience: newAudience(o.Limits.Lives),
		refusing: make(chan struct{}, refusals), quiet: make(chan struct{}, 1),
		streams: make(map[*stream]struct{}), clients: make(map[*client]struct{}),
	}
	f.nodeLimits.IdleTimeout, f.nodeLimits.QueueBytes = 0, max(o.Limits.QueueBytes, 16*wire.FrameMax)
	f.routes.init(f)
	f.beats.init(f)
	f.crew.init(f)
	f.fresh.began = time.Now().Add(-time.Nanosecond) // so that no later moment is zero
	return f, nil
}

// Run accepts and serves connections until ctx ends; then it closes all of them and returns when nothing of it runs any more. It
// returns an error only if the listener fails. It can run once.
func (f *Front) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	if f.o.Leader != nil {
		f.follow(f.o.Leader())
	}
	f.applied.Store(max(f.applied.Load(), uint64(f.o.State.AppliedIndex())))
	f.wg.Go(func() { f.routes.run(ctx) })
	f.wg.Go(func() { f.beats.run(ctx) })
	for range f.crew.size() {
		f.wg.Go(func() { f.crew.run(ctx) })
	}
	unlisten := context.AfterFunc(ctx, func() { _ = f.o.Listener.Close() }) // accept tells
	err := f.accept(ctx)
	unlisten()
	_ = f.o.Listener.Close() // it may be closed
	cancel()
	f.stop()
	f.crew.stop()
	f.wg.Wait()
	f.beats.stop()
	return err
}

// accept serves connections until the listener is closed. That there are too few descriptors passes.
func (f *Front) accept(ctx context.Context) error {
	pause := linkPauseMin
	for {
		c, err := f.o.Listener.Accept()
		switch {
		case err == nil:
			pause = linkPauseMin
			f.take(ctx, c)
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the listener was closed for that
		case f.draining.Load():
			<-ctx.Done()
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			f.o.Logger.Warn("a connection could not be accepted", "error", err)
			if !rest(ctx, pause) {
				return nil
			}
			pause = min(2*pause, time.Second)
		}
	}
}

// rest waits, and reports false if ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// take serves a connection, or refuses it.
func (f *Front) take(ctx context.Context, c net.Conn) {
	s := newStream(c, &f.crew, &f.o.Limits)
	f.mu.Lock()
	full := len(f.streams) >= f.o.Limits.Connections
	if !full {
		f.streams[s] = struct{}{}
	}
	f.mu.Unlock()
	if full || f.draining.Load() {
		f.refuse(s, full)
		return
	}
	f.count()
	f.wg.Go(func() { f.serve(ctx, s) })
}

// refuse says why there is no room, to as many at one time as is reasonable.
func (f *Front) refuse(s *stream, full bool) {
	p := &parting{wire.ShuttingDown, "the node is shutting down"}
	if full {
		p = &parting{wire.Overloaded, "the node has as many connections as it may; try again in a second, or another node"}
	}
	f.forget(s)
	f.goodbye(p.code)
	select {
	case f.refusing <- struct{}{}:
		f.wg.Go(func() {
			defer func() { <-f.refusing }()
			s.leaveWithin(p, lingerFor)
			s.end()
		})
	default:
		s.drop()
	}
}

// serve greets a connection, serves it and sees it out.
func (f *Front) serve(ctx context.Context, s *stream) {
	err := f.welcome(ctx, s)
	var p *parting
	switch {
	case errors.As(err, &p):
	case errors.Is(err, wire.ErrOutOfStep):
		p = &parting{wire.OutOfStep, err.Error()}
	}
	switch {
	case p != nil:
		s.leave(p)
	case !errors.Is(err, errLeft):
		s.drop()
	}
	if p = s.parted(); p != nil {
		err = p
		f.goodbye(p.code)
	}
	f.o.Logger.Debug("a connection is over", "peer", s.net.RemoteAddr().String(), "reason", err)
	s.end()
	f.forget(s)
	f.count()
	f.calm()
}

func (f *Front) forget(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.streams, s)
}

// stop closes every connection.
func (f *Front) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.streams {
		s.drop()
		_ = bare(s.net).Close() // also when its last frame has been written
	}
}

// Drain ends service: new connections and requests are refused, what is under way is finished, as long as ctx lasts, and then everybody
// is told goodbye. It returns when all connections are closed, or with the cause of ctx. Run goes on until its own ctx ends.
func (f *Front) Drain(ctx context.Context) error {
	f.draining.Store(true)
	_ = f.o.Listener.Close() // accept waits for the end of its ctx from here on
	err := f.await(ctx, func() bool { return f.busy.Load() == 0 })
	f.mu.Lock()
	for s := range f.streams {
		s.leave(&parting{wire.ShuttingDown, "the node is shutting down"})
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.await(ctx, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.streams) == 0
	})
}

func (f *Front) await(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-f.quiet:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// calm tells Drain to look again.
func (f *Front) calm() {
	if f.draining.Load() {
		signal(f.quiet)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is on its way
	}
}

// Applied passes on what an entry did to those who named its session. It is called for every entry in the order of the log, and does
// not block.
func (f *Front) Applied(a replica.Applied) {
	if len(a.Effects) > 0 {
		f.audience.tell(a)
	}
	f.applied.Store(uint64(a.Index))
}

// Installed tells that the state was replaced as a whole. What happened to sessions meanwhile cannot be told any more, so the streams of
// events are broken: clients who named a session are asked to connect again, repeat what they wait for, and so are told.
func (f *Front) Installed() {
	f.eachClient(func(c *client) {
		if f.audience.names(c) {
			c.leave(&parting{wire.OutOfStep, "this node was behind, and does not know what has happened to the session meanwhile"})
		}
	})
	f.applied.Store(max(f.applied.Load(), uint64(f.o.State.AppliedIndex())))
}

// Standing tells who leads. Calls come one after another.
func (f *Front) Standing(s raft.Standing) {
	leader := s.Leader
	if s.Role == raft.Leader {
		leader = f.o.Peer
	}
	f.follow(leader, s.Term)
}

func (f *Front) follow(leader raft.PeerID, term raft.Term) {
	f.mu.Lock()
	changed := f.leader != leader
	f.leader, f.term = leader, term
	f.mu.Unlock()
	f.routes.lead(leader)
	if changed {
		f.Announce()
	}
}

// Announce tells clients who leads and which nodes there are, after either has changed.
func (f *Front) Announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	frame, err := wire.Append(nil, &wire.Nodes{Leader: uint64(f.leader.Node), Nodes: f.o.nodes()})
	if err != nil {
		f.o.Logger.Error("the list of nodes does not fit a message", "error", err)
		return
	}
	for c := range f.clients {
		c.pushFrames(frame, true)
	}
}

func (f *Front) eachClient(do func(*client)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.clients {
		do(c)
	}
}

// clock returns cluster time: as the leader counts it, or else as it is applied here.
func (f *Front) clock() time.Duration {
	if clock, leads := f.o.Tenure.Clock(); leads {
		return clock
	}
	return f.appliedClock()
}

// appliedClock returns cluster time as it is applied here.
func (f *Front) appliedClock() (clock time.Duration) {
	f.o.State.View(func(t *locktable.Table) { clock = t.Clock() })
	return clock
}

// clockOf is clock for who looks at the table: what it holds is told apart from how long ago that was.
func (f *Front) clockOf(t *locktable.Table) time.Duration {
	if clock, leads := f.o.Tenure.Clock(); leads {
		return clock
	}
	return t.Clock()
}

// count tells how many connections there are, in the order in which that changes.
func (f *Front) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.o.Events.Connections != nil {
		f.o.Events.Connections(len(f.streams)-f.peers, f.peers)
	}
}

func (f *Front) goodbye(code wire.Code) {
	if f.o.Events.Goodbye != nil {
		f.o.Events.Goodbye(code)
	}
}

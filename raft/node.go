package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// NodeOptions are what a Node is made of.
type NodeOptions struct {
	Core   Options
	Engine EngineOptions
	// Storage, Transport and Machine belong to the node once Start has succeeded; Close closes the first two.
	Storage   Storage
	Transport Transport
	Machine   StateMachine
	// Events are called in order by a goroutine of their own, so they may block, and nothing waits for them but Close,
	// which they must not call.
	Events Events
}

// Events tell what happens to a Node. Nil functions are left out.
type Events struct {
	// Standing: role, term, leader or configuration have changed. Changes in quick succession are told as one.
	Standing func(Standing)
	// Slow: a write to the log took unusually long.
	Slow func(time.Duration)
	// Snapshot: a snapshot was sent or received, or could not be.
	Snapshot func(peer PeerID, sent bool, err error)
	// Failed: the node has stopped for good.
	Failed func(error)
}

// Result is what became of a proposal.
type Result struct {
	At    Position
	Value any // what the StateMachine set for the entry
}

// Node runs one member of a cluster: a Core with its disk, network and state machine. All methods are safe for
// concurrent use.
type Node struct {
	opt    NodeOptions
	start  time.Time
	inbox  inbox
	engine *Engine // owned by the loop
	events eventQueue

	disk, apply, read lane
	snapshots         sync.WaitGroup
	cancel            context.CancelCauseFunc // ends streams
	stop              chan struct{}
	closing           sync.Once
	done              chan struct{} // the loop has ended
	err               atomic.Pointer[error]
	wg                sync.WaitGroup
	requests          sync.Pool // of *Request
}

// Start continues a node from its storage. A storage that has never held a configuration makes a node that waits to be
// found by a leader; Bootstrap writes the first one. Start returns when the node runs; errors are those of the storage,
// of NewCore and of Transport.Start.
func Start(o NodeOptions) (*Node, error) {
	state, err := o.Storage.Load()
	if err != nil {
		return nil, fmt.Errorf("raft: load log: %w", err)
	}
	if o.Core.FirstRound == 0 {
		o.Core.FirstRound = rand.Uint64() >> 1
	}
	n := &Node{opt: o, start: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	n.inbox.wake = make(chan struct{}, 1)
	n.engine, err = NewEngine(0, o.Core, o.Engine, state, o.Machine.Mark())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background()) //nolint:forbidigo // a node outlives the call that starts it
	n.cancel = cancel
	n.disk, n.apply, n.read = newLane(), newLane(), newLane()
	n.events.wake = make(chan struct{}, 1)
	if err := o.Transport.Start(handler{n}); err != nil {
		return nil, fmt.Errorf("raft: start transport: %w", err)
	}
	o.Transport.SetPeers(n.engine.Config().Peers())
	n.wg.Go(func() { n.loop(ctx) })
	n.wg.Go(n.disk.run)
	n.wg.Go(n.apply.run)
	n.wg.Go(n.read.run)
	n.wg.Go(func() { n.events.run(n.done, o.Events) })
	return n, nil
}

// Bootstrap writes the first configuration into an empty storage. Of the nodes of a new cluster exactly one may do
// so, or all with the same configuration.
func Bootstrap(s Storage, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Joint() {
		return fmt.Errorf("%w: the first one cannot be joint", ErrBadConfig)
	}
	state, err := s.Load()
	if err != nil {
		return fmt.Errorf("raft: load log: %w", err)
	}
	if state.Last > 0 || state.Hard != (HardState{}) {
		return fmt.Errorf("raft: bootstrap: the log is not empty: it ends at %d, in term %d", state.Last, state.Hard.Term)
	}
	first := NewEntry(Position{1, 1}, KindConfig, c.AppendBinary(nil))
	return s.Write([]Write{{Seq: 1, Hard: HardState{Term: 1}, Entries: []Entry{first}}})
}

// Propose replicates a command and returns what the state machine answered to it. It blocks until then, or until ctx
// ends. Errors that wrap ErrUnknown leave open whether the command takes effect; all others mean that it does not:
// *NotLeaderError, ErrTermOver, ErrBusy, ErrTransferring, ErrNoState, ErrTooLarge, ErrDiskFull, ErrClosed.
func (n *Node) Propose(ctx context.Context, p Proposal) (Result, error) {
	r := n.request()
	r.Proposal = p
	if err := n.inbox.propose(r); err != nil {
		return Result{}, n.closedBy(err)
	}
	if err := n.wait(ctx, r); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	defer n.release(r)
	return Result{r.At, r.Result}, r.Err
}

// Waiter is told what became of a proposal that was submitted.
type Waiter interface {
	// Proposed is called once, with what Propose would have returned. The node's loop calls it, so it must not block: it hands on
	// what it is told.
	Proposed(r Result, err error)
}

// Submit proposes a command for who does not wait for it: w is told what becomes of it, when the state machine has applied it or
// when that is not to be expected any more. It does not block. After an error w is not told anything, and the command has no
// effect: ErrBusy, ErrClosed.
func (n *Node) Submit(p Proposal, w Waiter) error {
	r := n.request()
	r.Proposal, r.waiter = p, w
	if err := n.inbox.propose(r); err != nil {
		n.release(r)
		return n.closedBy(err)
	}
	return nil
}

// Read returns when the state machine has applied all that was committed when Read was called, so that what is then
// read from it is linearizable. It works on every node, without writing to a disk. It blocks while there is no leader,
// until ctx ends. The index is the one the read took effect at. Errors: the cause of ctx, ErrClosed.
func (n *Node) Read(ctx context.Context) (Index, error) {
	r := n.request()
	if err := n.inbox.read(r); err != nil {
		return 0, n.closedBy(err)
	}
	if err := n.wait(ctx, r); err != nil {
		return 0, err
	}
	defer n.release(r)
	return r.At.Index, r.Err
}

// Reconfigure changes the configuration whose index is base; see Core.Reconfigure. It returns when the change is
// committed, for a change of voters when the joint configuration is.
func (n *Node) Reconfigure(ctx context.Context, base Index, next Config) (Position, error) {
	r := n.request()
	err := n.inbox.call(call{
		run:  func(e *Engine, now time.Duration) { e.Reconfigure(now, base, next, r) },
		drop: func(err error) { r.Err = err; r.done <- struct{}{} },
	})
	if err != nil {
		return Position{}, n.closedBy(err)
	}
	if err := n.wait(ctx, r); err != nil {
		return Position{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	defer n.release(r)
	return r.At, r.Err
}

// request returns an empty request, one that was used before if there is one.
func (n *Node) request() *Request {
	if r, ok := n.requests.Get().(*Request); ok {
		return r
	}
	return &Request{done: make(chan struct{}, 1)}
}

// release takes back a request that has been answered; nothing else refers to it.
func (n *Node) release(r *Request) {
	*r = Request{done: r.done}
	n.requests.Put(r)
}

// wait blocks until r is answered; the loop answers every request that it was given before it ends. The error tells
// that the caller has stopped waiting.
func (n *Node) wait(ctx context.Context, r *Request) error {
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.abandoned.Store(true)
		return context.Cause(ctx)
	}
}

// Transfer hands leadership to another voter, or to the most advanced one if to is zero. It returns when the attempt
// has begun; it has worked when Standing changes. Errors are those of Core.Transfer.
func (n *Node) Transfer(ctx context.Context, to PeerID) error {
	return n.ask(ctx, func(e *Engine, now time.Duration) error { return e.Transfer(now, to) })
}

// Suspect passes a hint that a peer's process is gone, from whoever watches processes. It never starts an election by
// itself.
func (n *Node) Suspect(peer PeerID) { n.suspect(peer, CauseSuspicion) }

func (n *Node) suspect(peer PeerID, cause Cause) {
	n.report(func(e *Engine, now time.Duration) { e.Suspect(now, peer, cause) })
}

// Status describes the node. The index is the last one its state machine has applied.
func (n *Node) Status(ctx context.Context) (s Status, applied Index, err error) {
	var got struct {
		status  Status
		applied Index
	}
	err = n.ask(ctx, func(e *Engine, _ time.Duration) error {
		got.status, got.applied = e.Status()
		return nil
	})
	if err != nil {
		return Status{}, 0, err // the loop may be about to fill it in
	}
	return got.status, got.applied, nil
}

// ask runs f in the loop and returns its error.
func (n *Node) ask(ctx context.Context, f func(*Engine, time.Duration) error) error {
	answer := make(chan error, 1)
	err := n.inbox.call(call{
		run:  func(e *Engine, now time.Duration) { answer <- f(e, now) },
		drop: func(err error) { answer <- err },
	})
	if err != nil {
		return n.closedBy(err)
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Done is closed when the node has stopped, by Close or by an error, which Err then returns.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node has stopped by itself; nil if it has not.
func (n *Node) Err() error {
	if err := n.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (n *Node) closedBy(err error) error {
	if cause := n.Err(); cause != nil && errors.Is(err, ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	return err
}

// Close stops the node and returns when all its goroutines have ended and storage and transport are closed. Requests
// under way end with ErrUnknown. It does not hand over leadership: see Transfer.
func (n *Node) Close() error {
	var err error
	n.closing.Do(func() {
		close(n.stop)
		n.cancel(ErrClosed)
		<-n.done
		err = n.opt.Transport.Close()
		n.snapshots.Wait()
		n.wg.Wait()
		err = errors.Join(err, n.opt.Storage.Close())
	})
	return err
}

// handler is the node as its transport sees it.
type handler struct{ n *Node }

func (h handler) Receive(ms []Message) { h.n.inbox.receive(ms) }

func (h handler) Hint(hint Hint) { h.n.suspect(hint.Peer, CauseConnection) }

// ReceiveSnapshot lets the state machine read the stream and then offers the result to the loop.
func (h handler) ReceiveSnapshot(_ context.Context, head SnapshotHeader, r io.Reader) error {
	made, err := h.n.opt.Machine.Restore(head.Mark, r)
	if err == nil {
		err = h.n.inbox.call(call{
			run:  func(e *Engine, now time.Duration) { e.Offer(now, head, made) },
			drop: func(error) { made.Discard() },
		})
		if err != nil {
			made.Discard()
		}
	}
	h.n.events.snapshot(head.From, false, err)
	return err
}

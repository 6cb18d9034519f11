package rafttest

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/raft"
)

// Node is one identity in a World: a Core in an Engine, with a log, a state machine and a clock of its own. It is driven
// as raft.Node drives its engine: what waits is taken in first, then the time; a job of the disk lane ends with its
// Then messages.
type Node struct {
	world   *World
	id      raft.PeerID
	life    int // counts starts and ends
	engine  *raft.Engine
	machine Machine
	store   store
	clock   clock

	inbox    inbox
	poked    bool // a turn is on its way
	turning  bool
	wakeAt   time.Duration // when the timer fires; zero if it is not set
	paused   bool
	pausedAt time.Duration
	deferred []func() // what came to an end while the process was stopped
	disk     diskJob
	apply    applyJob
	calls    map[*raft.Request]func(*raft.Request)

	// What the checker knows of the node.
	at        raft.Standing
	term      raft.Term // durable
	commit    raft.Index
	last      raft.Index // end of the log in memory
	appliedTo raft.Index
	config    raft.Config // in force at the end of the turn before

	transferTill time.Duration // by the node's clock: a transfer must have ended

	retired bool  // the log is damaged: this identity is over
	doomed  bool  // an error of the disk has been planted: the node must stop
	failure error // why it has stopped by itself
}

// inbox is what waits for the next turn.
type inbox struct {
	messages  []raft.Message
	calls     []func(*raft.Engine, time.Duration)
	proposals []*raft.Request
	reads     []*raft.Request
}

// clock is a node's monotonic clock: it starts anywhere and runs a little too fast or too slow.
type clock struct {
	origin time.Duration
	start  time.Duration // in the World's time
	drift  int64         // in millionths
}

func (c clock) read(now time.Duration) time.Duration {
	passed := int64(now - c.start)
	return c.origin + time.Duration(passed+passed*c.drift/1_000_000)
}

// when returns a moment at which the clock shows at least t.
func (c clock) when(now, t time.Duration) time.Duration {
	left := max(int64(t-c.read(now)), 0)
	return now + time.Duration(left-left*c.drift/(1_000_000+c.drift)) + 2
}

// AddNode gives birth to an identity, with an empty directory. It does not run yet.
func (w *World) AddNode(id raft.PeerID) *Node {
	n := &Node{world: w, id: id, calls: map[*raft.Request]func(*raft.Request){}}
	n.machine = w.opt.NewMachine(n)
	n.store = newStore(n)
	w.nodes[id] = n
	w.order = append(w.order, n)
	return n
}

// ID returns the node's identity.
func (n *Node) ID() raft.PeerID { return n.id }

// World returns where the node lives.
func (n *Node) World() *World { return n.world }

// Machine returns the node's state machine.
func (n *Node) Machine() Machine { return n.machine }

// Engine returns what runs, or nil.
func (n *Node) Engine() *raft.Engine { return n.engine }

// Running reports whether the node's process is there; it may be paused.
func (n *Node) Running() bool { return n.engine != nil }

// Paused reports whether the process is stopped for the moment.
func (n *Node) Paused() bool { return n.paused }

// Retired reports whether the identity is over for good: its log was found damaged, or is gone.
func (n *Node) Retired() bool { return n.retired }

// Leads reports whether the node takes itself for the leader.
func (n *Node) Leads() bool { return n.engine != nil && n.at.Role == raft.Leader }

// Standing returns what the node takes itself for.
func (n *Node) Standing() raft.Standing { return n.at }

func (n *Node) String() string { return "node " + shortID(n.id) }

// Clock reads the node's monotonic clock.
func (n *Node) Clock() time.Duration { return n.clock.read(n.world.now) }

// When returns a moment of the World, from now on, at which the node's clock shows at least t.
func (n *Node) When(t time.Duration) time.Duration { return n.clock.when(n.world.now, t) }

// After lets f happen in the node's process when d has passed: not if that has ended by then, and if it is stopped, when it goes on.
func (n *Node) After(d time.Duration, label string, f func()) { n.after(max(d, 0), label, f) }

// SetDrift lets the node's clock run fast or slow from its next start on, in millionths.
func (n *Node) SetDrift(drift int64) { n.clock.drift = drift }

// Bootstrap writes the first configuration.
func (n *Node) Bootstrap(c raft.Config) error { return n.store.bootstrap(c) }

// found begins the log behind a state.
func (n *Node) found(f Founder, first raft.Config) error {
	mark, err := f.Found(n, first)
	if err != nil {
		return err
	}
	n.world.check.founded(n, mark)
	return n.store.found(mark)
}

// Start starts the process. The error wraps wal.ErrRetired if the log is damaged: the identity is then over.
func (n *Node) Start() error {
	w := n.world
	state, err := n.store.open()
	if err != nil {
		w.trace.note(w.now, n, "cannot open its log", err.Error())
		return err
	}
	n.life++
	n.clock.origin = time.Duration(w.rand.Int64N(int64(time.Hour)))
	n.clock.start = w.now
	opt := w.opt.Core
	opt.ID, opt.Seed, opt.FirstRound = n.id, w.rand.Uint64(), w.rand.Uint64()>>1
	mark := n.machine.Mark()
	w.trace.note(w.now, n, "starts", fmt.Sprintf("%+v, log %d to %d/%d, state %d", state.Hard, state.Base.Index+1,
		n.store.ledger.last(), n.store.ledger.lastPosition().Term, mark.Index))
	engine, err := raft.NewEngine(n.clock.read(w.now), opt, w.opt.Engine, state, mark)
	if err != nil {
		w.Fail("%v does not start: %v", n, err)
		return err
	}
	n.engine = engine
	n.doomed, n.failure = false, nil
	w.check.started(n, state, mark)
	if p, ok := n.machine.(Process); ok {
		p.Started()
	}
	n.poke()
	return nil
}

// poke lets the node take a turn.
func (n *Node) poke() {
	switch {
	case n.engine == nil || n.paused || n.poked:
		return
	case n.world.opt.Times.Loop == 0 && !n.turning:
		n.turn()
		return
	}
	n.poked = true
	n.after(n.world.about(n.world.opt.Times.Loop), "turn", n.turn)
}

// turn does what raft.Node's loop does between two waits.
func (n *Node) turn() {
	w := n.world
	n.poked, n.turning = false, true
	in := n.inbox
	n.inbox = inbox{}
	now := n.clock.read(w.now)
	n.engine.Receive(now, in.messages)
	for _, f := range in.calls {
		f(n.engine, now)
	}
	for _, r := range in.proposals {
		n.engine.Propose(now, r)
	}
	for _, r := range in.reads {
		n.engine.Read(now, r)
	}
	if now >= n.engine.Deadline() {
		n.engine.Wake(now)
	}
	work := n.engine.Turn(now)
	before := n.at
	w.check.turned(n)
	if p, ok := n.machine.(Process); ok && n.at != before {
		p.Standing(n.at)
	}
	n.do(work)
	n.turning = false
	if n.engine != nil {
		n.arm()
	}
}

// arm sets the timer.
func (n *Node) arm() {
	const never = time.Duration(1) << 60
	w := n.world
	deadline := n.engine.Deadline()
	if deadline > never {
		return
	}
	at := n.clock.when(w.now, deadline)
	if n.wakeAt > w.now && n.wakeAt <= at {
		return
	}
	n.wakeAt = at
	n.after(at-w.now, "timer", func() {
		if n.wakeAt == at {
			n.wakeAt = 0
			n.poke()
		}
	})
}

// after lets something happen to this life of the node. A process that is stopped does it when it goes on.
func (n *Node) after(d time.Duration, label string, f func()) {
	n.world.schedule(event{at: n.world.now + d, node: n, life: n.life, label: label, run: func() {
		if n.paused {
			n.deferred = append(n.deferred, f)
			return
		}
		f()
	}})
}

// call passes something to the node's next turn.
func (n *Node) call(what string, f func(*raft.Engine, time.Duration)) {
	n.world.trace.note(n.world.now, n, what, nil)
	n.inbox.calls = append(n.inbox.calls, f)
	n.poke()
}

// Propose passes a proposal; done is called with the answer, and never if the node ends before. An answer without an
// error is checked against what has been applied.
func (n *Node) Propose(p raft.Proposal, done func(*raft.Request)) {
	r := &raft.Request{Proposal: p}
	n.calls[r] = func(r *raft.Request) {
		if r.Err == nil {
			n.world.check.acknowledged(n, r, p.Data)
		}
		done(r)
	}
	n.inbox.proposals = append(n.inbox.proposals, r)
	n.poke()
}

// Read passes a read; done is called when the state machine has come far enough, and never if the node ends before. An
// answer without an error is checked against all that was committed when Read was called.
func (n *Node) Read(done func(*raft.Request)) {
	r := &raft.Request{}
	begun := n.world.check.begun()
	n.calls[r] = func(r *raft.Request) {
		if r.Err == nil {
			n.world.check.answered(n, begun, r)
		}
		done(r)
	}
	n.inbox.reads = append(n.inbox.reads, r)
	n.poke()
}

// Reconfigure passes a change of the configuration.
func (n *Node) Reconfigure(base raft.Index, next raft.Config, done func(*raft.Request)) {
	r := &raft.Request{}
	n.calls[r] = done
	n.call("reconfigure", func(e *raft.Engine, now time.Duration) { e.Reconfigure(now, base, next, r) })
}

// Transfer asks the node to hand over leadership.
func (n *Node) Transfer(to raft.PeerID) {
	n.call("transfer", func(e *raft.Engine, now time.Duration) {
		if e.Transfer(now, to) == nil {
			n.transferTill = now + n.world.opt.Core.ElectionTimeout
			n.world.cover.hit(Transferred)
		}
	})
}

// Suspect gives the node a hint that another one is gone.
func (n *Node) Suspect(peer raft.PeerID) {
	n.call("suspect", func(e *raft.Engine, now time.Duration) { e.Suspect(now, peer, raft.CauseConnection) })
}

// Pause stops the process, as SIGSTOP does: its clock goes on, and what comes for it waits.
func (n *Node) Pause() {
	n.paused, n.pausedAt = true, n.world.now
	n.world.trace.note(n.world.now, n, "is stopped", nil)
}

// Resume lets the process go on.
func (n *Node) Resume() {
	if !n.paused {
		return
	}
	n.paused = false
	n.world.trace.note(n.world.now, n, "goes on", nil)
	if p, ok := n.machine.(Process); ok {
		p.Resumed(n.world.now - n.pausedAt)
	}
	list := n.deferred
	n.deferred = nil
	for _, f := range list {
		n.after(time.Duration(n.world.rand.IntN(200))*time.Microsecond, "goes on", f)
	}
	n.wakeAt = 0
	n.poke()
}

// Crash ends the process; with power, of what was not synced anything may be lost. What was under way at that moment
// may have happened or not.
func (n *Node) Crash(power bool) {
	if n.engine == nil {
		return
	}
	w := n.world
	w.trace.note(w.now, n, "crashes", fmt.Sprintf("power cut %v", power))
	n.apply.crash(n)
	n.store.crash(n.disk, power)
	n.machine.Crash()
	n.end()
}

// end forgets everything that lives in the process.
func (n *Node) end() {
	n.life++
	if p, ok := n.machine.(Process); ok {
		p.Ended()
	}
	n.engine, n.inbox, n.deferred = nil, inbox{}, nil
	n.poked, n.turning, n.paused, n.wakeAt = false, false, false, 0
	n.disk, n.apply = diskJob{}, applyJob{}
	n.store.failSync, n.store.stalledTill = false, 0
	clear(n.calls)
	n.world.check.ended(n)
	n.at, n.commit = raft.Standing{}, 0
}

// fail is the end of a node that does not trust itself.
func (n *Node) fail(err error) {
	w := n.world
	w.trace.note(w.now, n, "stops", err.Error())
	if !n.doomed {
		w.Fail("%v stops: %v", n, err)
	}
	n.failure = err
	w.cover.hit(FatalStop)
	n.Crash(w.chance(0.5))
}

var errPlanted = errors.New("rafttest: planted error of the disk")

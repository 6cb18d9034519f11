package rafttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockd/lockd/raft"
)

// WorldOptions say what a World is made of.
type WorldOptions struct {
	// Seed decides everything that is left to chance.
	Seed uint64
	// Core and Engine are the options of every node; the node's ID and the seed of its timeouts are filled in.
	Core   raft.Options
	Engine raft.EngineOptions
	// NewMachine makes the state machine of a node whose directory is empty.
	NewMachine func(*Node) Machine
	// CommandID returns what tells a command from all others, if that can be told. Each is applied at most once.
	CommandID func(data []byte) (id uint64, ok bool)
	// WAL puts package wal over a Disk below every node; without it the log is a Ledger alone. SegmentBytes is the size
	// of its segments.
	WAL          bool
	SegmentBytes int64
	// Times of what a node does for itself.
	Times Times
	// Network is how the network behaves when nothing is broken.
	Network NetworkOptions
	// CrashAt, if not nil, is asked at the places where a crash is worst, which the names below tell; if it crashes the
	// node there, it returns true.
	CrashAt func(n *Node, place string) bool
	// Beside, if not nil, is a list of events of its own that takes turns with that of the World.
	Beside Timeline
	// TraceEvents is how many of the last events a failure shows. Default 200.
	TraceEvents int
}

// Timeline is a list of events in the World's time. At one moment those of the World come first.
type Timeline interface {
	// Next returns when the first event is due; false if there is none.
	Next() (at time.Duration, ok bool)
	// Advance tells how late it is, before anything happens at that moment.
	Advance(now time.Duration)
	// Step lets the first event happen. An error ends the World.
	Step() error
}

// Places for WorldOptions.CrashAt. In all of them the disk knows what the engine does not know yet.
const (
	PlaceWritten   = "crash: after a write, before its messages"
	PlaceApplied   = "crash: after applying"
	PlaceInstalled = "crash: after installing a snapshot, before resetting the log"
	PlaceCompacted = "crash: after compacting"
	PlaceReceived  = "crash: after receiving a snapshot"
)

// Times are how long a node's own work takes: each is drawn anew between half of it and one and a half.
type Times struct {
	Loop     time.Duration // from an input to the turn that takes it; zero for at once
	Sync     time.Duration // a write to the log
	Apply    time.Duration // a batch
	Snapshot time.Duration // a stream
}

// World is a cluster of Raft nodes in virtual time: real cores and engines, and on request the real log, over clocks,
// disks and a network that fail as they are told. It has one goroutine, the caller's, and a list of what is to happen,
// in order of time; the same options give the same course of events. After every event it checks what must always
// hold, and it stops at the first thing that does not. A World is not safe for concurrent use.
type World struct {
	opt    WorldOptions
	rand   *rand.Rand
	now    time.Duration
	events eventHeap
	seq    uint64
	steps  int
	// instant counts the events of one moment.
	instant int
	err     error

	net   *Network
	nodes map[raft.PeerID]*Node // all that ever were
	order []*Node               // the same, in the order of their birth
	check *checker
	trace trace
	cover Coverage
}

// NewWorld makes a World without nodes.
func NewWorld(opt WorldOptions) *World {
	if opt.TraceEvents == 0 {
		opt.TraceEvents = 200
	}
	w := &World{
		opt:   opt,
		rand:  rand.New(rand.NewPCG(opt.Seed, 1)),
		nodes: map[raft.PeerID]*Node{},
		trace: newTrace(opt.TraceEvents),
		cover: Coverage{},
	}
	w.net = &Network{world: w, opt: opt.Network, links: map[link]*linkState{}}
	if w.opt.CommandID == nil {
		w.opt.CommandID = func([]byte) (uint64, bool) { return 0, false }
	}
	w.check = newChecker(w)
	return w
}

// Now returns the time since the World began.
func (w *World) Now() time.Duration { return w.now }

// Rand returns the World's source of randomness.
func (w *World) Rand() *rand.Rand { return w.rand }

// Network returns the network between the nodes.
func (w *World) Network() *Network { return w.net }

// Coverage returns how often what has happened. It goes on to change.
func (w *World) Coverage() Coverage { return w.cover }

// Steps returns how many events have happened.
func (w *World) Steps() int { return w.steps }

// Hash returns a number that differs, almost surely, between two courses of events.
func (w *World) Hash() uint64 { return w.trace.hash }

// Nodes returns all nodes that ever were, in the order of their birth. The slice must not be changed.
func (w *World) Nodes() []*Node { return w.order }

// Node returns the node with an identity, or nil.
func (w *World) Node(id raft.PeerID) *Node { return w.nodes[id] }

// Leader returns the node that leads in the newest term, or nil.
func (w *World) Leader() *Node {
	var best *Node
	for _, n := range w.order {
		if n.Leads() && (best == nil || n.at.Term > best.at.Term) {
			best = n
		}
	}
	return best
}

// Committed returns the newest position that any node knows to be committed.
func (w *World) Committed() raft.Position { return w.check.commit }

// After lets f happen when d has passed. The label names it in the trace.
func (w *World) After(d time.Duration, label string, f func()) {
	w.schedule(event{at: w.now + max(d, 0), label: label, run: f})
}

func (w *World) schedule(e event) {
	w.seq++
	e.seq = w.seq
	w.events.push(e)
}

// Run lets everything happen that is due up to a time, and returns the first violation.
func (w *World) Run(until time.Duration) error {
	for w.err == nil {
		if at, ok := w.beside(); ok && at <= until {
			w.stepBeside(at)
			continue
		}
		if len(w.events) == 0 || w.events[0].at > until {
			break
		}
		e := w.events.pop()
		w.progress(e.at)
		if e.node != nil && e.node.life != e.life {
			continue
		}
		w.steps++
		w.trace.mix(uint64(w.now), hashString(e.label))
		e.run()
	}
	if w.err == nil {
		w.pass(max(w.now, until))
	}
	return w.err
}

// beside returns when the next event of the other list is due, if it is due before those of the World.
func (w *World) beside() (at time.Duration, ok bool) {
	if w.opt.Beside == nil {
		return 0, false
	}
	at, ok = w.opt.Beside.Next()
	return at, ok && (len(w.events) == 0 || at < w.events[0].at)
}

func (w *World) stepBeside(at time.Duration) {
	w.progress(at)
	w.steps++
	if err := w.opt.Beside.Step(); err != nil && w.err == nil {
		w.Fail("%v", err)
	}
}

// pass lets time pass, here and beside.
func (w *World) pass(to time.Duration) {
	w.now = to
	if w.opt.Beside != nil {
		w.opt.Beside.Advance(to)
	}
}

// progress moves time on. If it stands still for ever, something goes round in circles.
func (w *World) progress(to time.Duration) {
	const many = 100_000
	if to > w.now {
		w.pass(to)
		w.instant = 0
		return
	}
	if w.instant++; w.instant > many {
		w.Fail("time stands still: %d events", many)
	}
}

// Fail ends the World, for the first violation that is found.
func (w *World) Fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: at %v: %s", ErrViolation, w.now, fmt.Sprintf(format, args...))
		w.trace.note(w.now, nil, "VIOLATION", w.err.Error())
	}
}

// ErrViolation is wrapped by the error of a World in which something has happened that must never happen.
var ErrViolation = errors.New("rafttest: violation")

// Trace returns the last events, oldest first, one a line.
func (w *World) Trace() []string { return w.trace.lines() }

// about draws a time between half of d and one and a half.
func (w *World) about(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d/2 + time.Duration(w.rand.Int64N(int64(d)+1))
}

// exp draws a time with the mean d.
func (w *World) exp(d time.Duration) time.Duration {
	return time.Duration(w.rand.ExpFloat64() * float64(d))
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rand.Float64() < p }

// event is something that is to happen. One that belongs to a node does not happen once that life of the node is over.
type event struct {
	at    time.Duration
	seq   uint64
	node  *Node
	life  int
	label string
	run   func()
}

// eventHeap holds events in order of time, those of one time in the order in which they were added.
type eventHeap []event

func (h eventHeap) before(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}

func (h *eventHeap) push(e event) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.before(i, up) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *eventHeap) pop() event {
	s := *h
	top, n := s[0], len(s)-1
	s[0] = s[n]
	s[n] = event{}
	s = s[:n]
	*h = s
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && s.before(down+1, down) {
			down++
		}
		if !s.before(down, i) {
			break
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
	return top
}

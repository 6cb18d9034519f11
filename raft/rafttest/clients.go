package rafttest

import (
	"errors"
	"strings"

	"github.com/lockd/lockd/raft"
)

// Workload is what the cluster of a Sim is used for.
type Workload interface {
	// Machine makes the state machine of a node whose directory is empty.
	Machine(n *Node) Machine
	// Begin is called when the first nodes have been started.
	Begin(s *Sim)
	// Answered returns how many requests have been answered.
	Answered() int
	// Calm is called when the last fault has ended, and Quiet when no more requests are to be made.
	Calm()
	// Quiet returns what is still to happen then, which must not take longer than for ever; nil if nothing is.
	Quiet() error
}

// Founder is a Workload whose cluster begins with a state, on its first node alone, instead of with an entry of a log.
type Founder interface {
	// Found makes the state of the first node durable, with this configuration in it, and returns where the log begins.
	Found(n *Node, first raft.Config) (raft.Mark, error)
}

// registerLoad is a Workload of clients that write and read registers.
type registerLoad struct {
	swarm   Swarm
	clients []*client
}

// Machine implements Workload.
func (l *registerLoad) Machine(n *Node) Machine { return NewRegisters(n.World().Rand(), l.swarm.Flush) }

// Begin implements Workload.
func (l *registerLoad) Begin(s *Sim) {
	for range s.Swarm.Clients {
		c := &client{sim: s}
		l.clients = append(l.clients, c)
		c.think()
	}
}

// Answered implements Workload.
func (l *registerLoad) Answered() int {
	n := 0
	for _, c := range l.clients {
		n += c.answered
	}
	return n
}

// Calm implements Workload.
func (l *registerLoad) Calm() {}

// Quiet implements Workload.
func (l *registerLoad) Quiet() error { return nil }

// client asks one thing after the other, of the node it takes for the leader or of any other. It never repeats a
// command: what has no answer has an unknown outcome.
type client struct {
	sim      *Sim
	guess    raft.PeerID
	number   uint64 // of the request under way
	answered int
}

// think waits, then asks. In the end clients take their time: a window of one small message must do for a peer that
// has to catch up.
func (c *client) think() {
	w, mean := c.sim.World, c.sim.Swarm.Think
	if c.sim.calm {
		mean = max(mean, 4*c.sim.Swarm.Heartbeat)
	}
	w.After(w.exp(mean), "client", c.ask)
}

func (c *client) ask() {
	s, w := c.sim, c.sim.World
	if s.quiet {
		return
	}
	c.number++
	number := c.number
	n := w.nodes[c.guess]
	if n == nil || !n.Running() || w.chance(0.1) {
		n = s.places[w.rand.IntN(len(s.places))]
	}
	if !n.Running() {
		c.think()
		return
	}
	w.After(4*s.Swarm.Election, "client gives up", func() {
		if c.number == number {
			c.guess = raft.PeerID{}
			c.number++
			c.ask()
		}
	})
	done := func(r *raft.Request) { c.answer(number, r.Err) }
	if w.chance(s.Swarm.Reads) {
		n.Read(func(r *raft.Request) {
			if r.Err == nil {
				w.cover.hit(readBy(n))
			}
			done(r)
		})
		return
	}
	s.value++
	p := raft.Proposal{Data: RegisterCommand(w.rand.IntN(registerCount), s.value, w.rand.IntN(s.Swarm.Padding+1))}
	if w.chance(0.1) {
		p.Term = n.at.Term
	}
	n.Propose(p, done)
}

// answer goes on after a request.
func (c *client) answer(number uint64, err error) {
	var elsewhere *raft.NotLeaderError
	switch {
	case err == nil:
		c.answered++
	case errors.As(err, &elsewhere):
		c.guess = elsewhere.Leader
	default:
		c.sim.World.cover.hit(refusal(err))
	}
	if number == c.number {
		c.number++
		c.think()
	}
}

func readBy(n *Node) string {
	if n.Leads() {
		return ReadOnLeader
	}
	return ReadOnFollower
}

// refusals are the answers that a Coverage counts, but for a *NotLeaderError.
var refusals = []error{
	raft.ErrUnknown, raft.ErrTransferring, raft.ErrTermOver, raft.ErrNoState, raft.ErrDiskFull,
	raft.ErrConfigChanged, raft.ErrConfigPending, raft.ErrNotCaughtUp,
}

// refusal names an error for the Coverage.
func refusal(err error) string {
	for _, known := range refusals {
		if errors.Is(err, known) {
			return "refused: " + strings.TrimPrefix(known.Error(), "raft: ")
		}
	}
	return "refused: " + err.Error()
}

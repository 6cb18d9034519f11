package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/session"
)

// service is one run: a world of programs and a judge, beside a cluster of raft. It is the Workload of a rafttest.Sim, and the other
// list of events in its World.
type service struct {
	*simworld.World
	opts  Options
	swarm rafttest.Swarm

	sim      *rafttest.Sim
	states   map[raft.PeerID]*state
	answered int // requests of clients, and signs of life
	boots    int // processes that were started

	generation int           // of the cluster
	offset     time.Duration // when its World began
	backup     *backup
	embargo    time.Duration // of the restore

	stage int           // of the good end
	began time.Duration // the present stage
	dead  []session.Life
}

var (
	_ rafttest.Workload = (*service)(nil)
	_ rafttest.Timeline = (*service)(nil)
	_ rafttest.Founder  = (*service)(nil)
)

// Machine implements rafttest.Workload.
func (s *service) Machine(n *rafttest.Node) rafttest.Machine {
	m := newState(s, n)
	s.states[n.ID()] = m
	return m
}

// Begin implements rafttest.Workload.
func (s *service) Begin(sim *rafttest.Sim) {
	s.sim = sim
	if s.generation > 0 {
		return
	}
	for i := range sim.Places() {
		s.Servers = append(s.Servers, &place{s, i})
	}
	s.AddPrograms()
	s.Faults()
	s.Again(s.opts.Backup, s.save)
}

// Next implements rafttest.Timeline.
func (s *service) Next() (at time.Duration, ok bool) {
	at, ok = s.World.Next()
	return at - s.offset, ok
}

// Advance implements rafttest.Timeline.
func (s *service) Advance(now time.Duration) { s.World.Advance(now + s.offset) }

// Answered implements rafttest.Workload.
func (s *service) Answered() int { return s.answered }

// Step implements rafttest.Timeline.
func (s *service) Step() error {
	s.World.Step()
	return s.Err
}

// at returns the server that lives in a place now.
func (s *service) at(place int) *server {
	return s.states[s.sim.Places()[place].ID()].server
}

// up reports whether the node in a place runs; between two clusters none does.
func (s *service) up(place int) bool {
	m := s.states[s.sim.Places()[place].ID()]
	return m != nil && m.server.up
}

// place is where a node lives, as clients see it: who comes back under another identity has the same address.
type place struct {
	s      *service
	number int
}

func (p *place) String() string { return fmt.Sprintf("node %d", p.number) }

// Up implements simworld.Server.
func (p *place) Up() bool { return p.s.up(p.number) }

// Connected implements simworld.Server.
func (p *place) Connected(c *simworld.Conn) {
	n := p.s.at(p.number)
	made := &client{Conn: c}
	n.clients = append(n.clients, made)
	n.byConn[c] = made
}

// Receive implements simworld.Server.
func (p *place) Receive(c *simworld.Conn, msg any) {
	if p.Up() {
		p.s.at(p.number).receive(fromClient{c, msg})
	}
}

// send carries a message to another node: it may be lost, doubled, late, and so out of order.
func (n *server) send(to int, msg any) {
	copies := 1
	if !n.Healed {
		switch {
		case n.Chance(n.opts.Loss):
			n.Hit("loss")
			return
		case n.Chance(n.opts.Double):
			n.Hit("double")
			copies = 2
		}
	}
	from, generation := n.place, n.generation
	for range copies {
		n.After(n.delay(), func() {
			if n.generation != generation {
				return // the nodes of another cluster are refused
			}
			// A cut drops what arrives while it lasts. What is late may outlive it.
			if from == to || n.sim.World.Network().Reaches(raft.NodeID(from+1), raft.NodeID(to+1)) {
				n.at(to).receive(msg)
			} else {
				n.Hit("service message stopped by a cut")
			}
		})
	}
}

// delay draws how long a message between nodes is on its way.
func (n *server) delay() time.Duration {
	if !n.Healed && n.Chance(n.opts.Late) {
		n.Hit("late")
		return n.Between(0, n.Opts.LateMost)
	}
	return n.Between(50*time.Microsecond, n.opts.DelayMost)
}

// commits lets the judge see an entry that nobody has applied before.
func (s *service) commits(term uint64, data []byte) {
	s.Judge.Commit(term, data)
}

// Calm implements rafttest.Workload: the last fault has ended.
func (s *service) Calm() {
	s.Healed = true
	s.Tracef("the faults end")
	// From here on the programs take their time: a window of one small message must do for a peer that has to catch up.
	s.Opts.Think = max(s.Opts.Think, 8*s.swarm.Heartbeat)
	s.Revive()
}

// The stages of the good end.
const (
	settling = iota // what was late is still on its way, and connections may not have seen that they broke
	working         // every worker is to get what it asks for
	ending          // nothing new is begun: every call is to end, and nothing to be left behind
	expiring        // half of the programs are dead: their sessions are to end in time, and no others
)

// Quiet implements rafttest.Workload: everything comes to a good end.
func (s *service) Quiet() error {
	o := &s.Opts
	switch s.stage {
	case settling:
		if s.began == 0 {
			s.began = s.Now()
			s.Judge.SettledAt = s.Now() + o.LateMost + o.NoticeMost + 4*o.TTL
		}
		if s.Now() < s.Judge.SettledAt+5*time.Second {
			return errors.New("settling")
		}
		s.stage = working
	case working:
		if who := s.Unserved(); who != "" {
			return fmt.Errorf("%s has got nothing", who)
		}
		s.Judge.Resting = true
		s.stage = ending
	case ending:
		if left := s.Left(); left != "" {
			return errors.New(left)
		}
		s.dead = s.KillHalf()
		s.began = s.Now()
		s.stage = expiring
	case expiring:
		return s.expired()
	}
	return errors.New("the next stage")
}

// expired checks that the dead are dead in time (invariant 7).
func (s *service) expired() error {
	o := &s.Opts
	// A message here may take longer than the second that the invariant allows for all of them.
	bound := o.TTL + o.TTL/50 + time.Second + digestEvery + 6*s.opts.DelayMost + 400*s.swarm.Heartbeat/20
	if s.Now() < s.began+bound {
		return errors.New("the dead are to expire")
	}
	for _, life := range s.dead {
		if !s.Judge.Ended(life) {
			s.Fail("%v is not dead in time", life)
			return s.Err
		}
	}
	return nil
}

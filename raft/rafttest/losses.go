package rafttest

import (
	"errors"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/wal"
)

// Losses of what was durable are bounded, so that recovery stays possible: at any time a minority of the voters may have
// lost their log or their state, and only while no change of the configuration is under way.

// mayLose reports whether a node may lose what is on its disk.
func (s *Sim) mayLose(n *Node) bool {
	w := s.World
	l := w.Leader()
	if l == nil || !l.ready() || w.now < w.check.configAt+2*time.Second+8*s.Swarm.Heartbeat {
		return false
	}
	config := l.engine.Config()
	if config.Joint() || config.Index > w.check.commit.Index {
		return false
	}
	for _, other := range s.places {
		if c, err := other.configNow(); err != nil || c.Index > config.Index || other.paused {
			return false
		}
	}
	if !config.IsVoter(n.id) {
		return !n.lost()
	}
	lost := 1
	for _, p := range config.Voters {
		if w.nodes[p.ID].lost() {
			lost++
		}
	}
	return !n.lost() && lost <= (len(config.Voters)-1)/2
}

// configNow returns the newest configuration that the node knows.
func (n *Node) configNow() (raft.Config, error) {
	if n.engine != nil {
		return n.engine.Config(), nil
	}
	return n.store.ledger.config()
}

// lost reports whether the node lacks its log, or a state that its log cannot give it back.
func (n *Node) lost() bool {
	if n.retired || n.store.damaged {
		return true
	}
	if n.engine != nil {
		status, _ := n.engine.Status()
		return status.Stateless
	}
	return n.machine.Mark().Index < n.store.ledger.base.Index
}

func (s *Sim) rot(lasts time.Duration) bool {
	n := s.anyone()
	if !n.Running() || !s.mayLose(n) || !n.store.rot() {
		return false
	}
	n.doomed = true
	s.World.After(lasts, "restart", func() { s.crashNode(n, 0) })
	return true
}

func (s *Sim) wipe(lasts time.Duration) bool {
	n := s.anyone()
	if n.retired || !s.mayLose(n) {
		return false
	}
	s.kill(n, true)
	n.retired = true
	s.replace(n, lasts)
	return true
}

// loseState throws a state away. A leader has the longest log, and back at once it may be the only one who can lead.
func (s *Sim) loseState(lasts time.Duration) bool {
	n := s.anyone()
	if l := s.World.Leader(); l != nil && s.World.chance(0.5) {
		n, lasts = l, 0
	}
	if !s.mayLose(n) {
		return false
	}
	s.kill(n, s.World.chance(0.5))
	n.machine.Lose()
	s.World.After(lasts, "restart", func() { s.start(n) })
	return true
}

// start starts a node. One that finds its log damaged makes room for another.
func (s *Sim) start(n *Node) {
	if n.Running() || n.retired || s.places[n.id.Node-1] != n {
		return
	}
	err := n.Start()
	switch {
	case err == nil:
	case errors.Is(err, wal.ErrRetired) && n.store.damaged:
		s.World.cover.hit(Retired)
		n.retired = true
		s.replace(n, time.Second)
	case n.store.full:
	case n.store.armed:
		n.store.armed = false
	default:
		s.World.Fail("%v does not start: %v", n, err)
	}
}

// replace lets another node take the place of one that is over.
func (s *Sim) replace(n *Node, after time.Duration) {
	place := int(n.id.Node - 1)
	next := s.bear(place, n.id.Incarnation+1)
	s.places[place] = next
	s.World.After(after, "another node starts", func() { s.start(next) })
}

package rafttest

import (
	"slices"

	"github.com/lockd/lockd/raft"
)

// administrate looks after the configuration: who has lost its log is replaced by who lives in its place now; and while
// there are faults and nobody is lost, nodes come and go.
func (s *Sim) administrate() {
	w := s.World
	w.After(w.about(4*s.Swarm.Election), "administrator", func() {
		if !s.quiet {
			s.reconfigure()
			s.administrate()
		}
	})
}

func (s *Sim) reconfigure() {
	w := s.World
	l := w.Leader()
	if l == nil || l.paused {
		return
	}
	config := l.engine.Config()
	next, change := s.mend(config)
	if change == "" {
		if s.calm || !s.Swarm.Changes || s.wounded(config) || w.chance(0.5) {
			return
		}
		next, change = s.vary(config)
	}
	if change == "" {
		return
	}
	base := config.Index
	if w.chance(0.02) {
		base--
	}
	soon := w.about(2 * (w.opt.Times.Sync + w.opt.Network.Delay))
	switch {
	case w.chance(0.3):
		w.After(soon, "administrator in a hurry", s.reconfigure)
	case !s.calm && s.Swarm.Faults[FaultCrash] && w.chance(0.3):
		w.After(soon, "crash in a change", func() { s.crashNode(l, w.exp(s.Swarm.FaultLasts)) })
	}
	l.Reconfigure(base, next, func(r *raft.Request) {
		if r.Err != nil {
			w.cover.hit(refusal(r.Err))
			return
		}
		w.cover.hit(change)
	})
}

func (s *Sim) wounded(c raft.Config) bool {
	return slices.ContainsFunc(c.Peers(), func(p raft.Peer) bool { return s.World.nodes[p.ID].lost() })
}

// mend returns the next step that replaces a retired node: its successor comes as a learner, and takes over its vote
// when it has caught up.
func (s *Sim) mend(c raft.Config) (next raft.Config, change string) {
	next = raft.Config{Voters: slices.Clone(c.Voters), Learners: slices.Clone(c.Learners)}
	for i, p := range c.Learners {
		if s.World.nodes[p.ID].retired {
			next.Learners = slices.Delete(next.Learners, i, i+1)
			return next, LearnerRemoved
		}
	}
	for i, p := range c.Voters {
		if !s.World.nodes[p.ID].retired {
			continue
		}
		heir := raft.Peer{ID: s.places[p.ID.Node-1].id}
		at := slices.Index(c.Learners, heir)
		if at < 0 {
			next.Learners = append(next.Learners, heir)
			return next, LearnerAdded
		}
		next.Learners = slices.Delete(next.Learners, at, at+1)
		next.Voters[i] = heir
		return next, VoterReplaced
	}
	return next, ""
}

// vary returns any step to another configuration.
func (s *Sim) vary(c raft.Config) (next raft.Config, change string) {
	r := s.World.rand
	next = raft.Config{Voters: slices.Clone(c.Voters), Learners: slices.Clone(c.Learners)}
	n := s.places[r.IntN(len(s.places))]
	p := raft.Peer{ID: n.id}
	voter, learner := slices.Index(c.Voters, p), slices.Index(c.Learners, p)
	switch {
	case voter >= 0 && len(c.Voters) > 1 && r.IntN(2) == 0:
		next.Voters = slices.Delete(next.Voters, voter, voter+1)
		if r.IntN(2) == 0 {
			return s.alsoPromote(next, VoterRemoved)
		}
		next.Learners = append(next.Learners, p)
		return next, VoterDemoted
	case learner >= 0 && r.IntN(4) == 0:
		next.Learners = slices.Delete(next.Learners, learner, learner+1)
		return next, LearnerRemoved
	case learner >= 0:
		next.Learners = slices.Delete(next.Learners, learner, learner+1)
		next.Voters = append(next.Voters, p)
		return next, LearnerPromoted
	case voter < 0:
		next.Learners = append(next.Learners, p)
		return next, LearnerAdded
	}
	return next, ""
}

// alsoPromote makes one change of two: every learner becomes a voter in the same step, or none.
func (s *Sim) alsoPromote(c raft.Config, change string) (raft.Config, string) {
	if s.World.chance(0.5) {
		c.Voters, c.Learners = append(c.Voters, c.Learners...), nil
	}
	return c, change
}

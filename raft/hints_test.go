package raft_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

const (
	heartbeat = 60 * time.Millisecond // the defaults of raft.Options
	election  = time.Second
)

// led returns three nodes that have agreed on a leader and have all heard it at this moment, and the two followers.
func led(t *testing.T, opt raft.Options) (g *group, leader *groupNode, followers []*groupNode) {
	t.Helper()
	g = newGroupOf(t, opt, make([]start, 3)...)
	if !g.run(10*time.Second, func() bool { return g.agreed() != nil }) {
		t.Fatal("nobody was elected")
	}
	leader = g.agreed()
	g.run(2*heartbeat, func() bool { return false })
	for _, n := range g.nodes {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return g, leader, followers
}

// stop takes a node from the others, with all that is under way from and to it. Its clock stands still.
func (g *group) stop(n *groupNode) {
	g.lost = func(m raft.Message) bool { return m.From == n.id || m.To == n.id }
	g.stopped = n
}

// takeOver returns how long it takes from now until somebody else leads.
func (g *group) takeOver(t *testing.T, old *groupNode) time.Duration {
	t.Helper()
	began := g.now
	done := g.run(10*time.Second, func() bool {
		for _, n := range g.nodes {
			if n != old && n.core.Standing().Role == raft.Leader {
				return true
			}
		}
		return false
	})
	if !done {
		t.Fatal("nobody took over")
	}
	return g.now - began
}

// TestHintsBringTheElectionForward: how soon a leader that says nothing any more is replaced, by what is known of it. The times are
// those of the cores' own clock.
func TestHintsBringTheElectionForward(t *testing.T) {
	const silence, graceOfSilence = 4 * heartbeat, 3 * heartbeat
	for _, c := range []struct {
		name        string
		opt         raft.Options
		hinted      int // followers that are told
		least, most time.Duration
	}{
		{"both are told", raft.Options{}, 2, heartbeat, 2 * heartbeat},
		{"one is told: the other believes its own ears", raft.Options{}, 1, silence, silence + graceOfSilence + election/2},
		{"silence alone", raft.Options{}, 0, silence + graceOfSilence - heartbeat, silence + graceOfSilence + heartbeat/2},
		{"hints are ignored", raft.Options{IgnoreHints: true}, 2, election - heartbeat, 2*election + election/2},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, leader, followers := led(t, c.opt)
			g.stop(leader)
			for _, f := range followers[:c.hinted] {
				f.core.Suspect(g.now, leader.id, raft.CauseConnection)
			}
			if took := g.takeOver(t, leader); took < c.least || took > c.most {
				t.Errorf("another one leads after %v, not within %v to %v", took, c.least, c.most)
			}
		})
	}
}

// TestHintsAgainstALiveLeader begin no election, however many there are: its next heartbeat refutes them.
func TestHintsAgainstALiveLeader(t *testing.T) {
	g, leader, followers := led(t, raft.Options{})
	term, rounds := leader.core.Standing().Term, g.rounds
	for range 200 {
		for _, f := range followers {
			f.core.Suspect(g.now, leader.id, raft.CauseConnection)
		}
		g.run(heartbeat/3, func() bool { return false })
	}
	if s := leader.core.Standing(); s.Role != raft.Leader || s.Term != term || g.rounds != rounds {
		t.Errorf("after false hints it is %v in term %d, which was %d; %d elections have begun", s.Role, s.Term, term, g.rounds-rounds)
	}
}

// TestSuspectsStandOneAfterTheOther: of two followers that notice the silence at one moment, the second leaves the first the time for
// both its votes, on processors and disks that are busy too. Else each votes for itself, and both wait for half an election timeout.
func TestSuspectsStandOneAfterTheOther(t *testing.T) {
	g, leader, followers := led(t, raft.Options{})
	g.stopped = leader
	g.lost = func(raft.Message) bool { return true }
	var stood []time.Duration
	g.run(2*election, func() bool {
		n := 0
		for _, f := range followers {
			if f.core.Standing().Role == raft.PreCandidate {
				n++
			}
		}
		for len(stood) < n {
			stood = append(stood, g.now)
		}
		return len(stood) == len(followers)
	})
	if len(stood) != 2 {
		t.Fatalf("%d of 2 stood", len(stood))
	}
	if gap := stood[1] - stood[0]; gap < heartbeat*2/3 || gap > heartbeat {
		t.Errorf("the second stands %v after the first", gap)
	}
}

// pass lets exactly so much time go by.
func (g *group) pass(d time.Duration) {
	end := g.now + d
	g.run(d, func() bool {
		return !slices.ContainsFunc(g.nodes, func(n *groupNode) bool { return g.deadline(n) <= end })
	})
	g.now = end
}

// pauseFor lets a node stand still, cut off from the others, and go on.
func (g *group) pauseFor(n *groupNode, d time.Duration) {
	g.stop(n)
	g.pass(d)
	g.stopped, g.lost = nil, nil
	g.pass(2 * heartbeat)
}

// TestALeaderThatPausesIsGivenTime: whoever has come back from a pause is awaited for longer the next time, for a while; one that is gone
// is replaced all the same, and one whose connections end as soon as ever.
func TestALeaderThatPausesIsGivenTime(t *testing.T) {
	const pause = 5 * heartbeat
	paused := func(t *testing.T) (g *group, leader *groupNode, followers []*groupNode) {
		t.Helper()
		g, leader, followers = led(t, raft.Options{})
		g.pauseFor(leader, pause)
		if hints := g.elections().Hints[raft.CauseSilence]; hints == 0 {
			t.Fatal("the pause was no hint")
		}
		return g, leader, followers
	}
	lasts := func(t *testing.T, g *group, leader *groupNode, pause time.Duration) {
		t.Helper()
		before := g.elections().Won
		g.pauseFor(leader, pause)
		if won := g.elections().Won; won != before || leader.core.Standing().Role != raft.Leader {
			t.Errorf("another one leads after a pause of %v", pause)
		}
	}
	t.Run("a longer pause", func(t *testing.T) {
		g, leader, _ := paused(t)
		lasts(t, g, leader, 2*pause)
	})
	t.Run("one of those who vote has not seen it", func(t *testing.T) {
		g, leader, followers := led(t, raft.Options{})
		heard := func(m raft.Message) bool { return m.From == leader.id && m.To == followers[1].id }
		g.lost = func(m raft.Message) bool { return m.From == leader.id && !heard(m) }
		g.pass(pause)
		g.lost = nil
		g.pass(2 * heartbeat)
		lasts(t, g, leader, 2*pause)
	})
	t.Run("who asked for votes in vain has seen it", func(t *testing.T) {
		g, leader, followers := led(t, raft.Options{})
		for _, f := range followers {
			g.lost = func(m raft.Message) bool { return m.From == leader.id && m.To == f.id }
			g.run(8*heartbeat, func() bool { return f.core.Standing().Role == raft.PreCandidate })
			if f.core.Standing().Role != raft.PreCandidate {
				t.Fatal("it asks nobody")
			}
			g.lost = nil
			g.pass(2 * heartbeat)
		}
		lasts(t, g, leader, 2*pause)
	})
	t.Run("gone", func(t *testing.T) {
		g, leader, _ := paused(t)
		g.stop(leader)
		if took := g.takeOver(t, leader); took < 2*pause || took > 4*pause {
			t.Errorf("another one leads after %v", took)
		}
	})
	t.Run("gone with its connections", func(t *testing.T) {
		g, leader, followers := paused(t)
		g.stop(leader)
		g.suspect(leader.id, raft.CauseConnection, followers...)
		if took := g.takeOver(t, leader); took > 3*heartbeat {
			t.Errorf("another one leads after %v", took)
		}
	})
	t.Run("gone long after the pause", func(t *testing.T) {
		g, leader, _ := paused(t)
		g.pass(61 * election)
		g.stop(leader)
		if took := g.takeOver(t, leader); took > 9*heartbeat {
			t.Errorf("another one leads after %v", took)
		}
	})
}

// TestANewLeaderHasNotPaused: who lost an election hears the winner for the first time; that the leader before was silent says nothing of it.
func TestANewLeaderHasNotPaused(t *testing.T) {
	g, _ := solo(t, 5, 2)
	g.step(2, 2, raft.Heartbeat{})
	asked, ok := g.stand(2)[0].Body.(raft.Vote)
	if g.want(raft.Candidate, 3); !ok {
		t.Fatal("it asks for no vote")
	}
	for from := 3; from <= 5; from++ {
		g.step(from, 3, raft.VoteReply{Round: asked.Round})
	}
	g.want(raft.Follower, 3)
	g.step(3, 3, raft.Heartbeat{})
	heard := g.now
	g.timeout()
	g.want(raft.PreCandidate, 3)
	if took := g.now - heard; took > 9*heartbeat {
		t.Errorf("the new leader is awaited for %v", took)
	}
}

// TestSuspicionNeedsSilence: that somebody watches processes and has not heard the leader's says nothing while this node hears it; to one
// that was late itself, and does not hear it either, it does.
func TestSuspicionNeedsSilence(t *testing.T) {
	g, leader, followers := led(t, raft.Options{})
	g.suspect(leader.id, raft.CauseSuspicion, followers...)
	g.pauseFor(leader, 2*heartbeat)
	if e := g.elections(); e.Hints != [raft.Causes]uint64{} || leader.core.Standing().Role != raft.Leader {
		t.Errorf("the suspicion counts, and so: %+v", e)
	}
	g.stop(leader)
	late := followers[0]
	g.now += 6 * heartbeat
	late.core.Wake(g.now)
	late.core.Suspect(g.now, leader.id, raft.CauseSuspicion)
	if e := late.core.Status().Elections; e.Hints[raft.CauseSuspicion] != 1 {
		t.Errorf("the suspicion counts for nothing: %+v", e)
	}
}

package raft_test

import (
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

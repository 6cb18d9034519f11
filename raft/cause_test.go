package raft_test

import (
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

// elections adds up what all nodes count.
func (g *group) elections() (sum raft.Elections) {
	for _, n := range g.nodes {
		e := n.core.Status().Elections
		for c := range raft.Causes {
			sum.Hints[c] += e.Hints[c]
			sum.Campaigns[c] += e.Campaigns[c]
			sum.Won[c] += e.Won[c]
		}
		sum.EarlyVotes += e.EarlyVotes
	}
	return sum
}

// suspect gives hints against a node to all others, or to some of them.
func (g *group) suspect(of raft.PeerID, cause raft.Cause, by ...*groupNode) {
	for _, n := range by {
		if n.id != of {
			n.core.Suspect(g.now, of, cause)
		}
	}
}

func TestElectionsAreCountedByCause(t *testing.T) {
	for name, test := range map[string]struct {
		hint    raft.Cause // what those are told who are told anything
		told    int        // how many followers
		silent  bool       // nobody hears the leader any more
		deaf    bool       // those who are told do not
		won     raft.Cause
		changed bool
		early   uint64
	}{
		"a living leader refutes a hint":                 {hint: raft.CauseConnection, told: 2},
		"a hint of one alone, who is deaf, does nothing": {hint: raft.CauseConnection, told: 1, deaf: true},
		"lost connection":                                {hint: raft.CauseConnection, told: 2, silent: true, won: raft.CauseConnection, changed: true, early: 1},
		"silence":                                        {silent: true, won: raft.CauseSilence, changed: true, early: 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, start{}, start{}, start{})
			if !g.run(10*time.Second, func() bool { return g.agreed() != nil }) {
				t.Fatal("no leader")
			}
			old, before := g.agreed(), g.elections()
			if before.Won[raft.CauseTimeout] == 0 || before.EarlyVotes != 0 {
				t.Fatalf("the first election is counted as %+v", before)
			}
			var told []*groupNode
			for _, n := range g.nodes {
				if n != old && len(told) < test.told {
					told = append(told, n)
				}
			}
			g.lost = func(m raft.Message) bool {
				return m.From == old.id && (test.silent || test.deaf && m.To == told[0].id)
			}
			g.suspect(old.id, test.hint, told...)
			moved := func() bool {
				for _, n := range g.nodes {
					if s := n.core.Status(); n != old && s.Role == raft.Leader && s.Ready {
						return true
					}
				}
				return false
			}
			if got := g.run(900*time.Millisecond, moved); got != test.changed {
				t.Fatalf("another leader: %v", got)
			}
			after := g.elections()
			if hints := after.Hints[test.hint] - before.Hints[test.hint]; hints != uint64(test.told) {
				t.Errorf("%d hints are counted, %d were given", hints, test.told)
			}
			if test.changed && (after.Won[test.won] != before.Won[test.won]+1 || after.Campaigns[test.won] == before.Campaigns[test.won]) {
				t.Errorf("won by %v: %+v, before %+v", test.won, after, before)
			}
			if !test.changed && after.Won != before.Won {
				t.Errorf("won: %+v, before %+v", after.Won, before.Won)
			}
			if after.EarlyVotes != test.early {
				t.Errorf("%d early votes, want %d", after.EarlyVotes, test.early)
			}
		})
	}
}

// TestTransferIsAskedForOnce: who was asked to take over and did not get it asks the others first from then on.
func TestTransferIsAskedForOnce(t *testing.T) {
	g, n := solo(t, 3, 2)
	g.step(2, 2, raft.Heartbeat{})
	g.step(2, 2, raft.TimeoutNow{})
	if s := n.core.Status(); s.Role != raft.Candidate || s.Elections.Campaigns[raft.CauseTransfer] != 1 {
		t.Fatalf("after the word of its leader it is %v: %+v", s.Role, s.Elections)
	}
	g.timeout()
	if s := n.core.Status(); s.Role != raft.PreCandidate || s.Elections.Campaigns[raft.CauseTransfer] != 1 || s.Elections.Campaigns[raft.CauseTimeout] != 1 {
		t.Errorf("after a round without a winner it is %v: %+v", s.Role, s.Elections)
	}
}

// TestAHintEndsWithTheTimeout: followers that have a hint and cannot agree for longer than the election timeout, hear no more of it then:
// without the hint they would stand as well. What they begin sooner is the hint's.
func TestAHintEndsWithTheTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		agree time.Duration // after the leader's last word the followers hear each other again
		won   raft.Cause
		early uint64
	}{
		"before": {agree: heartbeat * 9, won: raft.CauseSilence, early: 1},
		"after":  {agree: election * 5 / 4, won: raft.CauseTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			g, leader, _ := led(t, raft.Options{})
			before, agree := g.elections(), g.now+test.agree
			g.stopped = leader
			g.lost = func(m raft.Message) bool { return g.now < agree || m.From == leader.id || m.To == leader.id }
			g.takeOver(t, leader)
			after := g.elections()
			if after.Campaigns[raft.CauseSilence] == before.Campaigns[raft.CauseSilence] {
				t.Error("silence was no hint")
			}
			if after.Won[test.won] != before.Won[test.won]+1 || after.EarlyVotes != before.EarlyVotes+test.early {
				t.Errorf("won by %v, not for %v", after, test.won)
			}
		})
	}
}

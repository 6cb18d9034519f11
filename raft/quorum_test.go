package raft

import (
	"testing"

	"pgregory.net/rapid"
)

// drawHalves draws two lists of voters that overlap as they like; the second may be empty.
func drawHalves(t *rapid.T) (voters, outgoing []Peer) {
	half := func(name string, least int) []Peer {
		nodes := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 9), least, 7, rapid.ID[uint64]).Draw(t, name)
		var peers []Peer
		for _, n := range nodes {
			peers = append(peers, Peer{ID: PeerID{Node: NodeID(n)}})
		}
		return peers
	}
	return half("voters", 1), half("outgoing", 0)
}

// naiveQuorum counts, in the words of the paper: more than half of each list that is not empty.
func naiveQuorum(voters, outgoing []Peer, yes func(PeerID) bool) bool {
	for _, list := range [][]Peer{voters, outgoing} {
		var ayes, noes int
		for _, p := range list {
			if yes(p.ID) {
				ayes++
			} else {
				noes++
			}
		}
		if len(list) > 0 && ayes <= noes {
			return false
		}
	}
	return true
}

func TestQuorumAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		voters, outgoing := drawHalves(t)
		votes := rapid.SliceOfN(rapid.Bool(), 10, 10).Draw(t, "votes")
		yes := func(id PeerID) bool { return votes[id.Node] }
		config := Config{Voters: voters, Outgoing: outgoing}
		if got, want := config.quorum(yes), naiveQuorum(voters, outgoing, yes); got != want {
			t.Fatalf("quorum is %v, want %v", got, want)
		}
	})
}

// TestQuorumsOverlap is what makes elections and commits safe: of two quorums of one configuration, or of a
// configuration and the joint one that it is left by, at least one voter is in both.
func TestQuorumsOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		voters, next := drawHalves(t)
		a := rapid.SliceOfN(rapid.Bool(), 10, 10).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Bool(), 10, 10).Draw(t, "b")
		in := func(set []bool) func(PeerID) bool { return func(id PeerID) bool { return set[id.Node] } }
		old := Config{Voters: voters}
		joint := Config{Voters: voters, Outgoing: next}
		if !old.quorum(in(a)) || !joint.quorum(in(b)) {
			return
		}
		for _, p := range voters {
			if a[p.ID.Node] && b[p.ID.Node] {
				return
			}
		}
		t.Fatal("two quorums have no voter in common")
	})
}

// TestReachedAgainstModel: reached is the highest value that a quorum has come to.
func TestReachedAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		voters, outgoing := drawHalves(t)
		values := rapid.SliceOfN(rapid.Uint64Range(0, 6), 10, 10).Draw(t, "values")
		var list []*progress
		for n := range uint64(10) {
			list = append(list, &progress{id: PeerID{Node: NodeID(n)}, match: Index(values[n])})
		}
		got := reached(pick(list, voters), pick(list, outgoing), func(p *progress) Index { return p.match })
		var want Index
		for v := Index(1); v <= 6; v++ {
			if naiveQuorum(voters, outgoing, func(id PeerID) bool { return Index(values[id.Node]) >= v }) {
				want = v
			}
		}
		if got != want {
			t.Fatalf("reached %d, want %d", got, want)
		}
	})
}

func TestNoVotersDecideNothing(t *testing.T) {
	if (Config{}).quorum(func(PeerID) bool { return true }) {
		t.Error("an empty configuration has decided something")
	}
}

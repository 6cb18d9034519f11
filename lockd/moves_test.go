package lockd

import (
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// TestMoves: only nodes of the configuration are remembered, each once, and none that is where it was.
func TestMoves(t *testing.T) {
	peer := func(i uint64) raft.Peer {
		return raft.Peer{ID: raft.PeerID{Node: raft.NodeID(i), Incarnation: i}, Address: "a:1"}
	}
	c := raft.Config{Voters: []raft.Peer{peer(1), peer(2)}, Learners: []raft.Peer{peer(3)}}
	var m moves
	for i := range uint64(100) {
		m.note(c, peer(i+1).ID, "b:2")
	}
	m.note(c, peer(2).ID, "a:1")
	if len(m.to) != 3 {
		t.Errorf("%d moves are kept", len(m.to))
	}
	for _, id := range []uint64{1, 3} {
		if p, ok := m.next(c); !ok || p.ID != peer(id).ID || p.Address != "b:2" {
			t.Errorf("%v, %v; want that of %d", p, ok, id)
		}
	}
	if p, ok := m.next(c); ok || len(m.to) != 0 {
		t.Errorf("%v is left", p)
	}
	next := readdressed(c.Voters, raft.Peer{ID: peer(2).ID, Address: "b:2"})
	if next[0].Address != "a:1" || next[1].Address != "b:2" || c.Voters[1].Address != "a:1" {
		t.Errorf("%v from %v", next, c.Voters)
	}
}

// TestNobodyMovesBeforeThereIsACluster: whoever says so is told that there is none.
func TestNobodyMovesBeforeThereIsACluster(t *testing.T) {
	n := newNode(&Config{}, nil)
	if err := n.heardMove(t.Context(), tcp.Asker{}, "a:1"); err == nil {
		t.Error("a node without a cluster takes down that another one has moved")
	}
}

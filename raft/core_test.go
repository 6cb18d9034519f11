package raft_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

// group drives cores whose disks and network take no time. It records who leads which term.
type group struct {
	t       testing.TB
	now     time.Duration
	nodes   []*groupNode
	net     []raft.Message
	lost    func(raft.Message) bool // if set, tells which messages do not arrive
	stopped *groupNode              // for whom no time passes
	leaders map[raft.Term]raft.PeerID
	rounds  int // elections begun
}

type groupNode struct {
	id      raft.PeerID
	core    *raft.Core
	base    raft.Index
	entries []raft.Entry // durable
	hard    raft.HardState
	role    raft.Role
}

// peersOf makes the peers of nodes 1 to n.
func peersOf(n int) (peers []raft.Peer) {
	for i := range n {
		peers = append(peers, raft.Peer{ID: raft.PeerID{Node: raft.NodeID(i + 1)}})
	}
	return peers
}

// start is what a node begins with: the terms of its entries after the base, which is entry 1 of term 1.
type start struct {
	hard  raft.HardState
	terms []raft.Term
}

func newGroup(t testing.TB, starts ...start) *group {
	t.Helper()
	return newGroupOf(t, raft.Options{}, starts...)
}

// newGroupOf makes a group whose nodes have these options, but for ID and Seed.
func newGroupOf(t testing.TB, opt raft.Options, starts ...start) *group {
	t.Helper()
	g := &group{t: t, leaders: make(map[raft.Term]raft.PeerID)}
	base := raft.Mark{Position: raft.Position{Index: 1, Term: 1}, Config: raft.Config{Index: 1, Voters: peersOf(len(starts))}}
	for i, s := range starts {
		n := &groupNode{id: raft.PeerID{Node: raft.NodeID(i + 1)}, base: base.Index, hard: s.hard}
		state := raft.State{Hard: s.hard, Base: base, Last: base.Index + raft.Index(len(s.terms))}
		for k, term := range s.terms {
			at := raft.Position{Index: base.Index + raft.Index(k) + 1, Term: term}
			n.entries = append(n.entries, raft.NewEntry(at, raft.KindNoop, nil))
			if len(state.Runs) == 0 || state.Runs[len(state.Runs)-1].Term != term {
				state.Runs = append(state.Runs, raft.TermRun{First: at.Index, Term: term})
			}
		}
		opt.ID, opt.Seed = n.id, uint64(i+1)
		core, err := raft.NewCore(0, opt, state, base)
		if err != nil {
			t.Fatal(err)
		}
		n.core = core
		g.nodes = append(g.nodes, n)
	}
	return g
}

// do takes a core's outputs, and does what they say, until there are none.
func (g *group) do(n *groupNode) {
	for {
		out := n.core.Output()
		if out.Fatal != nil {
			g.t.Fatalf("%v: %v", n.id, out.Fatal)
		}
		g.net = append(g.net, out.Send...)
		for _, w := range out.Writes {
			n.write(w)
			g.net = append(g.net, w.Then...)
		}
		for _, f := range out.Fetches {
			n.core.Fetched(g.now, f, slices.Clone(n.entries[f.Lo-n.base-1:f.Hi-n.base]))
		}
		g.watch(n)
		if len(out.Writes) == 0 && len(out.Fetches) == 0 {
			return
		}
		if len(out.Writes) > 0 {
			n.core.Persisted(g.now, out.Writes[len(out.Writes)-1].Seq)
		}
	}
}

func (n *groupNode) write(w raft.Write) {
	if w.Hard != (raft.HardState{}) {
		n.hard = w.Hard
	}
	if w.TruncateFrom > 0 {
		n.entries = n.entries[:w.TruncateFrom-n.base-1]
	}
	n.entries = append(slices.Clip(n.entries), w.Entries...)
}

// watch holds the group to one leader in a term.
func (g *group) watch(n *groupNode) {
	s := n.core.Standing()
	if s.Role == raft.Leader {
		if other, ok := g.leaders[s.Term]; ok && other != n.id {
			g.t.Fatalf("%v and %v lead term %d", other, n.id, s.Term)
		}
		g.leaders[s.Term] = n.id
	}
	if s.Role == raft.PreCandidate && n.role != s.Role {
		g.rounds++
	}
	n.role = s.Role
}

// settle delivers all messages.
func (g *group) settle() {
	for len(g.net) > 0 {
		m := g.net[0]
		g.net = g.net[1:]
		if g.lost != nil && g.lost(m) {
			continue
		}
		n := g.nodes[m.To.Node-1]
		n.core.Step(g.now, m)
		g.do(n)
	}
}

// run lets time pass until done says so, or for as long as d; it reports whether done did.
func (g *group) run(d time.Duration, done func() bool) bool {
	for end := g.now + d; g.now < end; {
		g.settle()
		if done() {
			return true
		}
		next := slices.MinFunc(g.nodes, func(a, b *groupNode) int { return int(g.deadline(a) - g.deadline(b)) })
		g.now = max(g.now, next.core.Deadline())
		next.core.Wake(g.now)
		g.do(next)
	}
	return false
}

func (g *group) deadline(n *groupNode) time.Duration {
	if n == g.stopped {
		return math.MaxInt64
	}
	return n.core.Deadline()
}

// agreed returns the leader if all nodes follow it, and have committed all it has.
func (g *group) agreed() *groupNode {
	var leader *groupNode
	for _, n := range g.nodes {
		if s := n.core.Status(); s.Role == raft.Leader && s.Ready && s.Commit == s.Last.Index {
			leader = n
		}
	}
	if leader == nil {
		return nil
	}
	want := leader.core.Status()
	for _, n := range g.nodes {
		if s := n.core.Status(); s.Leader != leader.id || s.Last != want.Last || s.Commit != want.Commit {
			return nil
		}
	}
	return leader
}

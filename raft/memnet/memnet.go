package memnet

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lockd/lockd/raft"
)

// Network is a set of nodes and the links between them.
type Network struct {
	mu     sync.Mutex // guards the fields below, and all fields of Transports and streams that say so
	random *rand.Rand
	nodes  map[raft.PeerID]*Transport
	links  map[way]Link
}

// way is one direction between two nodes.
type way struct{ from, to raft.PeerID }

// Link says how one direction between two nodes behaves. The zero Link is healthy.
type Link struct {
	// Cut loses everything. A snapshot needs both directions.
	Cut bool
	// Drop and Duplicate are probabilities for each message.
	Drop, Duplicate float64
	// Each message takes a time between MinDelay and MaxDelay, and so may overtake another.
	MinDelay, MaxDelay time.Duration
}

// New makes a network without nodes. What is random depends on seed and on the order of calls.
func New(seed uint64) *Network {
	return &Network{
		random: rand.New(rand.NewPCG(seed, 0)),
		nodes:  map[raft.PeerID]*Transport{},
		links:  map[way]Link{},
	}
}

// Transport makes the transport of a node. It takes the place of an earlier one of the same id, which is crashed: so a
// node starts again.
func (n *Network) Transport(id raft.PeerID) *Transport {
	n.Crash(id)
	t := &Transport{net: n, id: id, wake: make(chan struct{}, 1), down: make(chan struct{}), streams: map[*stream]struct{}{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[id] = t
	return t
}

// SetLink sets how messages go from one node to another, from now on. Cut also ends the snapshots between the two.
func (n *Network) SetLink(from, to raft.PeerID, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[way{from, to}] = l
	if t := n.nodes[from]; t != nil && l.Cut {
		for s := range t.streams {
			if s.peerOf(t) == n.nodes[to] {
				s.fail(errCut)
			}
		}
	}
}

// Isolate cuts, or heals, all links between a node and the others that exist.
func (n *Network) Isolate(id raft.PeerID, cut bool) {
	n.mu.Lock()
	var others []raft.PeerID
	for other := range n.nodes {
		others = append(others, other)
	}
	n.mu.Unlock()
	for _, other := range others {
		n.SetLink(id, other, Link{Cut: cut})
		n.SetLink(other, id, Link{Cut: cut})
	}
}

// Crash ends a node as kill -9 ends its process: nothing more is delivered to it, streams are cut, and its peers get a
// hint if the link to them is not cut. It does not wait for calls of the node's Handler that go on.
func (n *Network) Crash(id raft.PeerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.nodes[id]; t != nil {
		n.crash(t)
	}
}

// crash ends t; mu is held.
func (n *Network) crash(t *Transport) {
	if t.closed {
		return
	}
	t.closed = true
	close(t.down)
	if n.nodes[t.id] == t {
		delete(n.nodes, t.id)
	}
	for s := range t.streams {
		s.fail(errGone)
	}
	for id, other := range n.nodes {
		if (other.names(t.id) || t.names(id)) && !n.links[way{t.id, id}].Cut {
			other.hint(raft.Hint{Peer: t.id, Reason: errGone.Error()})
		}
	}
}

// carry puts m on its way; mu is held.
func (n *Network) carry(m raft.Message) {
	l := n.links[way{m.From, m.To}]
	if l.Cut || l.Drop > 0 && n.random.Float64() < l.Drop {
		return
	}
	copies := 1
	if l.Duplicate > 0 && n.random.Float64() < l.Duplicate {
		copies = 2
	}
	for range copies {
		delay := l.MinDelay
		if spread := l.MaxDelay - l.MinDelay; spread > 0 {
			delay += time.Duration(n.random.Int64N(int64(spread)))
		}
		if delay <= 0 {
			n.arrive(m)
			continue
		}
		time.AfterFunc(delay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.arrive(m)
		})
	}
}

// arrive puts m into the queue of its receiver, if there still is a connection between the two; mu is held.
func (n *Network) arrive(m raft.Message) {
	from, to := n.nodes[m.From], n.nodes[m.To]
	if from != nil && to != nil && (from.names(m.To) || to.names(m.From)) {
		to.take(m)
	}
}

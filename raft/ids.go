package raft

import (
	"cmp"
	"fmt"
)

// NodeID names a node for as long as its place in the cluster exists.
type NodeID uint64

// PeerID is a node together with the life of its data directory. A node whose disk was wiped comes back with another
// Incarnation, so it is another peer: it can neither vote a second time nor acknowledge what it has lost. The zero
// PeerID means nobody.
type PeerID struct {
	Node        NodeID
	Incarnation uint64
}

// IsZero reports whether p names nobody.
func (p PeerID) IsZero() bool { return p == PeerID{} }

// Compare orders peers by node, then by incarnation.
func (p PeerID) Compare(q PeerID) int {
	return cmp.Or(cmp.Compare(p.Node, q.Node), cmp.Compare(p.Incarnation, q.Incarnation))
}

func (p PeerID) String() string {
	if p.Incarnation == 0 {
		return fmt.Sprintf("%d", p.Node)
	}
	return fmt.Sprintf("%d.%x", p.Node, p.Incarnation)
}

// Term numbers the elections; it never falls on a node.
type Term uint64

// Index is a position in the log; the first entry has index 1.
type Index uint64

// HardState is what a node must not forget: the newest term it has seen and its vote in that term.
type HardState struct {
	Term Term
	Vote PeerID
}

// Position names one entry of the log by index and term. By the Log Matching Property (Raft, Figure 3) two logs that
// hold the same Position are identical up to it.
type Position struct {
	Index Index
	Term  Term
}

package rafttest

import (
	"context"
	"errors"
	"io"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

// OpenTransport makes the transport of one node, not started, and says where its peers find it. All transports that one
// OpenTransport makes reach each other. Closing one is the end of its process.
type OpenTransport func(t *testing.T, id raft.PeerID) (tr raft.Transport, address string)

// patience is how long a condition may take that holds at once when all is well.
const patience = 30 * time.Second

// TestTransport checks that an implementation of raft.Transport does what the interface says. newWorld is called for
// each test; what it makes is closed by the test.
func TestTransport(t *testing.T, newWorld func(t *testing.T) OpenTransport) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *transports)
	}{
		{"EveryBodyArrivesAsSent", testEveryBody},
		{"SliceIsTheCallersAgain", testSliceIsTheCallersAgain},
		{"OneReceiveOnePeer", testOneReceiveOnePeer},
		{"SendNeverBlocks", testSendNeverBlocks},
		{"UrgentOvertakesLogTraffic", testUrgentOvertakes},
		{"RemovedPeerGetsNothing", testRemovedPeer},
		{"UnnamedPeerIsAnswered", testUnnamedPeer},
		{"SnapshotArrivesWhole", testSnapshot},
		{"SnapshotIsRejected", testSnapshotRejected},
		{"SnapshotSourceFails", testSnapshotSourceFails},
		{"SnapshotSenderDies", testSnapshotSenderDies},
		{"SnapshotReceiverDies", testSnapshotReceiverDies},
		{"SnapshotIsCancelled", testSnapshotCancelled},
		{"DeathOfAPeerGivesHints", testHints},
		{"RestartedPeerIsReachedAgain", testRestart},
		{"CloseWaitsForTheHandler", testCloseWaits},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.run(&transports{T: t, open: newWorld(t)})
		})
	}
}

// transports is a test and its nodes.
type transports struct {
	*testing.T

	open  OpenTransport
	peers []raft.Peer
	nodes []*transportNode
}

// start opens and starts n nodes that name each other.
func (w *transports) start(n int) []*transportNode {
	w.Helper()
	for range n {
		w.add(peerID(len(w.nodes) + 1))
	}
	for _, node := range w.nodes {
		node.tr.SetPeers(w.peers)
	}
	return w.nodes
}

// add opens and starts one more node, which nobody names.
func (w *transports) add(id raft.PeerID) *transportNode {
	w.Helper()
	tr, address := w.open(w.T, id)
	node := &transportNode{id: id, address: address, tr: tr, changed: make(chan struct{})}
	w.Cleanup(func() { _ = tr.Close() })
	if err := tr.Start(node); err != nil {
		w.Fatalf("start %v: %v", id, err)
	}
	w.peers = append(w.peers, raft.Peer{ID: id, Address: address})
	w.nodes = append(w.nodes, node)
	return node
}

func peerID(n int) raft.PeerID {
	return raft.PeerID{Node: raft.NodeID(n), Incarnation: uint64(1000 + n)}
}

// transportNode is a Handler that remembers everything.
type transportNode struct {
	id      raft.PeerID
	address string
	tr      raft.Transport

	// onReceive and onSnapshot, if not nil, run inside the calls of the Handler. They are set before anything is sent.
	onReceive  func([]raft.Message)
	onSnapshot func(ctx context.Context, head raft.SnapshotHeader, r io.Reader) error

	mu       sync.Mutex // guards the fields below
	changed  chan struct{}
	received []raft.Message
	hints    []raft.Hint
	mixed    bool // one Receive had messages of two peers
	active   int  // calls of the Handler
}

func (n *transportNode) Receive(ms []raft.Message) {
	n.enter()
	defer n.leave()
	if n.onReceive != nil {
		n.onReceive(ms)
	}
	n.update(func() {
		n.received = append(n.received, ms...)
		for _, m := range ms {
			n.mixed = n.mixed || m.From != ms[0].From
		}
	})
}

func (n *transportNode) ReceiveSnapshot(ctx context.Context, head raft.SnapshotHeader, r io.Reader) error {
	n.enter()
	defer n.leave()
	if n.onSnapshot == nil {
		return errors.New("no snapshot is expected")
	}
	return n.onSnapshot(ctx, head, r)
}

func (n *transportNode) Hint(h raft.Hint) {
	n.enter()
	defer n.leave()
	n.update(func() { n.hints = append(n.hints, h) })
}

func (n *transportNode) enter() { n.update(func() { n.active++ }) }
func (n *transportNode) leave() { n.update(func() { n.active-- }) }

func (n *transportNode) update(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	close(n.changed)
	n.changed = make(chan struct{})
}

// await waits until holds, which runs under the mutex, is true. It calls again, if not nil, every now and then, as
// delivery is best effort.
func (n *transportNode) await(t *testing.T, what string, again func(), holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	if again != nil {
		again()
	}
	for {
		n.mu.Lock()
		ok, changed := holds(), n.changed
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-retry.C:
			if again != nil {
				again()
			}
		case <-deadline.C:
			t.Fatalf("node %v waited in vain for %s", n.id, what)
		}
	}
}

// has reports whether a message equal to m was received; under the mutex.
func (n *transportNode) has(m raft.Message) bool {
	for _, r := range n.received {
		if reflect.DeepEqual(r, m) {
			return true
		}
	}
	return false
}

// connect makes sure that messages go from a to b.
func connect(t *testing.T, a, b *transportNode) {
	t.Helper()
	m := raft.Message{From: a.id, To: b.id, Term: 1, Body: raft.TimeoutNow{}}
	b.await(t, "a first message", func() { a.tr.Send([]raft.Message{m}) }, func() bool { return b.has(m) })
}

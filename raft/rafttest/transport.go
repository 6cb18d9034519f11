package rafttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
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
		run  func(t *testing.T, w *transports)
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
			test.run(t, &transports{open: newWorld(t)})
		})
	}
}

// transports are the nodes of one test.
type transports struct {
	open  OpenTransport
	peers []raft.Peer
	nodes []*transportNode
}

// start opens and starts n nodes that name each other.
func (w *transports) start(t *testing.T, n int) []*transportNode {
	t.Helper()
	for range n {
		w.add(t, peerID(len(w.nodes)+1))
	}
	for _, node := range w.nodes {
		node.tr.SetPeers(w.peers)
	}
	return w.nodes
}

// add opens and starts one more node, which nobody names.
func (w *transports) add(t *testing.T, id raft.PeerID) *transportNode {
	t.Helper()
	tr, address := w.open(t, id)
	node := &transportNode{id: id, address: address, tr: tr, changed: make(chan struct{})}
	t.Cleanup(func() { _ = tr.Close() })
	if err := tr.Start(node); err != nil {
		t.Fatalf("start %v: %v", id, err)
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

func testEveryBody(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	entries := []raft.Entry{
		raft.NewEntry(raft.Position{Index: 8, Term: 3}, raft.KindNoop, nil),
		raft.NewEntry(raft.Position{Index: 9, Term: 4}, raft.KindCommand, []byte("a command")),
		raft.NewEntry(raft.Position{Index: 10, Term: 4}, raft.KindCommand, bytes.Repeat([]byte{7}, raft.MaxDataBytes)),
	}
	bodies := []raft.Body{
		raft.Append{Session: 1, Prev: raft.Position{Index: 7, Term: 3}, Commit: 5},
		raft.Append{Session: 1, Prev: raft.Position{Index: 7, Term: 3}, Entries: entries, Commit: 5},
		raft.AppendReply{Session: 1, OK: true, Match: 9},
		raft.AppendReply{Session: 1, Prev: 8, Hint: raft.Position{Index: 6, Term: 2}, Stateless: true},
		raft.Heartbeat{Commit: 5, Round: 6},
		raft.HeartbeatReply{Round: 6},
		raft.Vote{Pre: true, Last: raft.Position{Index: 7, Term: 3}},
		raft.Vote{Transfer: true},
		raft.VoteReply{Pre: true},
		raft.VoteReply{Granted: true},
		raft.TimeoutNow{},
		raft.ReadIndex{Read: 9},
		raft.ReadIndexReply{Read: 9, OK: true, Index: 5},
	}
	for _, way := range [][2]*transportNode{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		for _, body := range bodies {
			m := raft.Message{From: from.id, To: to.id, Term: 4, Body: body}
			to.await(t, fmt.Sprintf("%T from %v", body, from.id), func() { from.tr.Send([]raft.Message{m}) }, func() bool { return to.has(m) })
		}
	}
}

func testSliceIsTheCallersAgain(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	const rounds = 100
	ms := make([]raft.Message, 1)
	for i := range rounds {
		ms[0] = raft.Message{From: a.id, To: b.id, Term: 2, Body: raft.Heartbeat{Round: uint64(i)}}
		a.tr.Send(ms)
		ms[0] = raft.Message{From: a.id, To: b.id, Term: 666, Body: raft.TimeoutNow{}}
	}
	last := raft.Message{From: a.id, To: b.id, Term: 2, Body: raft.Heartbeat{Round: rounds}}
	b.await(t, "the last message", func() { a.tr.Send([]raft.Message{last}) }, func() bool { return b.has(last) })
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.received {
		if m.Term == 666 {
			t.Fatal("a message was delivered as it was after Send returned")
		}
	}
}

func testOneReceiveOnePeer(t *testing.T, w *transports) {
	nodes := w.start(t, 3)
	for _, to := range nodes {
		for _, from := range nodes {
			if from != to {
				connect(t, from, to)
			}
		}
	}
	for round := range uint64(50) {
		for _, from := range nodes {
			var ms []raft.Message
			for _, to := range nodes {
				if from != to {
					ms = append(ms, raft.Message{From: from.id, To: to.id, Term: 3, Body: raft.Heartbeat{Round: round}})
				}
			}
			from.tr.Send(ms)
		}
	}
	for _, to := range nodes {
		for _, from := range nodes {
			if from == to {
				continue
			}
			last := raft.Message{From: from.id, To: to.id, Term: 3, Body: raft.HeartbeatReply{Round: 50}}
			to.await(t, "the last message", func() { from.tr.Send([]raft.Message{last}) }, func() bool { return to.has(last) })
		}
		to.mu.Lock()
		if to.mixed {
			t.Errorf("one Receive of node %v had messages of two peers", to.id)
		}
		for _, m := range to.received {
			if m.To != to.id {
				t.Errorf("node %v received a message to %v", to.id, m.To)
			}
		}
		to.mu.Unlock()
	}
}

// testSendNeverBlocks sends to a peer that takes nothing, to one that is not there and to one that nobody named.
func testSendNeverBlocks(t *testing.T, w *transports) {
	a, b := w.add(t, peerID(1)), w.add(t, peerID(2))
	release := make(chan struct{})
	stuck := make(chan struct{}, 1)
	b.onReceive = func(ms []raft.Message) {
		if ms[0].Term > 1 {
			select {
			case stuck <- struct{}{}:
			default:
			}
			<-release
		}
	}
	tr, address := w.open(t, peerID(3))
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	a.tr.SetPeers(append(w.peers, raft.Peer{ID: peerID(3), Address: address}))
	connect(t, a, b)
	a.tr.Send([]raft.Message{{From: a.id, To: b.id, Term: 2, Body: raft.TimeoutNow{}}})
	<-stuck
	data := make([]byte, 64<<10)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range raft.Index(5000) {
			for _, to := range []raft.PeerID{b.id, peerID(3), peerID(4)} {
				e := raft.NewEntry(raft.Position{Index: i + 1, Term: 2}, raft.KindCommand, data)
				a.tr.Send([]raft.Message{
					{From: a.id, To: to, Term: 2, Body: raft.Append{Prev: raft.Position{Index: i, Term: 2}, Entries: []raft.Entry{e}}},
					{From: a.id, To: to, Term: 2, Body: raft.Heartbeat{Round: uint64(i)}},
				})
			}
		}
	}()
	select {
	case <-sent:
	case <-time.After(patience):
		t.Error("Send blocks when a peer takes nothing")
	}
	close(release)
	<-sent
}

func testUrgentOvertakes(t *testing.T, w *transports) {
	a, b := w.add(t, peerID(1)), w.add(t, peerID(2))
	release := make(chan struct{})
	stuck := make(chan struct{}, 1)
	b.onReceive = func(ms []raft.Message) {
		if ms[0].Term == 2 {
			select {
			case stuck <- struct{}{}:
			default:
			}
			<-release
		}
	}
	a.tr.SetPeers(w.peers)
	connect(t, a, b)
	a.tr.Send([]raft.Message{{From: a.id, To: b.id, Term: 2, Body: raft.TimeoutNow{}}})
	<-stuck
	const appends = 48 // of 1 MiB: more than fits the buffers on the way
	data := make([]byte, raft.MaxDataBytes)
	for i := range raft.Index(appends) {
		e := raft.NewEntry(raft.Position{Index: i + 1, Term: 2}, raft.KindCommand, data)
		a.tr.Send([]raft.Message{{From: a.id, To: b.id, Term: 3, Body: raft.Append{Prev: raft.Position{Index: i, Term: min(raft.Term(i), 2)}, Entries: []raft.Entry{e}}}})
	}
	vote := raft.Message{From: a.id, To: b.id, Term: 3, Body: raft.Vote{Pre: true}}
	a.tr.Send([]raft.Message{vote})
	close(release)
	last := raft.Message{From: a.id, To: b.id, Term: 3, Body: raft.AppendReply{Match: 1}}
	b.await(t, "the last of the log traffic", func() { a.tr.Send([]raft.Message{last}) }, func() bool { return b.has(last) })
	b.mu.Lock()
	defer b.mu.Unlock()
	voted, after := false, 0
	for _, m := range b.received {
		switch m.Body.(type) {
		case raft.Vote:
			voted = true
		case raft.Append:
			if voted {
				after++
			}
		}
	}
	if !voted {
		t.Error("the vote was lost behind log traffic")
	}
	if after == 0 {
		t.Error("the vote has overtaken nothing")
	}
}

func testRemovedPeer(t *testing.T, w *transports) {
	nodes := w.start(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	for _, to := range []*transportNode{b, c} {
		connect(t, a, to)
	}
	b.tr.SetPeers(nil)
	a.tr.SetPeers([]raft.Peer{{ID: c.id, Address: c.address}})
	// Whatever was on its way when the peer was removed comes from before; an address that is used again proves that the
	// last of it has come.
	after := raft.Message{From: a.id, To: b.id, Term: 9, Body: raft.TimeoutNow{}}
	for i := range uint64(20) {
		a.tr.Send([]raft.Message{after})
		m := raft.Message{From: a.id, To: c.id, Term: 2, Body: raft.Heartbeat{Round: i}}
		c.await(t, "a message to the peer that stays", func() { a.tr.Send([]raft.Message{m}) }, func() bool { return c.has(m) })
	}
	a.tr.SetPeers(w.peers)
	connectAgain := raft.Message{From: a.id, To: b.id, Term: 10, Body: raft.TimeoutNow{}}
	b.await(t, "a message once it is a peer again", func() { a.tr.Send([]raft.Message{connectAgain}) }, func() bool { return b.has(connectAgain) })
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(after) {
		t.Error("a removed peer got a message")
	}
}

// testUnnamedPeer: a node without a configuration must be able to answer the leader that wants to bring it one.
func testUnnamedPeer(t *testing.T, w *transports) {
	a, b := w.add(t, peerID(1)), w.add(t, peerID(2))
	a.tr.SetPeers(w.peers)
	connect(t, a, b)
	m := raft.Message{From: b.id, To: a.id, Term: 2, Body: raft.AppendReply{Session: 3}}
	a.await(t, "the answer of a node that names nobody", func() { b.tr.Send([]raft.Message{m}) }, func() bool { return a.has(m) })
}

func snapshotHeader(from, to *transportNode, peers []raft.Peer) raft.SnapshotHeader {
	return raft.SnapshotHeader{
		From: from.id, To: to.id, Term: 5, Session: 6,
		Mark: raft.Mark{Position: raft.Position{Index: 100, Term: 4}, Config: raft.Config{Index: 6, Voters: peers[:1], Learners: peers[1:2]}},
	}
}

func testSnapshot(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	head := snapshotHeader(a, b, w.peers)
	for _, size := range []int{0, 1, 256 << 10, 3<<20 + 17} {
		data := randomBytes(size)
		var gotHead raft.SnapshotHeader
		var got []byte
		b.onSnapshot = func(_ context.Context, head raft.SnapshotHeader, r io.Reader) (err error) {
			gotHead = head
			got, err = io.ReadAll(r)
			return err
		}
		if err := a.tr.SendSnapshot(t.Context(), head, bytes.NewReader(data)); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !reflect.DeepEqual(gotHead, head) {
			t.Errorf("header: got %+v, want %+v", gotHead, head)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes arrived as %d others", size, len(got))
		}
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

func testSnapshotRejected(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	b.onSnapshot = func(_ context.Context, _ raft.SnapshotHeader, r io.Reader) error {
		_, _ = io.CopyN(io.Discard, r, 10)
		return errors.New("it tastes bad")
	}
	err := a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, w.peers), bytes.NewReader(randomBytes(8<<20)))
	if err == nil || !strings.Contains(err.Error(), "it tastes bad") {
		t.Errorf("got error %v, want the reason of the receiver", err)
	}
}

// brokenSource gives data, then waits until it may fail, if it has to wait, and fails.
type brokenSource struct {
	data io.Reader
	wait chan struct{}
	err  error
}

func (s *brokenSource) Read(p []byte) (int, error) {
	if n, err := s.data.Read(p); err == nil {
		return n, nil
	}
	if s.wait != nil {
		<-s.wait
	}
	return 0, s.err
}

// cutReceiver makes to report how the stream it receives ends, and when it has begun.
func cutReceiver(to *transportNode) (begun chan struct{}, ended chan error) {
	begun, ended = make(chan struct{}), make(chan error, 1)
	to.onSnapshot = func(_ context.Context, _ raft.SnapshotHeader, r io.Reader) error {
		if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
			ended <- err
			return err
		}
		close(begun)
		_, err := io.Copy(io.Discard, r)
		ended <- err
		return err
	}
	return begun, ended
}

func awaitError(t *testing.T, what string, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		return nil
	}
}

func testSnapshotSourceFails(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	_, ended := cutReceiver(b)
	broken := errors.New("source is broken")
	err := a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, w.peers), &brokenSource{data: bytes.NewReader(randomBytes(2 << 20)), err: broken})
	if !errors.Is(err, broken) {
		t.Errorf("got error %v, want that of the source", err)
	}
	if err := awaitError(t, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
}

func testSnapshotSenderDies(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	begun, ended := cutReceiver(b)
	source := &brokenSource{data: bytes.NewReader(randomBytes(2 << 20)), wait: make(chan struct{}), err: io.EOF}
	sent := make(chan error, 1)
	go func() { sent <- a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, w.peers), source) }()
	<-begun
	if err := a.tr.Close(); err != nil {
		t.Fatal(err)
	}
	close(source.wait)
	if err := awaitError(t, "the end of SendSnapshot", sent); err == nil {
		t.Error("SendSnapshot of a closed transport returned nil")
	}
	if err := awaitError(t, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
}

func testSnapshotReceiverDies(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	begun, ended := cutReceiver(b)
	sent := make(chan error, 1)
	head := snapshotHeader(a, b, w.peers)
	go func() { sent <- a.tr.SendSnapshot(t.Context(), head, endless{}) }()
	<-begun
	if err := b.tr.Close(); err != nil {
		t.Fatal(err)
	}
	if err := awaitError(t, "the end of SendSnapshot", sent); err == nil {
		t.Error("SendSnapshot to a dead peer returned nil")
	}
	if err := awaitError(t, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
	if err := a.tr.SendSnapshot(t.Context(), head, strings.NewReader("x")); !errors.Is(err, raft.ErrUnreachable) {
		t.Errorf("to a peer that is not there: got error %v, want ErrUnreachable", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func testSnapshotCancelled(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	begun, ended := cutReceiver(b)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	go func() { sent <- a.tr.SendSnapshot(ctx, snapshotHeader(a, b, w.peers), endless{}) }()
	<-begun
	cancel()
	if err := awaitError(t, "the end of SendSnapshot", sent); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
	if err := awaitError(t, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
}

func testHints(t *testing.T, w *transports) {
	nodes := w.start(t, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	// b only sends to a, c only receives from a: each kind of connection tells by itself.
	b.tr.SetPeers([]raft.Peer{{ID: a.id, Address: a.address}})
	c.tr.SetPeers(nil)
	a.tr.SetPeers([]raft.Peer{{ID: c.id, Address: c.address}})
	connect(t, a, c)
	connect(t, b, a)
	if err := a.tr.Close(); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*transportNode{b, c} {
		node.await(t, "a hint", nil, func() bool {
			for _, h := range node.hints {
				if h.Peer == a.id && h.Reason != "" {
					return true
				}
			}
			return false
		})
	}
	for _, node := range nodes {
		node.mu.Lock()
		for _, h := range node.hints {
			if h.Peer != a.id && node != a {
				t.Errorf("node %v got a hint against a living peer: %v", node.id, h)
			}
		}
		node.mu.Unlock()
	}
}

func testRestart(t *testing.T, w *transports) {
	nodes := w.start(t, 2)
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	connect(t, b, a)
	if err := b.tr.Close(); err != nil {
		t.Fatal(err)
	}
	again := w.add(t, b.id)
	peers := []raft.Peer{{ID: a.id, Address: a.address}, {ID: b.id, Address: again.address}}
	again.tr.SetPeers(peers)
	a.tr.SetPeers(peers)
	connect(t, a, again)
	m := raft.Message{From: b.id, To: a.id, Term: 7, Body: raft.TimeoutNow{}}
	a.await(t, "a message of the restarted peer", func() { again.tr.Send([]raft.Message{m}) }, func() bool { return a.has(m) })
}

func testCloseWaits(t *testing.T, w *transports) {
	a, b := w.add(t, peerID(1)), w.add(t, peerID(2))
	stuck, release := make(chan struct{}), make(chan struct{})
	b.onReceive = func(ms []raft.Message) {
		if ms[0].Term == 2 {
			close(stuck)
			<-release
		}
	}
	begun, ended := cutReceiver(b)
	a.tr.SetPeers(w.peers)
	connect(t, a, b)
	go func() { _ = a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, w.peers), endless{}) }()
	<-begun
	a.tr.Send([]raft.Message{{From: a.id, To: b.id, Term: 2, Body: raft.TimeoutNow{}}})
	<-stuck
	closed := make(chan error, 1)
	go func() { closed <- b.tr.Close() }()
	if err := awaitError(t, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
	for range 1000 {
		runtime.Gosched()
	}
	if len(closed) > 0 {
		t.Error("Close returned while the Handler was at work")
	}
	close(release)
	if err := awaitError(t, "the end of Close", closed); err != nil {
		t.Errorf("Close: %v", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active > 0 {
		t.Errorf("%d calls of the Handler go on after Close", b.active)
	}
	if err := b.tr.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

package rafttest

import (
	"bytes"
	"fmt"
	"runtime"
	"time"

	"github.com/lockd/lockd/raft"
)

func testEveryBody(t *transports) {
	nodes := t.start(2)
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
		raft.HeartbeatReply{Round: 6, Stateless: true},
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
			to.await(t.T, fmt.Sprintf("%T from %v", body, from.id), func() { from.tr.Send([]raft.Message{m}) }, func() bool { return to.has(m) })
		}
	}
}

func testSliceIsTheCallersAgain(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	connect(t.T, a, b)
	const rounds = 100
	ms := make([]raft.Message, 1)
	for i := range rounds {
		ms[0] = raft.Message{From: a.id, To: b.id, Term: 2, Body: raft.Heartbeat{Round: uint64(i)}}
		a.tr.Send(ms)
		ms[0] = raft.Message{From: a.id, To: b.id, Term: 666, Body: raft.TimeoutNow{}}
	}
	last := raft.Message{From: a.id, To: b.id, Term: 2, Body: raft.Heartbeat{Round: rounds}}
	b.await(t.T, "the last message", func() { a.tr.Send([]raft.Message{last}) }, func() bool { return b.has(last) })
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.received {
		if m.Term == 666 {
			t.Fatal("a message was delivered as it was after Send returned")
		}
	}
}

func testOneReceiveOnePeer(t *transports) {
	nodes := t.start(3)
	for _, to := range nodes {
		for _, from := range nodes {
			if from != to {
				connect(t.T, from, to)
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
			to.await(t.T, "the last message", func() { from.tr.Send([]raft.Message{last}) }, func() bool { return to.has(last) })
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
func testSendNeverBlocks(t *transports) {
	a, b := t.add(peerID(1)), t.add(peerID(2))
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
	tr, address := t.open(t.T, peerID(3))
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	a.tr.SetPeers(append(t.peers, raft.Peer{ID: peerID(3), Address: address}))
	connect(t.T, a, b)
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

func testUrgentOvertakes(t *transports) {
	a, b := t.add(peerID(1)), t.add(peerID(2))
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
	a.tr.SetPeers(t.peers)
	connect(t.T, a, b)
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
	b.await(t.T, "the last of the log traffic", func() { a.tr.Send([]raft.Message{last}) }, func() bool { return b.has(last) })
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

func testRemovedPeer(t *transports) {
	nodes := t.start(3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	for _, to := range []*transportNode{b, c} {
		connect(t.T, a, to)
	}
	b.tr.SetPeers(nil)
	a.tr.SetPeers([]raft.Peer{{ID: c.id, Address: c.address}})
	// Whatever was on its way when the peer was removed comes from before; an address that is used again proves that the
	// last of it has come.
	after := raft.Message{From: a.id, To: b.id, Term: 9, Body: raft.TimeoutNow{}}
	for i := range uint64(20) {
		a.tr.Send([]raft.Message{after})
		m := raft.Message{From: a.id, To: c.id, Term: 2, Body: raft.Heartbeat{Round: i}}
		c.await(t.T, "a message to the peer that stays", func() { a.tr.Send([]raft.Message{m}) }, func() bool { return c.has(m) })
	}
	a.tr.SetPeers(t.peers)
	connectAgain := raft.Message{From: a.id, To: b.id, Term: 10, Body: raft.TimeoutNow{}}
	b.await(t.T, "a message once it is a peer again", func() { a.tr.Send([]raft.Message{connectAgain}) }, func() bool { return b.has(connectAgain) })
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(after) {
		t.Error("a removed peer got a message")
	}
}

// testUnnamedPeer: a node without a configuration must be able to answer the leader that wants to bring it one.
func testUnnamedPeer(t *transports) {
	a, b := t.add(peerID(1)), t.add(peerID(2))
	a.tr.SetPeers(t.peers)
	connect(t.T, a, b)
	m := raft.Message{From: b.id, To: a.id, Term: 2, Body: raft.AppendReply{Session: 3}}
	a.await(t.T, "the answer of a node that names nobody", func() { b.tr.Send([]raft.Message{m}) }, func() bool { return a.has(m) })
}

func testHints(t *transports) {
	nodes := t.start(3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	// b only sends to a, c only receives from a: each kind of connection tells by itself.
	b.tr.SetPeers([]raft.Peer{{ID: a.id, Address: a.address}})
	c.tr.SetPeers(nil)
	a.tr.SetPeers([]raft.Peer{{ID: c.id, Address: c.address}})
	connect(t.T, a, c)
	connect(t.T, b, a)
	if err := a.tr.Close(); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*transportNode{b, c} {
		node.await(t.T, "a hint", nil, func() bool {
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

func testRestart(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	connect(t.T, a, b)
	connect(t.T, b, a)
	if err := b.tr.Close(); err != nil {
		t.Fatal(err)
	}
	again := t.add(b.id)
	peers := []raft.Peer{{ID: a.id, Address: a.address}, {ID: b.id, Address: again.address}}
	again.tr.SetPeers(peers)
	a.tr.SetPeers(peers)
	connect(t.T, a, again)
	m := raft.Message{From: b.id, To: a.id, Term: 7, Body: raft.TimeoutNow{}}
	a.await(t.T, "a message of the restarted peer", func() { again.tr.Send([]raft.Message{m}) }, func() bool { return a.has(m) })
}

func testCloseWaits(t *transports) {
	a, b := t.add(peerID(1)), t.add(peerID(2))
	stuck, release := make(chan struct{}), make(chan struct{})
	b.onReceive = func(ms []raft.Message) {
		if ms[0].Term == 2 {
			close(stuck)
			<-release
		}
	}
	begun, ended := cutReceiver(b)
	a.tr.SetPeers(t.peers)
	connect(t.T, a, b)
	go func() { _ = a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, t.peers), endless{}) }()
	<-begun
	a.tr.Send([]raft.Message{{From: a.id, To: b.id, Term: 2, Body: raft.TimeoutNow{}}})
	<-stuck
	closed := make(chan error, 1)
	go func() { closed <- b.tr.Close() }()
	if err := awaitError(t.T, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
	for range 1000 {
		runtime.Gosched()
	}
	if len(closed) > 0 {
		t.Error("Close returned while the Handler was at work")
	}
	close(release)
	if err := awaitError(t.T, "the end of Close", closed); err != nil {
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

package tcp

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

// benchNode answers heartbeats, and acknowledges the last of the entries of each Receive.
type benchNode struct {
	*Transport
	replies chan raft.Message
	batches int
}

func (n *benchNode) Receive(ms []raft.Message) {
	n.batches++
	var last raft.Message
	for _, m := range ms {
		switch body := m.Body.(type) {
		case raft.Heartbeat:
			n.Send([]raft.Message{{From: m.To, To: m.From, Term: m.Term, Body: raft.HeartbeatReply{Round: body.Round}}})
		case raft.Append:
			last = raft.Message{From: m.To, To: m.From, Term: m.Term, Body: raft.AppendReply{OK: true, Match: body.Prev.Index + raft.Index(len(body.Entries))}}
		default:
			n.replies <- m
		}
	}
	if last.Body != nil {
		n.Send([]raft.Message{last})
	}
}

func (*benchNode) ReceiveSnapshot(_ context.Context, _ raft.SnapshotHeader, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (*benchNode) Hint(raft.Hint) {}

func benchPair(b *testing.B) (x, y *benchNode) {
	b.Helper()
	var peers []raft.Peer
	nodes := make([]*benchNode, 2)
	for i, id := range []raft.PeerID{peerA, peerB} {
		tr, err := New(Options{Cluster: testCluster, Self: id, Listen: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = tr.Close() })
		nodes[i] = &benchNode{Transport: tr, replies: make(chan raft.Message, 1<<16)}
		peers = append(peers, raft.Peer{ID: id, Address: tr.Addr().String()})
	}
	for _, n := range nodes {
		if err := n.Start(n); err != nil {
			b.Fatal(err)
		}
		n.SetPeers(peers)
	}
	nodes[0].Send([]raft.Message{{From: peerA, To: peerB, Term: 1, Body: raft.Heartbeat{}}})
	<-nodes[0].replies
	return nodes[0], nodes[1]
}

// BenchmarkRoundTrip: one heartbeat and its answer at a time.
func BenchmarkRoundTrip(b *testing.B) {
	x, _ := benchPair(b)
	ms := []raft.Message{{From: peerA, To: peerB, Term: 1, Body: raft.Heartbeat{Round: 1}}}
	took := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		x.Send(ms)
		<-x.replies
		took = append(took, time.Since(began))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// BenchmarkStream: Appends of 128-byte entries in batches, pipelined, acknowledged; an operation is one entry.
func BenchmarkStream(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(map[int]string{1: "batch=1", 64: "batch=64"}[batch], func(b *testing.B) {
			benchStream(b, batch)
		})
	}
}

func benchStream(b *testing.B, batch int) {
	b.Helper()
	x, y := benchPair(b)
	const dataBytes, window = 128, 8 << 10
	total := (b.N/batch + 1) * batch
	ring := min(total, 1<<16/batch*batch)
	entries := make([]raft.Entry, ring)
	for i := range entries {
		entries[i] = raft.NewEntry(raft.Position{Index: raft.Index(i + 1), Term: 1}, raft.KindCommand, make([]byte, dataBytes))
	}
	bodies := make([]raft.Body, ring/batch)
	for i := range bodies {
		prev := raft.Position{Index: raft.Index(i * batch), Term: 1}
		bodies[i] = raft.Append{Prev: prev, Entries: entries[i*batch : (i+1)*batch]}
	}
	ms := make([]raft.Message, 1)
	b.SetBytes(int64(dataBytes + raft.EntryHeaderBytes))
	b.ReportAllocs()
	b.ResetTimer()
	flying, acked := 0, 0
	for sent := 0; sent < total; sent += batch {
		for flying >= window {
			flying -= ackedEntries(<-x.replies, &acked, ring)
		}
		ms[0] = raft.Message{From: peerA, To: peerB, Term: 1, Body: bodies[sent/batch%len(bodies)]}
		x.Send(ms)
		flying += batch
	}
	for flying > 0 {
		flying -= ackedEntries(<-x.replies, &acked, ring)
	}
	b.StopTimer()
	if dropped := x.Stats().DroppedLog; dropped > 0 {
		b.Errorf("%d messages were dropped", dropped)
	}
	b.ReportMetric(float64(total)/float64(y.batches), "entries/receive")
}

// ackedEntries returns how many entries a reply acknowledges that no earlier one did; indexes go round in a ring.
func ackedEntries(m raft.Message, acked *int, ring int) int {
	match := int(body[raft.AppendReply](m).Match)
	n := (match - *acked + ring) % ring
	if n == 0 {
		n = ring
	}
	*acked = match % ring
	return n
}

// BenchmarkSnapshot streams 64 MiB.
func BenchmarkSnapshot(b *testing.B) {
	const size = 64 << 20
	x, _ := benchPair(b)
	b.SetBytes(size)
	b.ReportAllocs()
	for range b.N {
		if err := x.SendSnapshot(b.Context(), testHead, io.LimitReader(zeros{}, size)); err != nil {
			b.Fatal(err)
		}
	}
}

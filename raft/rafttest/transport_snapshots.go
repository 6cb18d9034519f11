package rafttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

func snapshotHeader(from, to *transportNode, peers []raft.Peer) raft.SnapshotHeader {
	return raft.SnapshotHeader{
		From: from.id, To: to.id, Term: 5, Session: 6,
		Mark: raft.Mark{Position: raft.Position{Index: 100, Term: 4}, Config: raft.Config{Index: 6, Voters: peers[:1], Learners: peers[1:2]}},
	}
}

func testSnapshot(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	head := snapshotHeader(a, b, t.peers)
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

func testSnapshotRejected(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	b.onSnapshot = func(_ context.Context, _ raft.SnapshotHeader, r io.Reader) error {
		_, _ = io.CopyN(io.Discard, r, 10)
		return errors.New("it tastes bad")
	}
	err := a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, t.peers), bytes.NewReader(randomBytes(8<<20)))
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

func testSnapshotSourceFails(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	_, ended := cutReceiver(b)
	broken := errors.New("source is broken")
	err := a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, t.peers), &brokenSource{data: bytes.NewReader(randomBytes(2 << 20)), err: broken})
	if !errors.Is(err, broken) {
		t.Errorf("got error %v, want that of the source", err)
	}
	if err := awaitError(t.T, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
}

func testSnapshotSenderDies(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	begun, ended := cutReceiver(b)
	source := &brokenSource{data: bytes.NewReader(randomBytes(2 << 20)), wait: make(chan struct{}), err: io.EOF}
	sent := make(chan error, 1)
	go func() { sent <- a.tr.SendSnapshot(t.Context(), snapshotHeader(a, b, t.peers), source) }()
	<-begun
	if err := a.tr.Close(); err != nil {
		t.Fatal(err)
	}
	close(source.wait)
	if err := awaitError(t.T, "the end of SendSnapshot", sent); err == nil {
		t.Error("SendSnapshot of a closed transport returned nil")
	}
	if err := awaitError(t.T, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
}

func testSnapshotReceiverDies(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	begun, ended := cutReceiver(b)
	sent := make(chan error, 1)
	head := snapshotHeader(a, b, t.peers)
	go func() { sent <- a.tr.SendSnapshot(t.Context(), head, endless{}) }()
	<-begun
	if err := b.tr.Close(); err != nil {
		t.Fatal(err)
	}
	if err := awaitError(t.T, "the end of SendSnapshot", sent); err == nil {
		t.Error("SendSnapshot to a dead peer returned nil")
	}
	if err := awaitError(t.T, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
	if err := a.tr.SendSnapshot(t.Context(), head, strings.NewReader("x")); !errors.Is(err, raft.ErrUnreachable) {
		t.Errorf("to a peer that is not there: got error %v, want ErrUnreachable", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func testSnapshotCancelled(t *transports) {
	nodes := t.start(2)
	a, b := nodes[0], nodes[1]
	begun, ended := cutReceiver(b)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	go func() { sent <- a.tr.SendSnapshot(ctx, snapshotHeader(a, b, t.peers), endless{}) }()
	<-begun
	cancel()
	if err := awaitError(t.T, "the end of SendSnapshot", sent); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
	if err := awaitError(t.T, "the end of the stream", ended); err == nil {
		t.Error("the receiver took a cut stream for a whole one")
	}
}

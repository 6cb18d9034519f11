package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Transport carries messages and snapshots between nodes. Packages raft/tcp and raft/memnet implement it; raft/rafttest
// has the suite of tests for implementations. All methods are safe for concurrent use.
type Transport interface {
	// Start begins to deliver to h. It is called once; only SetPeers and Close may come before it.
	Start(h Handler) error
	// SetPeers names the peers that messages may go to, and where they listen. Peers no longer named are disconnected. A
	// peer that is not named but has connected is answered while it is connected: a learner may have no configuration
	// yet, or an old one.
	SetPeers(peers []Peer)
	// Send hands over messages and never blocks: delivery is best effort. What does not fit is dropped, log traffic
	// before all else. The slice is the caller's again when Send returns; what the messages refer to is never changed.
	Send(ms []Message)
	// SendSnapshot streams r to the peer in head.To and returns nil when the receiving Handler has accepted it whole.
	// It blocks as long as the stream makes progress, or until ctx ends.
	SendSnapshot(ctx context.Context, head SnapshotHeader, r io.Reader) error
	// Close stops listening and delivering, and returns when no call of the Handler is left.
	Close() error
}

// Handler receives what a Transport delivers.
type Handler interface {
	// Receive takes messages that all came from the same peer. It does not block, and may keep the slice.
	Receive(ms []Message)
	// ReceiveSnapshot reads r to its end; r fails when the stream is cut or damaged, which may show at the very end: only
	// io.EOF says that all of it was right. It runs on a goroutine of its own and may take long.
	ReceiveSnapshot(ctx context.Context, head SnapshotHeader, r io.Reader) error
	// Hint tells that a peer's process seems to be gone. It does not block.
	Hint(h Hint)
}

// ErrUnreachable is wrapped by the errors of a transport that has no connection to a peer.
var ErrUnreachable = errors.New("raft: peer is unreachable")

// Hint is a transport's observation that a peer's process is gone: its connection ended, was reset or refused. It may
// be wrong; it only moves a deadline.
type Hint struct {
	Peer   PeerID
	Reason string
}

func (h Hint) String() string { return fmt.Sprintf("%v: %s", h.Peer, h.Reason) }

// SnapshotHeader precedes the bytes of a snapshot.
type SnapshotHeader struct {
	From    PeerID
	To      PeerID
	Term    Term
	Session Index
	Mark    Mark
}

package tcp

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
)

// pipeNet is a network of net.Pipes, for synctest bubbles.
type pipeNet struct {
	mu        sync.Mutex // guards the fields below
	listeners map[string]*pipeListener
	dials     map[string]int
}

type pipeListener struct {
	net   *pipeNet
	name  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

func newPipeNet() *pipeNet {
	return &pipeNet{listeners: map[string]*pipeListener{}, dials: map[string]int{}}
}

func (n *pipeNet) listen(name string) net.Listener {
	l := &pipeListener{net: n, name: name, conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[name] = l
	return l
}

func (n *pipeNet) dial(ctx context.Context, name string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[name]
	n.dials[name]++
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "pipe", Addr: pipeAddr(name), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *pipeNet) dialed(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[name]
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[l.name] == l {
			delete(l.net.listeners, l.name)
		}
	})
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.name) }

// node is a Transport in a bubble, with its Handler, log and events.
type node struct {
	*Transport
	peer raft.Peer

	onReceive  func([]raft.Message)
	onSnapshot func(ctx context.Context, r io.Reader) error

	mu       sync.Mutex // guards the fields below
	received []raft.Message
	hints    []timed[raft.Hint]
	clones   []Clone
	refusals []RefusedError
	log      bytes.Buffer
}

type timed[T any] struct {
	what T
	at   time.Time
}

var (
	testCluster  = [16]byte{'t', 'e', 's', 't'}
	otherCluster = [16]byte{'o', 't', 'h', 'e', 'r'}
	peerA        = raft.PeerID{Node: 1, Incarnation: 0xa}
	peerB        = raft.PeerID{Node: 2, Incarnation: 0xb}
)

// open makes a node that listens at the name of its PeerID; change may alter the options.
func (n *pipeNet) open(t *testing.T, id raft.PeerID, change func(*Options)) *node {
	t.Helper()
	nd := &node{}
	o := Options{
		Cluster: testCluster, Self: id, Listener: n.listen(id.String()), Dial: n.dial,
		Logger: slog.New(slog.NewTextHandler(nd, nil)),
		Events: Events{
			Clone:   func(c Clone) { nd.with(func() { nd.clones = append(nd.clones, c) }) },
			Refused: func(r RefusedError) { nd.with(func() { nd.refusals = append(nd.refusals, r) }) },
		},
	}
	if change != nil {
		change(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	nd.Transport, nd.peer = tr, raft.Peer{ID: id, Address: o.Listener.Addr().String()}
	return nd
}

func (n *pipeNet) start(t *testing.T, id raft.PeerID, peers ...raft.Peer) *node {
	t.Helper()
	nd := n.open(t, id, nil)
	nd.begin(t, peers...)
	return nd
}

func (nd *node) begin(t *testing.T, peers ...raft.Peer) {
	t.Helper()
	if err := nd.Start(nd); err != nil {
		t.Fatal(err)
	}
	nd.SetPeers(peers)
}

func (nd *node) with(f func()) {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	f()
}

// Write takes the lines of the log.
func (nd *node) Write(p []byte) (int, error) {
	nd.with(func() { nd.log.Write(p) })
	return len(p), nil
}

func (nd *node) Receive(ms []raft.Message) {
	if nd.onReceive != nil {
		nd.onReceive(ms)
	}
	nd.with(func() { nd.received = append(nd.received, ms...) })
}

func (nd *node) ReceiveSnapshot(ctx context.Context, _ raft.SnapshotHeader, r io.Reader) error {
	return nd.onSnapshot(ctx, r)
}

func (nd *node) Hint(h raft.Hint) {
	nd.with(func() { nd.hints = append(nd.hints, timed[raft.Hint]{h, time.Now()}) })
}

// seen waits until the bubble is quiet and returns what was received.
func (nd *node) seen() []raft.Message {
	synctest.Wait()
	nd.mu.Lock()
	defer nd.mu.Unlock()
	return slices.Clone(nd.received)
}

func (nd *node) hinted() []timed[raft.Hint] {
	synctest.Wait()
	nd.mu.Lock()
	defer nd.mu.Unlock()
	return slices.Clone(nd.hints)
}

// told returns the events.
func (nd *node) told() ([]Clone, []RefusedError) {
	synctest.Wait()
	nd.mu.Lock()
	defer nd.mu.Unlock()
	return slices.Clone(nd.clones), slices.Clone(nd.refusals)
}

// logged counts the lines of the log that contain all of parts.
func (nd *node) logged(parts ...string) (n int) {
	synctest.Wait()
	nd.mu.Lock()
	defer nd.mu.Unlock()
	for line := range strings.Lines(nd.log.String()) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			n++
		}
	}
	return n
}

func (nd *node) heartbeat(to raft.PeerID, round uint64) raft.Message {
	m := raft.Message{From: nd.peer.ID, To: to, Term: 1, Body: raft.Heartbeat{Round: round}}
	nd.Send([]raft.Message{m})
	return m
}

// command returns an Append of one entry of about size bytes, the index-th of the log.
func command(from, to raft.PeerID, index raft.Index, size int) raft.Message {
	e := raft.NewEntry(raft.Position{Index: index, Term: 1}, raft.KindCommand, make([]byte, size))
	prev := raft.Position{Index: index - 1, Term: 1}
	if index == 1 {
		prev.Term = 0
	}
	return raft.Message{From: from, To: to, Term: 1, Body: raft.Append{Prev: prev, Entries: []raft.Entry{e}}}
}

// body returns the body of m, which is zero when it is of another type.
func body[B raft.Body](m raft.Message) B {
	b, _ := m.Body.(B)
	return b
}

func closeAll(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, nd := range nodes {
		if err := nd.Close(); err != nil {
			t.Errorf("close %v: %v", nd.peer.ID, err)
		}
	}
}

package memnet_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/memnet"
	"github.com/lockd/lockd/raft/rafttest"
)

func TestConformance(t *testing.T) {
	rafttest.TestTransport(t, func(*testing.T) rafttest.OpenTransport {
		net := memnet.New(1)
		return func(_ *testing.T, id raft.PeerID) (raft.Transport, string) { return net.Transport(id), "" }
	})
}

// inbox is a Handler that remembers.
type inbox struct {
	mu     sync.Mutex // guards the fields below
	rounds []uint64
	hints  []raft.Hint
	ended  error // of the last snapshot
}

func (i *inbox) Receive(ms []raft.Message) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range ms {
		if heartbeat, ok := m.Body.(raft.Heartbeat); ok {
			i.rounds = append(i.rounds, heartbeat.Round)
		}
	}
}

func (i *inbox) ReceiveSnapshot(_ context.Context, _ raft.SnapshotHeader, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended = err
	return err
}

func (i *inbox) Hint(h raft.Hint) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hints = append(i.hints, h)
}

// seen waits until all goroutines of the bubble are blocked, and returns what has come so far.
func (i *inbox) seen() (rounds []uint64, hints []raft.Hint, ended error) {
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.rounds), slices.Clone(i.hints), i.ended
}

var a, b = raft.PeerID{Node: 1}, raft.PeerID{Node: 2}

// pair makes two nodes that name each other.
func pair(t *testing.T, net *memnet.Network) (ta, tb *memnet.Transport, ia, ib *inbox) {
	t.Helper()
	ta, tb, ia, ib = net.Transport(a), net.Transport(b), &inbox{}, &inbox{}
	for tr, h := range map[*memnet.Transport]*inbox{ta: ia, tb: ib} {
		if err := tr.Start(h); err != nil {
			t.Fatal(err)
		}
		tr.SetPeers([]raft.Peer{{ID: a}, {ID: b}})
	}
	return ta, tb, ia, ib
}

func heartbeats(tr *memnet.Transport, n uint64) {
	for round := range n {
		tr.Send([]raft.Message{{From: a, To: b, Body: raft.Heartbeat{Round: round}}})
	}
}

func TestLinkFaults(t *testing.T) {
	const n = 1000
	tests := []struct {
		name     string
		link     memnet.Link
		min, max int
		ordered  bool
	}{
		{"healthy", memnet.Link{}, n, n, true},
		{"cut", memnet.Link{Cut: true}, 0, 0, true},
		{"drop", memnet.Link{Drop: 0.3}, 600, 800, true},
		{"duplicate", memnet.Link{Duplicate: 0.3}, 1200, 1400, true},
		{"delay", memnet.Link{MinDelay: time.Second, MaxDelay: time.Second}, n, n, false},
		{"jitter", memnet.Link{MinDelay: time.Millisecond, MaxDelay: time.Second}, n, n, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := memnet.New(7)
				ta, tb, _, ib := pair(t, net)
				net.SetLink(a, b, test.link)
				heartbeats(ta, n)
				if early, _, _ := ib.seen(); test.link.MinDelay > 0 && len(early) > 0 {
					t.Errorf("%d messages came without delay", len(early))
				}
				time.Sleep(test.link.MaxDelay)
				rounds, _, _ := ib.seen()
				if got := len(rounds); got < test.min || got > test.max {
					t.Errorf("%d of %d messages came, want %d to %d", got, n, test.min, test.max)
				}
				inversions := 0
				for i := 1; i < len(rounds); i++ {
					if rounds[i] < rounds[i-1] {
						inversions++
					}
				}
				if test.ordered && inversions > 0 {
					t.Errorf("%d messages out of order", inversions)
				}
				if test.name == "jitter" && inversions == 0 {
					t.Error("jitter reordered nothing")
				}
				_, _ = ta.Close(), tb.Close()
			})
		})
	}
}

func TestCutIsOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(1)
		ta, tb, ia, ib := pair(t, net)
		net.SetLink(b, a, memnet.Link{Cut: true})
		heartbeats(ta, 1)
		tb.Send([]raft.Message{{From: b, To: a, Body: raft.Heartbeat{}}})
		cut, _, _ := ia.seen()
		whole, _, _ := ib.seen()
		if len(cut) != 0 || len(whole) != 1 {
			t.Errorf("%d messages came over the cut way, %d over the other", len(cut), len(whole))
		}
		net.Crash(b)
		if _, hints, _ := ia.seen(); len(hints) != 0 {
			t.Errorf("a reset came over a cut link: %v", hints)
		}
		_, _ = ta.Close(), tb.Close()
	})
}

func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(1)
		ta, tb, ia, ib := pair(t, net)
		net.Crash(b)
		heartbeats(ta, 1)
		if _, hints, _ := ia.seen(); len(hints) != 1 || hints[0].Peer != b {
			t.Errorf("hints after a crash: %v", hints)
		}
		if rounds, _, _ := ib.seen(); len(rounds) != 0 {
			t.Error("a crashed node received a message")
		}
		if err := tb.Start(ib); !errors.Is(err, memnet.ErrClosed) {
			t.Errorf("Start after a crash: %v", err)
		}
		again, heard := net.Transport(b), &inbox{}
		if err := again.Start(heard); err != nil {
			t.Fatal(err)
		}
		heartbeats(ta, 1)
		if rounds, _, _ := heard.seen(); len(rounds) != 1 {
			t.Errorf("%d messages came to the restarted node, want 1", len(rounds))
		}
		_, _, _ = ta.Close(), tb.Close(), again.Close()
	})
}

func TestCutEndsSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(1)
		ta, tb, _, ib := pair(t, net)
		head := raft.SnapshotHeader{From: a, To: b}
		source, feed := io.Pipe()
		sent := make(chan error, 1)
		go func() { sent <- ta.SendSnapshot(t.Context(), head, source) }()
		if _, err := io.WriteString(feed, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		net.SetLink(b, a, memnet.Link{Cut: true})
		_ = feed.Close()
		if err := <-sent; !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("over a cut link: got error %v, want ErrUnreachable", err)
		}
		if _, _, ended := ib.seen(); ended == nil {
			t.Error("the receiver took a cut stream for a whole one")
		}
		if err := ta.SendSnapshot(t.Context(), head, strings.NewReader("x")); !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("after the cut: got error %v, want ErrUnreachable", err)
		}
		_, _ = ta.Close(), tb.Close()
	})
}

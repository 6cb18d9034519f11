package membership

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"
)

// TestNothingIsForgottenAtTheStart changes what a node tells of itself at the moment at which it begins to gossip, a hundred times.
func TestNothingIsForgottenAtTheStart(t *testing.T) {
	for range 100 {
		beginAndChange(t)
	}
}

func beginAndChange(t *testing.T) {
	t.Helper()
	streams, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0") // nobody is to find it
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{Self: Meta{Peer: Peer{1, 1}, Name: "n1"}, ClusterName: "test", Packets: packets, Streams: streams})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	for len(g.Members()) == 0 { // until the middle of its beginning
		runtime.Gosched()
	}
	if err := g.SetSelf(func(m *Meta) { m.Zone = "east" }); err != nil {
		t.Error(err)
	}
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	for {
		g.mu.Lock()
		told, news := g.members[g.self.Peer.name()].Zone, g.news
		g.mu.Unlock()
		if told == "east" {
			break
		}
		select {
		case <-news:
		case <-limit.C:
			t.Fatal("it does not tell what it said last")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

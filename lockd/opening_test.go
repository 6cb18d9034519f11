package lockd_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/lockd"
)

// TestGossipIsNotAskedBeforeItIsThere: whoever asks a node that is just being opened hears that it does not run yet, and does not read
// what is being made.
func TestGossipIsNotAskedBeforeItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var server *lockd.Server
		var early []error
		host := memnet.New().Host("10.0.0.1")
		c := lockd.Config{
			Name: "n1", Memory: true, TokenFloor: 1 << 30, ListenHTTP: lockd.Off,
			ListenClient: "10.0.0.1:7400", ListenRaft: "10.0.0.1:7401", ListenGossip: "10.0.0.1:7402", Join: []string{"10.0.0.2"},
			Dial:         host.Dial,
			ListenPacket: func(_ context.Context, address string) (net.PacketConn, error) { return host.ListenPacket(address) },
			Listen: func(ctx context.Context, address string) (net.Listener, error) {
				if address == "10.0.0.1:7400" {
					_, members := server.GossipMembers()
					_, check := server.Check(ctx)
					early = append(early, members, server.RotateKeys(ctx, lockd.KeyOrder{Kind: lockd.KeyUse}), check)
				}
				return host.Listen(address)
			},
		}
		var err error
		if server, err = lockd.New(c); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- server.Run(ctx) }()
		synctest.Wait()
		if len(early) != 3 {
			t.Errorf("asked %d times", len(early))
		}
		for _, err := range early {
			if !errors.Is(err, lockd.ErrNotRunning) {
				t.Errorf("asked too early: %v", err)
			}
		}
		if list, err := server.GossipMembers(); err != nil || len(list) > 1 {
			t.Errorf("once it listens: %v, %v", list, err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

package lockd_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/lockd"
)

// deafened loses datagrams while gossip is dead.
type deafened struct {
	net.PacketConn
	dead *atomic.Bool
}

// WriteTo implements net.PacketConn.
func (d deafened) WriteTo(b []byte, to net.Addr) (int, error) {
	if d.dead.Load() {
		return len(b), nil
	}
	return d.PacketConn.WriteTo(b, to)
}

var errGossipDead = errors.New("no gossip passes")

// mortal lets the gossip of node i die: its datagrams are lost, and no streams of gossip go to or from it.
func mortal(dead []atomic.Bool, i int) func(*lockd.Config) {
	return func(c *lockd.Config) {
		packets, dial := c.ListenPacket, c.Dial
		c.ListenPacket = func(ctx context.Context, address string) (net.PacketConn, error) {
			p, err := packets(ctx, address)
			return deafened{p, &dead[i]}, err
		}
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			for to := range dead {
				if (dead[i].Load() || dead[to].Load()) && address == wildHost(to)+":7402" {
					return nil, errGossipDead
				}
			}
			return dial(ctx, address)
		}
	}
}

// TestGossipDeadRaftAlive: where gossip takes everybody for dead and Raft does not, nothing happens: no change of leader, nobody is
// replaced though a learner waits for it, and what is held stays held.
func TestGossipDeadRaftAlive(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		dead := make([]atomic.Bool, 4)
		declared := func(c *lockd.Config) { c.DeclaredSize, c.ReplaceAfter = 3, 5*time.Second }
		for i := range 3 {
			w.run(w.add(expecting(3), mortal(dead, i), declared))
		}
		w.await("n1 n2 n3", w.nodes...)
		w.run(w.add(mortal(dead, 3), declared))
		w.await("n1 n2 n3 (n4)", w.nodes...)
		time.Sleep(30 * time.Second) // n4 could vote

		c, err := client.New(client.Config{Endpoints: []string{wildHost(0) + ":7400"}, Dial: w.net.Host("10.0.1.1").Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.WithoutCancel(t.Context())) }()
		held, err := c.Lock(t.Context(), "jobs/nightly")
		if err != nil {
			t.Fatal(err)
		}
		before := w.status(w.nodes[0])
		failed := func(of int) (n int) {
			members, err := w.nodes[of].server.GossipMembers()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range members {
				if m.Status == "failed" {
					n++
				}
			}
			return n
		}
		leader := slices.IndexFunc(w.nodes, func(n *wildNode) bool { return n.config.Name == before.Leader })
		unmoved := func(what string) {
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, n := range w.nodes {
				if s := w.status(n); s.Term != before.Term || s.Leader != before.Leader || w.shape(n) != "n1 n2 n3 (n4)" || s.Sessions != 1 {
					t.Errorf("%s: %s: led by %s in term %d (before: %s in %d), %s, %d sessions", what, n.config.Name, s.Leader, s.Term, before.Leader, before.Term, w.shape(n), s.Sessions)
				}
			}
		}
		dead[(leader+1)%3].Store(true) // of one voter
		unmoved("one")
		if n := failed(leader); n != 1 {
			t.Fatalf("the gossip of one is not dead: %d are taken for dead", n)
		}
		for i := range dead {
			dead[i].Store(true)
		}
		unmoved("all")
		if n := failed(leader); n != 3 {
			t.Fatalf("gossip is not dead: %d of 3 are taken for dead", n)
		}
		if err := context.Cause(held.Context()); err != nil {
			t.Errorf("what is held: %v", err)
		}
		for i := range dead {
			dead[i].Store(false)
		}
		time.Sleep(30 * time.Second)
		if n := failed(leader); n != 0 {
			t.Errorf("healed: %d are still taken for dead", n)
		}
		if err := held.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

package lockd_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/lockd"
)

// awaitAddress lets time pass until every node has the same address for a node, and all have a leader and the same entries.
func (w *wild) awaitAddress(name, address string) {
	w.t.Helper()
	var last string
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		last = ""
		var applied []uint64
		for _, n := range w.nodes {
			s := w.status(n)
			applied = append(applied, s.Applied)
			for _, of := range s.Nodes {
				if of.Name == name && of.Raft != address || s.Leader == "" || applied[0] != s.Applied {
					last += fmt.Sprintf("%s, led by %q, at %d: %s at %s\n", n.config.Name, s.Leader, s.Applied, of.Name, of.Raft)
				}
			}
		}
		if last == "" {
			return
		}
	}
	w.t.Fatalf("after half a minute, want %s at %s everywhere:\n%s", name, address, last)
}

// TestANodeMoves: a voter, and then the leader, come back at another address. The others learn it, with and without gossip.
func TestANodeMoves(t *testing.T) {
	listed := func(c *lockd.Config) {
		c.Join, c.ListenGossip = nil, lockd.Off
		for i := range 3 {
			c.InitialCluster = append(c.InitialCluster, lockd.Member{Name: fmt.Sprintf("n%d", i+1), Raft: wildHost(i) + ":7401"})
		}
	}
	for name, with := range map[string]func(c *lockd.Config){"gossip": expecting(3), "a list": listed} {
		t.Run(name, func(t *testing.T) {
			inWild(t, func(t *testing.T, w *wild) {
				for range 3 {
					w.run(w.add(with))
				}
				w.await("n1 n2 n3", w.nodes...)
				move := func(n *wildNode, host int) {
					t.Helper()
					n.crash()
					n.config.ListenRaft = wildHost(host) + ":7501"
					n.config.AdvertiseRaft = n.config.ListenRaft
					w.run(n)
					time.Sleep(5 * time.Second)
					w.awaitAddress(n.config.Name, n.config.ListenRaft)
					w.await("n1 n2 n3", w.nodes...)
				}
				follower, leader := -1, -1
				for i, n := range w.nodes {
					if w.status(n).Role == "leader" {
						leader = i
					} else {
						follower = i
					}
				}
				move(w.nodes[follower], follower)
				move(w.nodes[leader], leader)
				// Both are among those who decide: the third one is not needed.
				w.nodes[3-follower-leader].crash()
				time.Sleep(5 * time.Second)
				if s := w.status(w.nodes[follower]); s.Leader == "" || strings.HasPrefix(s.Leader, w.nodes[3-follower-leader].config.Name) {
					t.Errorf("those who have moved are led by %q", s.Leader)
				}
			})
		})
	}
}

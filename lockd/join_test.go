package lockd_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
)

// unaided is a node that knows nobody, and founds nothing by itself.
func unaided(i int) func(*lockd.Config) {
	return func(c *lockd.Config) { c.Join = []string{wildHost(i)} }
}

// joinAt lets a node join at the address of another one.
func (w *wild) joinAt(n *wildNode, i int) (string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	return n.server.Join(ctx, wildHost(i)+":7402")
}

func says(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v; want %q", what, err, p)
		}
	}
}

// TestJoinAtOneAddress lets a node that waits join the cluster of one living node, and says why where it cannot.
func TestJoinAtOneAddress(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		for i := range 4 {
			w.run(w.add(unaided(i)))
		}
		time.Sleep(3 * time.Second)
		first, second, idle := w.nodes[0], w.nodes[1], w.nodes[2]
		_, err := w.joinAt(second, 0)
		says(t, "before there is a cluster", err, "has no cluster either", "lockd cluster init")
		if err := first.server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.await("n1 n2", first, second) // it had met the other one
		_, err = w.joinAt(idle, 8)
		says(t, "nobody is there", err, "no node is met there", wildHost(8)+":7402")
		_, err = w.joinAt(idle, 2)
		says(t, "itself", err, "this node itself")
		_, err = idle.server.Join(t.Context(), "a b")
		says(t, "no address", err, "host:port")
		if s := w.status(idle); s.Cluster != "" || !strings.Contains(s.Waits, "no cluster has been found") {
			t.Errorf("who has no cluster yet: %+v", s)
		}
		done, err := w.joinAt(idle, 1)
		if err != nil || !strings.HasPrefix(done, "n3 is let into the cluster "+w.status(first).Cluster) {
			t.Fatalf("%q, %v", done, err)
		}
		for i := range 2 {
			if done, err = w.joinAt(idle, i); err != nil || done != "n3 is in the cluster "+w.status(first).Cluster+" already" {
				t.Errorf("again: %q, %v", done, err)
			}
		}
		w.await("n1 n2 n3", first, second, idle)

		other := w.nodes[3]
		if err := other.server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = w.joinAt(idle, 3)
		says(t, "a member of one at another", err, "belongs to the cluster", w.status(first).Cluster, w.status(other).Cluster)
		if _, err := first.server.Order(t.Context(), lockd.Order{Kind: lockd.OrderRemove, Node: "n3"}); err != nil {
			t.Fatal(err)
		}
		w.await("n1 n2", first, second)
		time.Sleep(time.Second) // the leader's next look at its cluster
		_, err = w.joinAt(idle, 0)
		says(t, "who was removed", err, "belongs to the cluster "+w.status(first).Cluster, "it was removed", "empty directory")
	})
}

// TestForeignersCannotJoin are those with another key or another name of the cluster.
func TestForeignersCannotJoin(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		key := strings.Repeat("A", 43) + "="
		w.run(w.add(unaided(0), func(c *lockd.Config) { c.GossipKey = key }))
		w.run(w.add(unaided(1), func(c *lockd.Config) { c.GossipKey = "B" + key[1:] }))
		w.run(w.add(unaided(2), func(c *lockd.Config) { c.GossipKey, c.ClusterName = key, "other" }))
		w.run(w.add(unaided(3)))
		w.run(w.add(unaided(4), func(c *lockd.Config) { c.InitialCluster, c.Join, c.ListenGossip = nil, nil, lockd.Off }))
		time.Sleep(3 * time.Second)
		if err := w.nodes[0].server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, why := range map[int]string{1: "gossip keys", 2: `cluster name "other"`, 3: "no gossip key", 4: "does not gossip"} {
			_, err := w.joinAt(w.nodes[i], 0)
			says(t, w.nodes[i].config.Name, err, why)
		}
		w.await("n1", w.nodes[0])
	})
}

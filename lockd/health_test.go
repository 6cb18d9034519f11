package lockd_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// TestHealth: every node tells what the leader sees, and a node that is gone is seen as such.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 3)
		time.Sleep(30 * time.Second)
		ask := func(i int) *lockd.ClusterHealth {
			t.Helper()
			h, err := c.Server(i).Health(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		var leader string
		for i := range 3 {
			h := ask(i)
			if h.Voters != 3 || h.Healthy != 3 || h.Needed != 2 || h.Margin != 1 || len(h.Servers) != 3 || i > 0 && h.Leader != leader {
				t.Errorf("node %d, of a whole cluster: %+v", i, h)
			}
			leader = h.Leader
			for j, s := range h.Servers {
				if s.Name != c.Name(j) || !s.Fit || s.Healthy < 20_000 || s.Silent != 0 || (s.Role == "leader") != (s.Name == leader) {
					t.Errorf("node %d tells of %+v", i, s)
				}
			}
		}
		lost := slices.IndexFunc([]int{0, 1, 2}, func(i int) bool { return c.Name(i) != leader })
		c.Crash(lost)
		time.Sleep(10 * time.Second)
		h := ask((lost + 1) % 3)
		if h.Healthy != 2 || h.Margin != 0 || h.Leader != leader {
			t.Errorf("after the loss of one: %+v", h)
		}
		if s := h.Servers[lost]; s.Fit || s.Contact < 5000 || s.Silent < 5000 || s.Healthy != 0 {
			t.Errorf("who is lost: %+v", s)
		}
	})
}

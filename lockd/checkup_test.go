package lockd_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// TestCheck: a node tells of its machine and of every other node, also of one that is gone.
func TestCheck(t *testing.T) {
	dirs := []string{}
	c := testcluster.Start(t, 3, func(_ int, c *lockd.Config) { dirs = append(dirs, c.DataDir) })
	got, err := c.Server(0).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Node != c.Name(0) || !got.Joined || got.Listens != c.Addresses(0) || got.Election == 0 || got.Version == "" || len(got.Peers) != 2 {
		t.Errorf("%+v", got)
	}
	if d := got.Host.Disk; d.Path != dirs[0] || d.Error != "" || d.Records != 100 || d.P50 <= 0 || d.P99 < d.P50 || d.Max < d.P99 || d.Mark == 0 {
		t.Errorf("the disk: %+v", d)
	}
	for i, p := range got.Peers {
		if p.Name != c.Name(i+1) || p.RaftError+p.ClientError+p.UDPError+p.TCPError != "" || p.Version != got.Version {
			t.Errorf("%+v", p)
		}
		if k := p.Clock; !k.Known || k.Ahead.Abs() > k.Uncertainty || math.Abs(k.Faster) > k.Uncertain {
			t.Errorf("the clock of %s, which is this one's too: %+v", p.Name, k)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dirs[0], ".*")); err != nil || len(left) > 0 {
		t.Errorf("left in the data directory: %v, %v", left, err)
	}
	c.Crash(2)
	if got, err = c.Server(0).Check(t.Context()); err != nil || got.Peers[0].RaftError != "" || got.Peers[1].RaftError == "" || got.Peers[1].ClientError == "" {
		t.Errorf("without one of them: %+v, %v", got, err)
	}
}

// TestCheckFindsWhatGossipCannotReach: nodes that gossip, one of which hears and says nothing there any more.
func TestCheckFindsWhatGossipCannotReach(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		for range 3 {
			w.run(w.add(expecting(3)))
		}
		w.await("n1 n2 n3", w.nodes...)
		check := func() *lockd.Checkup {
			t.Helper()
			c, err := w.nodes[0].server.Check(t.Context())
			if err != nil || len(c.Peers) != 2 || c.Host.Disk.Path != "" {
				t.Fatalf("%+v, %v", c, err)
			}
			return c
		}
		for _, p := range check().Peers {
			if p.Gossip == "" || p.RaftError+p.ClientError+p.UDPError+p.TCPError != "" || !p.Clock.Known {
				t.Errorf("%+v", p)
			}
		}
		w.nodes[2].crash()
		if p := check().Peers; p[0].UDPError+p[0].TCPError != "" || p[1].UDPError == "" || p[1].TCPError == "" || p[1].RaftError == "" {
			t.Errorf("without n3: %+v", p)
		}
	})
}

// TestCheckBeforeThereIsACluster: a node that still looks for one tells of those whom it sees.
func TestCheckBeforeThereIsACluster(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		w.run(w.add())
		w.run(w.add())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		c, err := w.nodes[0].server.Check(t.Context())
		if err != nil || c.Joined || len(c.Peers) != 1 || c.Peers[0].Name != "n2" || c.Peers[0].RaftError+c.Peers[0].UDPError != "" || c.Peers[0].Clock.Known {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// TestCheckHostWithoutADirectory looks at the one above it, which is there, and makes none.
func TestCheckHostWithoutADirectory(t *testing.T) {
	above := t.TempDir()
	h := lockd.CheckHost(t.Context(), filepath.Join(above, "data", "n1"))
	if h.Disk.Path != above || h.Disk.Error != "" || h.Disk.Records == 0 || h.Processors == 0 || h.Parallel == 0 || h.ClockError != "" {
		t.Errorf("%+v", h)
	}
	if left, err := os.ReadDir(above); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

package raft_test

import (
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
)

// tally counts the messages of a node that carry entries, and the entries that the last one to each peer ended with.
type tally struct {
	raft.Transport

	mu      sync.Mutex // guards the fields below
	appends int
	last    map[raft.PeerID]raft.Index
}

func (y *tally) Send(ms []raft.Message) {
	y.mu.Lock()
	for _, m := range ms {
		if a, ok := m.Body.(raft.Append); ok && len(a.Entries) > 0 {
			y.appends++
			y.last[m.To] = a.Entries[len(a.Entries)-1].Index()
		}
	}
	y.mu.Unlock()
	y.Transport.Send(ms)
}

func (y *tally) sent() (appends int, last map[raft.PeerID]raft.Index) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.appends, maps.Clone(y.last)
}

// gathering is the leader of three nodes with a disk that can be held up.
func gathering(t *testing.T, c *cluster) (m *member, y *tally, disk *gatedStorage) {
	t.Helper()
	disks, nets := map[*member]*gatedStorage{}, map[*member]*tally{}
	for _, m := range c.members {
		disks[m], nets[m] = &gatedStorage{gate: make(chan struct{}, 1000)}, &tally{last: map[raft.PeerID]raft.Index{}}
		for range cap(disks[m].gate) {
			disks[m].gate <- struct{}{}
		}
		m.storage = func(s raft.Storage) raft.Storage { disks[m].Storage = s; return disks[m] }
		m.network = func(n raft.Transport) raft.Transport { nets[m].Transport = n; return nets[m] }
	}
	c.startAll()
	m = c.leader()
	mustPropose(t, m, "first")
	for len(disks[m].gate) > 0 {
		<-disks[m].gate
	}
	return m, nets[m], disks[m]
}

// trickle submits proposals one after the other, each when all that it can bring about has happened.
func trickle(t *testing.T, m *member, proposals int) *told {
	t.Helper()
	d := &told{errs: map[string][]error{}}
	for i := range proposals {
		d.submit(t, m.node, i, i+1, nil)
		synctest.Wait()
	}
	return d
}

// While the leader's disk writes, proposals gather: they share the next write, and one message to each peer.
func TestProposalsGatherWhileTheDiskWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const proposals = 100
		c := newCluster(t, 3)
		m, y, disk := gathering(t, c)
		before, _ := y.sent()
		d := trickle(t, m, proposals)
		close(disk.gate)
		time.Sleep(time.Second)
		for _, other := range c.members {
			d.check(t, other.machine.applied(), proposals)
		}
		if after, _ := y.sent(); after-before != 4 {
			t.Errorf("%d proposals went out in %d messages, want two to each of two peers: the first, and all the others", proposals, after-before)
		}
		c.close()
	})
}

// A disk that stands still holds up what this node applies, and not what its peers write.
func TestProposalsDoNotWaitForADiskThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const proposals = 100
		c := newCluster(t, 3)
		m, y, disk := gathering(t, c)
		trickle(t, m, proposals)
		time.Sleep(200 * time.Millisecond)
		_, sent := y.sent()
		for peer, last := range sent {
			if s, _, err := m.node.Status(t.Context()); err != nil || last != s.Last.Index || s.Stable+proposals != last {
				t.Errorf("%v was sent entries up to %d; the log is %+v, %v", peer, last, s, err)
			}
		}
		close(disk.gate)
		c.close()
	})
}

package raft_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
)

// told notes what a node says of submitted proposals.
type told struct {
	mu   sync.Mutex // guards the field below
	errs map[string][]error
}

// ticket is one proposal of a told.
type ticket struct {
	*told
	data string
}

func (k ticket) Proposed(_ raft.Result, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errs[k.data] = append(k.errs[k.data], err)
}

// submit submits proposals with these numbers. Those that are not taken must be refused for this.
func (d *told) submit(t *testing.T, n *raft.Node, from, to int, refusal error) {
	t.Helper()
	for i := from; i < to; i++ {
		k := ticket{d, strconv.Itoa(i)}
		if err := n.Submit(raft.Proposal{Data: []byte(k.data)}, k); err != nil {
			if !errors.Is(err, refusal) {
				t.Fatalf("proposal %d: %v", i, err)
			}
			k.Proposed(raft.Result{}, err) // nobody else may
		}
	}
}

// Whatever happens to the leader, who has submitted is told once of each proposal; what is said to be applied is, and what is said to
// have no effect has none.
func TestSubmittedIsToldOnce(t *testing.T) {
	for name, event := range map[string]func(*testing.T, *cluster, *member){
		"nothing":     func(*testing.T, *cluster, *member) {},
		"cut off":     func(_ *testing.T, c *cluster, m *member) { c.net.Isolate(m.id, true) },
		"failed":      func(_ *testing.T, _ *cluster, m *member) { m.disk.FailSync(1) },
		"closed":      func(_ *testing.T, _ *cluster, m *member) { _ = m.node.Close() },
		"handed over": func(t *testing.T, _ *cluster, m *member) { _ = m.node.Transfer(t.Context(), raft.PeerID{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const proposals = 1000
				c := newCluster(t, 3)
				c.startAll()
				defer c.close()
				m := c.leader()
				d := &told{errs: map[string][]error{}}
				d.submit(t, m.node, 0, proposals/2, raft.ErrClosed)
				var wg sync.WaitGroup
				wg.Go(func() { event(t, c, m) })
				d.submit(t, m.node, proposals/2, proposals, raft.ErrClosed)
				wg.Wait()
				time.Sleep(10 * time.Second)
				for _, other := range c.others(m) {
					if _, err := other.node.Read(t.Context()); err != nil {
						t.Fatal(err)
					}
					d.check(t, other.machine.applied(), proposals)
				}
			})
		})
	}
}

// check compares what was told with what all others have applied.
func (d *told) check(t *testing.T, applied []string, proposals int) {
	t.Helper()
	times := map[string]int{}
	for _, data := range applied {
		times[data]++
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range proposals {
		data := strconv.Itoa(i)
		if len(d.errs[data]) != 1 {
			t.Fatalf("proposal %d was answered %d times", i, len(d.errs[data]))
		}
		switch err := d.errs[data][0]; {
		case err == nil && times[data] != 1:
			t.Errorf("proposal %d is said to be applied, and was %d times", i, times[data])
		case err != nil && !errors.Is(err, raft.ErrUnknown) && times[data] != 0:
			t.Errorf("proposal %d is said to have no effect, %v, and was applied", i, err)
		}
	}
}

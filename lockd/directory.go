package lockd

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// How often a node is asked for its address: one that has not told it yet, and one that has.
const (
	lookSoonest = 100 * time.Millisecond
	lookLatest  = 2 * time.Second
	lookAgain   = 30 * time.Second
)

// prober is what of a tcp.Transport the directory needs.
type prober interface {
	Probe(ctx context.Context, address string) (tcp.Identity, error)
}

// directory knows where the nodes of the cluster serve clients. It asks each of them at its Raft port, often until it is known and
// seldom from then on.
type directory struct {
	probe   prober
	self    wire.Node
	changed func() // the nodes have changed; it must not block

	mu     sync.Mutex // guards the fields below
	config raft.Config
	known  map[raft.NodeID]wire.Node
	again  chan struct{} // closed when everybody should be asked at once
}

// newDirectory begins with this node alone.
func newDirectory(probe prober, self wire.Node, changed func()) *directory {
	return &directory{
		probe: probe, self: self, changed: changed, again: make(chan struct{}),
		known: map[raft.NodeID]wire.Node{raft.NodeID(self.ID): self},
	}
}

// setConfig says who is in the cluster from now on, and that everybody should be asked at once.
func (d *directory) setConfig(c raft.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config = c
	peers := c.Peers()
	for id, n := range d.known {
		i := slices.IndexFunc(peers, func(p raft.Peer) bool { return p.ID.Node == id })
		switch {
		case i >= 0:
			n.Voter = c.IsVoter(peers[i].ID)
			d.known[id] = n
		case id != raft.NodeID(d.self.ID):
			delete(d.known, id)
		}
	}
	close(d.again)
	d.again = make(chan struct{})
}

// nodes returns those that are known, in the order of their names.
func (d *directory) nodes() []wire.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]wire.Node, 0, len(d.known))
	for _, n := range d.known {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b wire.Node) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// lookup returns one of them.
func (d *directory) lookup(id raft.NodeID) (wire.Node, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.known[id]
	return n, ok
}

// run asks until ctx ends.
func (d *directory) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	every := lookSoonest
	for {
		d.mu.Lock()
		peers, again := d.config.Peers(), d.again
		d.mu.Unlock()
		if d.askAll(ctx, peers) {
			timer.Reset(lookAgain)
		} else {
			timer.Reset(every)
			every = min(2*every, lookLatest)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
			every = lookSoonest
		case <-timer.C:
		}
	}
}

// askAll asks everybody at once, so that one that is silent keeps nobody, and reports whether all have answered.
func (d *directory) askAll(ctx context.Context, peers []raft.Peer) bool {
	var asking sync.WaitGroup
	answered := make([]bool, len(peers))
	for i, p := range peers {
		if p.ID.Node == raft.NodeID(d.self.ID) {
			answered[i] = true
			continue
		}
		asking.Go(func() { answered[i] = d.ask(ctx, p) })
	}
	asking.Wait()
	return !slices.Contains(answered, false)
}

func (d *directory) ask(ctx context.Context, p raft.Peer) bool {
	by, err := d.probe.Probe(ctx, p.Address)
	if err != nil || by.ID != p.ID {
		return false
	}
	told, err := decodeDetail(by.Status.Detail)
	if err != nil {
		return false
	}
	d.note(p, wire.Node{ID: uint64(p.ID.Node), Name: told.name, Address: told.client})
	return true
}

func (d *directory) note(p raft.Peer, n wire.Node) {
	d.mu.Lock()
	before := d.known[p.ID.Node]
	n.Voter = d.config.IsVoter(p.ID)
	news := d.config.Contains(p.ID) && before != n
	if news {
		d.known[p.ID.Node] = n
	}
	d.mu.Unlock()
	if news && d.changed != nil {
		d.changed()
	}
}

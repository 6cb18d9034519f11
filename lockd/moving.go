package lockd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// moveEvery is how often a node that has come back at another address says so.
const moveEvery = time.Second

// moves are the addresses of nodes that say that they have moved. The leader cannot find them, as it connects to the address in the
// configuration; they find the leader. With a majority at its old addresses the leader can change the configuration: neither the
// voters nor any majority become others by that.
type moves struct {
	mu sync.Mutex // guards to
	to map[raft.PeerID]string
}

// note takes down that a peer of the configuration is at an address.
func (m *moves) note(c raft.Config, id raft.PeerID, address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.to == nil {
		m.to = map[raft.PeerID]string{}
	}
	m.to[id] = address
	for id := range m.to {
		if !c.Contains(id) {
			delete(m.to, id)
		}
	}
}

// next returns a peer that is not where the configuration says, and forgets it: as long as that is so, the peer says it again.
func (m *moves) next(c raft.Config) (raft.Peer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range c.Peers() {
		address, ok := m.to[p.ID]
		delete(m.to, p.ID)
		if ok && address != p.Address {
			return raft.Peer{ID: p.ID, Address: address}, true
		}
	}
	return raft.Peer{}, false
}

// heardMove takes the word of another node for where it is, at the leader.
func (n *node) heardMove(ctx context.Context, from tcp.Asker, address string) error {
	if !n.hasJoined() {
		return errJoining
	}
	if from.Cluster != n.id.cluster() || checkAddress("the address", address) != nil {
		return errors.New("this is no address of a node of the cluster")
	}
	s, _, err := n.raft.Status(ctx)
	switch {
	case err != nil:
		return err
	case s.Role != raft.Leader:
		return errors.New("this node does not lead")
	}
	n.moves.note(s.Config, from.ID, address)
	return nil
}

// sayMoves lets the others know when the configuration has another address for this node than where it is.
func (n *node) sayMoves(ctx context.Context) error {
	if !n.id.Joins && len(n.id.Members) < 2 || everywhere(n.address) {
		<-ctx.Done()
		return nil // nobody connects to it
	}
	tick := time.NewTicker(moveEvery)
	defer tick.Stop()
	said := false
	for {
		s, _, err := n.raft.Status(ctx)
		is := slices.IndexFunc(s.Config.Peers(), func(p raft.Peer) bool { return p.ID == n.self && p.Address != n.address })
		if err == nil && is >= 0 {
			if !said {
				n.log.Info("this node has another address than before, and tells the others", slog.String("before", s.Config.Peers()[is].Address),
					slog.String("now", n.address))
			}
			said = true
			n.sayMove(ctx, s)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sayMove tells everybody, as only the leader knows for certain that it leads. Who does not is not missed.
func (n *node) sayMove(ctx context.Context, s raft.Status) {
	if s.Role == raft.Leader {
		n.moves.note(s.Config, n.self, n.address)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var saying sync.WaitGroup
	for _, p := range s.Config.Peers() {
		if p.ID != n.self {
			saying.Go(func() { _, _ = put(ctx, n.transport, p.Address, question{Moved: n.address}) })
		}
	}
	saying.Wait()
}

// moved changes the address of a node that has moved and proves, at its new Raft port, that it is the one. It reports whether there was
// such a node.
func (w *steward) moved(ctx context.Context, s raft.Status) (bool, error) {
	p, ok := w.n.moves.next(s.Config)
	if !ok {
		return false, nil
	}
	if p.ID != s.ID {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		by, err := w.n.transport.Probe(ctx, p.Address)
		if err != nil || by.ID != p.ID || by.Cluster != w.n.id.cluster() {
			w.n.log.Warn("a node says that it has moved, and does not answer as itself there", slog.String("node", w.n.nameOf(p.ID)),
				slog.String("raft", p.Address), slog.Any("error", err))
			return false, nil
		}
	}
	next := raft.Config{Voters: readdressed(s.Config.Voters, p), Learners: readdressed(s.Config.Learners, p)}
	if _, err := w.n.raft.Reconfigure(ctx, s.Config.Index, next); err != nil {
		return true, err
	}
	w.n.log.Info("a node has moved", slog.String("node", w.n.nameOf(p.ID)), slog.String("raft", p.Address))
	return true, nil
}

func readdressed(list []raft.Peer, to raft.Peer) []raft.Peer {
	list = slices.Clone(list)
	for i := range list {
		if list[i].ID == to.ID {
			list[i].Address = to.Address
		}
	}
	return list
}

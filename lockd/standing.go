package lockd

import (
	"context"
	"log/slog"
	"sync"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// standing is what the node is in its term, for whoever wants to know or to wait for a change.
type standing struct {
	mu      sync.Mutex // guards the fields below
	at      raft.Standing
	changed chan struct{} // closed and replaced when at changes
}

func (s *standing) init() { s.changed = make(chan struct{}) }

func (s *standing) set(at raft.Standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = at
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *standing) get() (at raft.Standing, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.changed
}

func (s *standing) now() raft.Standing {
	at, _ := s.get()
	return at
}

// wait returns when the standing is as wanted, or with the cause of ctx.
func (s *standing) wait(ctx context.Context, wanted func(raft.Standing) bool) error {
	for {
		at, changed := s.get()
		if wanted(at) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow logs every change of the node's standing that it gets to see, and keeps the directory at the configuration in force.
func (n *node) follow(ctx context.Context) error {
	var last raft.Standing
	for {
		at, changed := n.standing.get()
		if at != last {
			n.log.Info("standing", slog.String("role", at.Role.String()), slog.Uint64("term", uint64(at.Term)),
				slog.String("leader", n.nameOf(at.Leader)))
		}
		if at.Config != last.Config {
			if s, _, err := n.raft.Status(ctx); err == nil {
				n.directory.setConfig(s.Config)
				if err := n.admitted(s.Config); err != nil {
					return err
				}
			}
		}
		last = at
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// admitted notes, once, that a configuration names this node, so that it is not let in again after it was removed.
func (n *node) admitted(c raft.Config) error {
	if !n.id.Joins || n.isAdmitted || !c.Contains(n.id.peer()) {
		return nil
	}
	id := n.id
	id.Admitted = true
	if err := n.home.save(id); err != nil {
		return err
	}
	n.isAdmitted = true
	if n.gossip == nil {
		return nil
	}
	return n.gossip.SetSelf(func(m *membership.Meta) { m.Joining = false })
}

// leave takes the node out of the cluster for good, if the others can go on without it.
func (n *node) leave(ctx context.Context) {
	if n.standing.now().Role == raft.Leader {
		if err := n.handOver(ctx); err != nil {
			n.log.Warn("nobody has taken over leadership yet", slog.Any("error", err))
		}
	}
	done, err := n.obey(ctx, Order{Kind: OrderRemove, Node: n.id.peer().String()})
	if err != nil {
		n.log.Warn("this node stays in the configuration of the cluster", slog.Any("error", err))
		return
	}
	n.log.Info("this node has left the cluster", slog.String("done", done))
}

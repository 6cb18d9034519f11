package lockd

import (
	"context"
	"log/slog"
	"sync"

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

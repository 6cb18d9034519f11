package lockd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

var errJoining = errors.New("the cluster is not complete: nodes are missing that it cannot begin without")

// reason is why a node has no cluster yet, as its search has found last.
type reason struct {
	mu  sync.Mutex // guards err
	err error
}

func (r *reason) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *reason) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// hasOpened reports whether what the node gossips with, and where it listens, can be read.
func (n *node) hasOpened() bool {
	select {
	case <-n.opened:
		return true
	default:
		return false
	}
}

func (n *node) hasJoined() bool {
	select {
	case <-n.joined:
		return true
	default:
		return false
	}
}

// ready returns why the node cannot serve.
func (n *node) ready(ctx context.Context) error {
	if !n.hasJoined() {
		return errors.Join(errJoining, n.waits.get())
	}
	if n.standing.now().Leader.IsZero() {
		return errors.New("no leader is known: most of the nodes are down, or cannot reach each other")
	}
	if _, err := n.raft.Read(ctx); err != nil {
		return fmt.Errorf("the leader does not confirm that it leads: %w", err)
	}
	return nil
}

// status describes the node.
func (n *node) status(ctx context.Context) (NodeStatus, error) {
	s := NodeStatus{Node: n.config.Name, Version: version(), Started: n.started, Role: "starting"}
	if !n.hasJoined() {
		if err := n.waits.get(); err != nil {
			s.Waits = err.Error()
		}
		return s, nil
	}
	s.ID, s.Cluster = n.id.peer().String(), fmt.Sprintf("%x", n.id.cluster())
	at, applied, err := n.raft.Status(ctx)
	if err != nil {
		return NodeStatus{}, err
	}
	s.Role, s.Term, s.Leader = role(at), uint64(at.Term), n.nameOf(at.Leader)
	s.Applied, s.Commit, s.Nodes, s.Disk = uint64(applied), uint64(at.Commit), n.nodeStates(at), n.disk.state()
	n.state.View(func(t *locktable.Table) {
		incarnation, _ := t.Incarnation()
		s.Incarnation, s.Clock = fmt.Sprintf("%x", incarnation), t.Clock().String()
		s.Locks, s.Sessions, _ = t.Len()
		s.Holds, s.Waiters = t.Totals()
	})
	return s, nil
}

func role(s raft.Status) string {
	if !s.Config.IsVoter(s.ID) {
		return "learner"
	}
	return s.Role.String()
}

func (n *node) nodeStates(at raft.Status) []NodeState {
	match := make(map[raft.PeerID]raft.Index, len(at.Peers))
	for _, p := range at.Peers {
		match[p.ID] = p.Match
	}
	var list []NodeState
	for _, p := range at.Config.Peers() {
		s := NodeState{Name: n.nameOf(p.ID), ID: p.ID.String(), Raft: p.Address, Voter: at.Config.IsVoter(p.ID), Match: uint64(match[p.ID])}
		if known, ok := n.directory.lookup(p.ID.Node); ok {
			s.Client = known.Address
		}
		list = append(list, s)
	}
	return list
}

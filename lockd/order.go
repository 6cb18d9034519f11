package lockd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// OrderKind says what an Order asks for.
type OrderKind string

// Kinds of orders.
const (
	OrderRemove   OrderKind = "remove"   // take a node out of the cluster
	OrderPromote  OrderKind = "promote"  // make a learner a voter
	OrderDemote   OrderKind = "demote"   // make a voter a learner
	OrderTransfer OrderKind = "transfer" // make a voter the leader; without a name, any
)

// Order asks for a change of the cluster.
type Order struct {
	Kind OrderKind `json:"kind"`
	Node string    `json:"node,omitempty"` // its name, or its ID if two have the name
	// Force does what would leave fewer healthy voters than a majority. What cannot be decided cannot be forced either.
	Force bool `json:"force,omitempty"`
}

// ErrNode is wrapped by the error of an order that names no node of the cluster, or two.
var ErrNode = errors.New("no such node")

// obey follows an order, here or at the leader, and says what was done.
func (n *node) obey(ctx context.Context, o Order) (string, error) {
	if !n.hasJoined() {
		return "", errJoining
	}
	s, _, err := n.raft.Status(ctx)
	if err != nil {
		return "", err
	}
	if s.Role == raft.Leader {
		return n.lead(ctx, o)
	}
	i := slices.IndexFunc(s.Config.Peers(), func(p raft.Peer) bool { return p.ID == s.Leader })
	if i < 0 {
		return "", errors.New("no leader is known: most of the nodes are down, or cannot reach each other")
	}
	r, err := put(ctx, n.transport, s.Config.Peers()[i].Address, question{Order: &o})
	return r.Done, err
}

// Times of an order that finds another change under way.
const (
	orderPause = 20 * time.Millisecond
	orderTime  = 10 * time.Second
)

// lead follows an order at the leader. One change waits for the end of another, and returns when it has come to its own.
func (n *node) lead(ctx context.Context, o Order) (done string, err error) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	pause := time.NewTicker(orderPause)
	defer pause.Stop()
	for {
		s, _, err := n.raft.Status(ctx)
		if err == nil && !s.Config.Joint() {
			if done != "" {
				return done, nil
			}
			done, err = n.change(ctx, s, o)
		}
		if err != nil && !errors.Is(err, raft.ErrConfigPending) && !errors.Is(err, raft.ErrConfigChanged) {
			return "", err
		}
		if done != "" && n.standing.now().Role != raft.Leader {
			return done, nil // it was about this node itself
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return "", errors.Join(context.Cause(ctx), err)
		}
	}
}

// change makes the change that was ordered.
func (n *node) change(ctx context.Context, s raft.Status, o Order) (string, error) {
	if o.Kind == OrderTransfer && o.Node == "" {
		return n.transfer(ctx, s, raft.Peer{})
	}
	p, err := n.find(s.Config, o.Node)
	if err != nil {
		return "", err
	}
	if o.Kind == OrderTransfer {
		return n.transfer(ctx, s, p)
	}
	name := n.nameOf(p.ID)
	next, done, err := n.wanted(s.Config, p, o.Kind)
	if err != nil || samePlaces(next, s.Config) {
		return name + " " + done + " already", err
	}
	if err := n.checkQuorum(s, next, o.Force); err != nil {
		return "", err
	}
	if _, err := n.raft.Reconfigure(ctx, s.Config.Index, next); err != nil {
		return "", fmt.Errorf("%s %s: %w", o.Kind, name, err)
	}
	done = fmt.Sprintf("%s %s; %d vote", name, done, len(next.Voters))
	if o.Kind == OrderDemote && n.wantsVote(p.ID) {
		done += ". It asks to be a voter, and will be made one again unless it is started as a non-voter"
	}
	return done, nil
}

// wanted returns the configuration that an order asks for, and what the node is in it.
func (n *node) wanted(c raft.Config, p raft.Peer, kind OrderKind) (next raft.Config, is string, err error) {
	others := func(list []raft.Peer) []raft.Peer {
		return slices.DeleteFunc(slices.Clone(list), func(q raft.Peer) bool { return q.ID == p.ID })
	}
	switch voter := c.IsVoter(p.ID); kind {
	case OrderPromote:
		if voter {
			return c, "votes", nil
		}
		return raft.Config{Voters: append(others(c.Voters), p), Learners: others(c.Learners)}, "votes", nil
	case OrderDemote:
		if !voter {
			return c, "is a learner", nil
		}
		return raft.Config{Voters: others(c.Voters), Learners: append(others(c.Learners), p)}, "is a learner", nil
	case OrderRemove:
		return raft.Config{Voters: others(c.Voters), Learners: others(c.Learners)}, "is removed", nil
	case OrderTransfer:
	}
	return raft.Config{}, "", fmt.Errorf("the order %q is not known", kind)
}

func samePlaces(a, b raft.Config) bool {
	return len(a.Voters) == len(b.Voters) && len(a.Learners) == len(b.Learners)
}

// wantsVote reports whether a node asks to be a voter.
func (n *node) wantsVote(id raft.PeerID) bool {
	if n.gossip == nil {
		return false
	}
	return slices.ContainsFunc(n.gossip.Members(), func(m membership.Member) bool { return peerOf(m.Peer) == id && !m.NonVoter })
}

// checkQuorum shows the arithmetic of a change that would stop the cluster.
func (n *node) checkQuorum(s raft.Status, next raft.Config, force bool) error {
	before, after := n.voters(s, s.Config.Voters), n.voters(s, next.Voters)
	err := membership.CheckQuorum(before, after)
	if err != nil && force && len(after) > 0 && membership.Margin(before) >= 0 {
		return nil
	}
	if err != nil && membership.Margin(before) >= 0 && len(after) > 0 {
		return fmt.Errorf("%w; it can be forced", err)
	}
	return err
}

// voters returns how a leader finds voters.
func (n *node) voters(s raft.Status, list []raft.Peer) (voters []membership.Voter) {
	for _, p := range list {
		silent, known := silence(s, p.ID)
		voters = append(voters, membership.Voter{Name: n.nameOf(p.ID), Healthy: known && silent < n.config.ElectionTimeout})
	}
	return voters
}

func (n *node) transfer(ctx context.Context, s raft.Status, to raft.Peer) (string, error) {
	if to.ID == s.ID {
		return n.nameOf(to.ID) + " leads already", nil
	}
	if err := n.raft.Transfer(ctx, to.ID); err != nil {
		return "", err
	}
	if err := n.await(ctx, n.config.ElectionTimeout, func(at raft.Standing) bool { return at.Role != raft.Leader && !at.Leader.IsZero() }); err != nil {
		return "", fmt.Errorf("nobody has taken over leadership: %w", err)
	}
	return n.nameOf(n.standing.now().Leader) + " leads", nil
}

// find returns the node of a name, or of an ID.
func (n *node) find(c raft.Config, name string) (raft.Peer, error) {
	var found []raft.Peer
	var names []string
	for _, p := range c.Peers() {
		if p.ID.String() == name {
			return p, nil
		}
		if n.nameOf(p.ID) == name {
			found = append(found, p)
		}
		names = append(names, n.nameOf(p.ID))
	}
	slices.Sort(names)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return raft.Peer{}, fmt.Errorf("%w: %q is none of %s", ErrNode, name, strings.Join(names, ", "))
	}
	slices.SortFunc(found, func(a, b raft.Peer) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return raft.Peer{}, fmt.Errorf("%w: %q may be %v at %s or %v at %s: name it by its ID", ErrNode, name, found[0].ID, found[0].Address,
		found[1].ID, found[1].Address)
}

package lockd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// Init founds a cluster of this node alone; every other node that it gossips with joins it. The node must have been started with
// Config.Join and have found no cluster, and all that it sees must promise to take part in no other founding. Init returns when the
// cluster is founded, or why it is not; nothing has changed then.
func (s *Server) Init(ctx context.Context) error {
	n, err := s.current()
	if err != nil {
		return err
	}
	return n.init(ctx)
}

func (n *node) init(ctx context.Context) error {
	if n.hasJoined() || !n.config.joins() {
		return errHasCluster
	}
	w := wish{done: make(chan error, 1)}
	select {
	case n.wishes <- w:
	case <-n.joined:
		return errHasCluster
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// NobodyMet is in the text of an error of Join where no node has been met at the address.
const NobodyMet = "no node is met there"

// Join looks for the cluster of the nodes at a gossip address, as membership.ParseSeed reads it, and returns when this node was let into it,
// or what keeps it out. The node must have been started with Config.Join or Config.BootstrapExpect and have found no cluster; one that is in
// that cluster already is told so, without an error. The address is asked now, and not again after a restart: that is for Config.Join.
func (s *Server) Join(ctx context.Context, seed string) (string, error) {
	n, err := s.open()
	if err != nil {
		return "", err
	}
	return n.seekAt(ctx, seed)
}

func (n *node) seekAt(ctx context.Context, text string) (string, error) {
	seed, err := membership.ParseSeed(text)
	if err != nil {
		return "", err
	}
	if n.gossip == nil {
		return "", errNoGossip
	}
	already := n.hasJoined()
	if err := n.gossip.Join(ctx, seed); err != nil {
		return "", fmt.Errorf(NobodyMet+": %w", err)
	}
	if already {
		return n.stateAdmission(ctx, "in the cluster %x already")
	}
	if clusters, _ := clustersOf(n.gossip.Members()); len(clusters) == 0 {
		return "", errors.New("the node there has no cluster either; they know each other now: \"lockd cluster init\" on one of them founds one")
	}
	select {
	case <-n.joined:
	case <-ctx.Done():
		return "", errors.Join(context.Cause(ctx), n.waits.get())
	}
	if err := n.standing.wait(ctx, func(at raft.Standing) bool { return at.Config > 0 }); err != nil {
		return "", fmt.Errorf("the cluster %x is found, and its leader has not let this node in yet: %w", n.id.cluster(), err)
	}
	return n.stateAdmission(ctx, "let into the cluster %x")
}

// stateAdmission says that this node is in its cluster, if the leader says so: who is removed hears nothing of it. A leader takes a turn to
// tell of whom it has let in.
func (n *node) stateAdmission(ctx context.Context, as string) (string, error) {
	turn := time.NewTicker(stewardEvery)
	defer turn.Stop()
	const turns = 4
	var unheard error
	for range turns {
		var h *ClusterHealth
		h, unheard = n.health(ctx)
		if unheard == nil && slices.ContainsFunc(h.Servers, func(s ServerHealth) bool { return s.ID == n.self.String() }) {
			return n.config.Name + " is " + fmt.Sprintf(as, n.id.cluster()), nil
		}
		select {
		case <-turn.C:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	const removed = "it was removed, and is not let in again: start it with an empty directory"
	if unheard != nil {
		return "", fmt.Errorf("this node belongs to the cluster %x, and hears nothing of its leader (%w). If the others do, "+removed, n.id.cluster(), unheard)
	}
	return "", fmt.Errorf("this node belongs to the cluster %x, whose leader does not know it: "+removed, n.id.cluster())
}

// Order changes the cluster, through its leader, and says what was done. The error wraps membership.ErrQuorum when the change would
// leave too few healthy voters, or ErrNode when there is no such node. After an error of the network or of ctx it may have been done.
func (s *Server) Order(ctx context.Context, o Order) (string, error) {
	n, err := s.current()
	if err != nil {
		return "", err
	}
	return n.obey(ctx, o)
}

// Health tells how the nodes of the cluster are, as the leader sees them, which is asked. It fails where no leader is known, and in a
// leader's first half second.
func (s *Server) Health(ctx context.Context) (*ClusterHealth, error) {
	n, err := s.current()
	if err != nil {
		return nil, err
	}
	return n.health(ctx)
}

// GossipMember is a node as this one sees it by gossip.
type GossipMember struct {
	Name     string    `json:"name"`
	ID       string    `json:"id"`
	Cluster  string    `json:"cluster"` // empty: it has none yet
	Gossip   string    `json:"gossip"`  // addresses
	Raft     string    `json:"raft"`
	Client   string    `json:"client"`
	Status   string    `json:"status"` // alive, failed or left
	Since    time.Time `json:"since"`  // of the status
	Zone     string    `json:"zone,omitempty"`
	Build    string    `json:"build,omitempty"`
	Joining  bool      `json:"joining,omitempty"`   // it asks to be let into the cluster
	NonVoter bool      `json:"non_voter,omitempty"` // it wants to stay a learner
	Key      string    `json:"key,omitempty"`       // that it encrypts with
	Keys     []string  `json:"keys,omitempty"`      // that it can decrypt with
}

// GossipMembers returns the nodes that this one knows by gossip, itself too; none if it does not gossip. It fails before the node
// listens.
func (s *Server) GossipMembers() ([]GossipMember, error) {
	n, err := s.open()
	if err != nil {
		return nil, err
	}
	return n.gossipMembers(), nil
}

// RotateKeys takes a step of a rotation of the gossip keys on all nodes: install a new one, use it, remove the old one. It returns when
// all have followed. The error wraps membership.ErrMembersMissing when a node of the cluster is not there, or goes before it has followed,
// and membership.ErrKeyOrder when a step before it is missing: nothing has changed then. After any error the same order again is safe.
func (s *Server) RotateKeys(ctx context.Context, o KeyOrder) error {
	n, err := s.open()
	if err != nil {
		return err
	}
	return n.rotate(ctx, o)
}

func (n *node) gossipMembers() []GossipMember {
	if n.gossip == nil {
		return nil
	}
	var list []GossipMember
	for _, m := range n.gossip.Members() {
		g := GossipMember{
			Name: m.Name, ID: peerOf(m.Peer).String(), Gossip: m.Address.String(), Raft: m.Raft, Client: m.Client, Status: m.Status.String(),
			Since: m.Since, Zone: m.Zone, Build: m.Build, Joining: m.Joining, NonVoter: m.NonVoter,
		}
		if m.Cluster != (membership.ClusterID{}) {
			g.Cluster = m.Cluster.String()
		}
		for _, k := range m.Keys {
			g.Keys = append(g.Keys, k.String())
		}
		if len(m.Keys) > 0 {
			g.Key = m.Primary.String()
		}
		list = append(list, g)
	}
	return list
}

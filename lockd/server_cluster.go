package lockd

import (
	"context"
	"time"

	"github.com/lockd/lockd/membership"
)

// Init founds a cluster of this node alone; every other node that it gossips with joins it. The node must have been started with
// Config.Join and have found no cluster, and all that it sees must promise to take part in no other founding. Init returns when the
// cluster is founded, or why it is not; nothing has changed then.
func (s *Server) Init(ctx context.Context) error {
	n, err := s.current()
	if err != nil {
		return err
	}
	if n.hasJoined() {
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

// Order changes the cluster, through its leader, and says what was done. The error wraps membership.ErrQuorum when the change would
// leave too few healthy voters, or ErrNode when there is no such node. After an error of the network or of ctx it may have been done.
func (s *Server) Order(ctx context.Context, o Order) (string, error) {
	n, err := s.current()
	if err != nil {
		return "", err
	}
	return n.obey(ctx, o)
}

// GossipMember is a node as this one sees it by gossip.
type GossipMember struct {
	Name, ID, Cluster    string
	Gossip, Raft, Client string // addresses
	Status               string // alive, failed or left
	Since                time.Time
	Zone, Build          string
	Joining, NonVoter    bool
	Key                  string // that it encrypts with; empty: none
	Keys                 []string
}

// GossipMembers returns the nodes that this one knows by gossip, itself too; none if it does not gossip.
func (s *Server) GossipMembers() ([]GossipMember, error) {
	n, err := s.current()
	if err != nil || n.gossip == nil {
		return nil, err
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
	return list, nil
}

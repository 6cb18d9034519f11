package lockd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// promise binds a node that has no cluster to one founding, so that no two foundings both get all they need. It is durable before
// anybody hears of it. The founder alone decides: as long as it has not founded the cluster it may give up, durably, and frees all
// who have promised. This is two-phase commit (Gray: Notes on data base operating systems, 1978, section 5.8.3.3) with the founder as
// coordinator, and its flaw: whoever has promised waits for a founder that is gone.
type promise struct {
	Cluster clusterID   `json:"cluster"`
	Founder raft.PeerID `json:"founder"`
	Address string      `json:"address"` // of the founder's Raft port
	Voters  []raft.Peer `json:"voters"`
	// Frees are foundings that the same founder has given up. Who is bound to one of them need not ask whether it still stands.
	Frees []clusterID `json:"frees,omitempty"`
}

func (p *promise) same(q *promise) bool {
	return p != nil && q != nil && p.Cluster == q.Cluster && p.Founder == q.Founder && slices.Equal(p.Voters, q.Voters)
}

// check refuses what no founder asks for: it would be kept.
func (p *promise) check() error {
	long := func(v raft.Peer) bool { return len(v.Address) > raft.MaxAddressBytes }
	if p.Cluster.IsZero() || p.Founder.IsZero() || len(p.Address) > raft.MaxAddressBytes || len(p.Voters) == 0 ||
		len(p.Voters) > raft.MaxVoters || slices.ContainsFunc(p.Voters, long) || len(p.Frees) > maxGivenUp {
		return errors.New("this is no founding")
	}
	return nil
}

// question is what a node asks another one over the Raft port.
type question struct {
	// Promise asks the node To for a promise. Another one that is found at its address must not give it: it would count as the promise of
	// a node that may give its own to another founder. Founders of earlier builds leave To out.
	Promise *promise    `json:"promise,omitempty"`
	To      raft.PeerID `json:"to,omitzero"`
	// Stands asks a founder whether its founding still stands. Whoever else is found at its address knows nothing of that.
	Stands  clusterID   `json:"stands,omitzero"`
	Founder raft.PeerID `json:"founder,omitzero"`
	// Order asks a leader to change the cluster.
	Order *Order `json:"order,omitempty"`
	// Health asks a leader how the nodes are.
	Health bool `json:"health,omitempty"`
	// Clock asks what time it is, to compare.
	Clock bool `json:"clock,omitempty"`
	// Moved tells a leader at which address the node that asks is now.
	Moved string `json:"moved,omitempty"`
}

// reply answers a question.
type reply struct {
	Stands bool           `json:"stands,omitempty"`
	Done   string         `json:"done,omitempty"` // what an order has done
	Health *ClusterHealth `json:"health,omitempty"`
	Clock  *reading       `json:"clock,omitempty"`
}

// asker asks other nodes; *tcp.Transport is one.
type asker interface {
	Ask(ctx context.Context, address string, question []byte) ([]byte, error)
}

// put puts a question to the node at an address.
func put(ctx context.Context, a asker, address string, q question) (r reply, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return reply{}, err
	}
	if b, err = a.Ask(ctx, address, b); err != nil {
		return reply{}, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return reply{}, fmt.Errorf("the answer of %s: %w", address, err)
	}
	return r, nil
}

// answer answers other nodes, from the moment the Raft port is open.
func (n *node) answer(ctx context.Context, from tcp.Asker, b []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(b, &q); err != nil {
		return nil, fmt.Errorf("the question is not understood: %w", err)
	}
	var r reply
	var err error
	switch {
	case q.Promise != nil:
		if err = n.knowsNone(); err == nil {
			err = n.vow.promiseAs(q.To, from, q.Promise)
		}
	case !q.Stands.IsZero():
		r.Stands, err = n.vow.stands(q.Founder, q.Stands)
	case q.Order != nil:
		if !n.hasJoined() {
			return nil, errJoining
		}
		if from.Cluster != n.id.cluster() {
			return nil, errors.New("orders come from nodes of the same cluster")
		}
		if n.standing.now().Role != raft.Leader { // nor is this
			return nil, errors.New("this node does not lead any more; the same order again is safe")
		}
		r.Done, err = n.lead(ctx, *q.Order)
	case q.Health:
		if n.standing.now().Role != raft.Leader { // it is not passed on: two nodes may take each other for the leader
			return nil, errors.New("this node does not lead any more")
		}
		r.Health, err = n.health(ctx)
	case q.Moved != "":
		err = n.heardMove(ctx, from, q.Moved)
	case q.Clock:
		r.Clock = n.reading()
	default:
		err = errors.New("the question is not understood: another version of lockd has asked it")
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// knowsNone returns an error if this node has heard of a cluster: then none is founded beside it.
func (n *node) knowsNone() error {
	if n.gossip == nil {
		return nil
	}
	return unheardOf(n.gossip.Members())
}

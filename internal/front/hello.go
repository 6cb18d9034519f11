package front

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// welcome greets a connection and serves it, as what its Hello says it is. It returns why that is over.
func (f *Front) welcome(ctx context.Context, s *stream) error {
	hello, err := f.greet(s)
	if err != nil {
		return err
	}
	switch hello.Role {
	case wire.RoleClient:
		return f.serveClient(ctx, s, hello)
	case wire.RoleNode:
		if f.o.CheckNode != nil {
			if err := f.o.CheckNode(s.net); err != nil {
				return &parting{wire.Forbidden, err.Error()}
			}
		}
		return f.servePeer(s, hello)
	}
	return &parting{wire.Unsupported, fmt.Sprintf("a node knows no role %d", hello.Role)}
}

// greet reads the Hello and checks it. Nothing that comes before it, and nothing that is not one, can be trusted.
func (f *Front) greet(s *stream) (*wire.Hello, error) {
	_ = s.net.SetDeadline(time.Now().Add(f.o.Limits.HelloTimeout)) // of a closed connection: reading tells
	m, err := s.in.Read()
	var body *wire.BodyError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &parting{wire.TooSlow, "no Hello within " + f.o.Limits.HelloTimeout.String()}
	case errors.As(err, &body):
		f.malformed(body.Type)
		return nil, &parting{wire.Malformed, err.Error()}
	case err != nil:
		return nil, err
	}
	hello, ok := m.(*wire.Hello)
	if !ok || hello.Magic != wire.Magic {
		return nil, &parting{wire.OutOfStep, "the first message is not a Hello of lockd"}
	}
	if _, err := hello.Version(); err != nil {
		return nil, &parting{wire.VersionMismatch, err.Error()}
	}
	if err := f.checkCluster(hello); err != nil {
		return nil, err
	}
	_ = s.net.SetDeadline(time.Time{})
	s.in.Limit(wire.FrameMax)
	s.source.hello = true
	return hello, nil
}

// checkCluster refuses who means another cluster. What this node does not know of itself yet it holds against nobody. Another node is
// asked for the cluster only: one that is behind knows another incarnation.
func (f *Front) checkCluster(hello *wire.Hello) error {
	cluster, incarnation := f.o.Cluster()
	none := wire.ID{}
	switch {
	case hello.Cluster != none && cluster != none && hello.Cluster != cluster:
		return &parting{wire.WrongCluster, fmt.Sprintf("this node belongs to cluster %s, not to %s", wire.ID(cluster), hello.Cluster)}
	case hello.Role == wire.RoleNode && hello.Cluster == none:
		return &parting{wire.WrongCluster, "a node must name its cluster"}
	case hello.Role == wire.RoleNode:
		return nil
	case hello.Incarnation != none && incarnation != none && hello.Incarnation != incarnation:
		return &parting{wire.WrongCluster, "this is another incarnation of the cluster: it was restored, and all sessions have ended"}
	}
	return nil
}

// welcoming returns the answer to a Hello that was checked. The caller holds mu.
func (f *Front) welcoming(hello *wire.Hello, clock time.Duration) *wire.Welcome {
	cluster, incarnation := f.o.Cluster()
	version, _ := hello.Version() // greet has seen that there is one
	return &wire.Welcome{
		Version: version, Cluster: cluster, Incarnation: incarnation, Node: uint64(f.o.Peer.Node), Boot: f.o.Boot,
		Clock: clock, Limits: limitsOf(&f.o.Limits), Leader: uint64(f.leader.Node), Nodes: f.o.nodes(),
	}
}

func (f *Front) malformed(t wire.Type) {
	if f.o.Events.Malformed != nil {
		f.o.Events.Malformed(t)
	}
}

package front

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// State is the lock table as this node has applied it.
type State interface {
	// View gives f the table, which no entry changes meanwhile.
	View(f func(t *locktable.Table))
	// Wait blocks until the entry is applied and [Front.Applied] has been called for it.
	Wait(ctx context.Context, index raft.Index) error
	AppliedIndex() raft.Index
}

// Raft is this node as a member of the cluster.
type Raft interface {
	Read(ctx context.Context) (raft.Index, error)
	Status(ctx context.Context) (raft.Status, raft.Index, error)
}

// Tenure is what this node does while it leads. It may call [Front.Answers] from any goroutine.
type Tenure interface {
	Submit(o *tenure.Order) error
	KeepAlive(kas []session.KeepAlive)
	Disconnected(lives []session.Life)
	// Clock returns the cluster time as the leader counts it; leads is false on all other nodes.
	Clock() (clock time.Duration, leads bool)
}

// Options are what a Front is made of.
type Options struct {
	// Listener accepts connections of clients and of other nodes, TLS already around them if there is any. Run closes it.
	Listener net.Listener
	// Dial connects to the client port of another node, with TLS if there is any.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	// Cluster returns the ids of the cluster and of its incarnation; zero while they are not known.
	Cluster func() (cluster, incarnation [16]byte)
	Self    wire.Node
	Peer    raft.PeerID
	Boot    uint64 // drawn at the start of this node
	Agent   string // name and version of this program

	State  State
	Raft   Raft
	Tenure Tenure

	// Nodes returns where the nodes of the cluster serve clients. Nil: Self alone. Whoever changes it calls [Front.Announce].
	Nodes func() []wire.Node
	// Leader returns who leads when Run begins; from there on [Front.Standing] tells. Nil: nobody.
	Leader func() (leader raft.PeerID, term raft.Term)
	// Grow returns why what makes the state grow is refused now. Nil: it never is.
	Grow func() error

	// CheckNode returns why whoever says that it is a node is none. Nil: it is believed.
	CheckNode func(net.Conn) error

	Limits Limits
	Logger *slog.Logger
	Tracer trace.Tracer // nil: no spans
	Events Events
}

// Limits bound what peers can make a Front do. A zero field means its default.
type Limits struct {
	Connections  int           // of clients and nodes together; default 20,000
	InFlight     int           // unanswered requests of one connection; default 1,024
	Lives        int           // sessions and leases named on one connection; default 65,536
	QueueBytes   int           // that wait for one connection's peer to read, beyond which it is closed; default 4 MiB
	PendingBytes int           // of commands of all connections that are not answered; default 128 MiB
	HelloTimeout time.Duration // from the connection to the end of its Hello; default 5 s
	BodyTimeout  time.Duration // from the first bytes of a frame to its last; default 10 s
	WriteTimeout time.Duration // for a peer that does not read; default 10 s
	IdleTimeout  time.Duration // without a frame; 0: for ever
}

func (l Limits) withDefaults() Limits {
	l.Connections = cmp.Or(l.Connections, 20_000)
	l.InFlight = cmp.Or(l.InFlight, wire.WindowMax)
	l.Lives = cmp.Or(l.Lives, 1<<16)
	l.QueueBytes = cmp.Or(l.QueueBytes, 4<<20)
	l.PendingBytes = cmp.Or(l.PendingBytes, 128<<20)
	l.HelloTimeout = cmp.Or(l.HelloTimeout, 5*time.Second)
	l.BodyTimeout = cmp.Or(l.BodyTimeout, 10*time.Second)
	l.WriteTimeout = cmp.Or(l.WriteTimeout, 10*time.Second)
	return l
}

// Times that are not configured.
const (
	digestEvery  = 100 * time.Millisecond // the shortest time between two Digests
	leaderWait   = 2 * time.Second        // how long a request waits for a leader
	retryEvery   = 10 * time.Millisecond  // how often a command that no leader took is offered again
	quorumWait   = time.Second            // without a confirmed round, after which clients are told
	linkTimeout  = time.Second            // for a connection to the leader, and for its Welcome
	linkPauseMin = 20 * time.Millisecond  // between two attempts
	linkPauseMax = 320 * time.Millisecond
	// linkRetired is how long the answers of a former leader are waited for. One that lives gives them at once; what one that was
	// stopped or cut off was sent has to be repeated, and until the client is told it waits.
	linkRetired = 50 * time.Millisecond
	lingerFor   = time.Second // for a peer to close its side after a Goodbye
)

// Events tell what happens at a Front. Nil functions are left out. They are called from many goroutines and must not block.
type Events struct {
	// Connections: how many there are now, of clients and of nodes, those without a Hello counted as clients'.
	Connections func(clients, nodes int)
	// Goodbye: a connection was refused, or closed by this side, with this code.
	Goodbye func(wire.Code)
	// Request: a client's request was answered.
	Request func(Request)
	// Malformed: the body of a frame was not of the shape of its type.
	Malformed func(wire.Type)
	// KeepAlives: so many were sent to the leader together.
	KeepAlives func(count int)
	// Forwarded: so many commands were sent to the leader together.
	Forwarded func(count int)
	// NoQuorum: there was no confirmed round for this long.
	NoQuorum func(time.Duration)
}

// Request is one request of a client, answered.
type Request struct {
	Type wire.Type
	Code wire.Code     // outcome or failure; OK for a read
	Name string        // the first lock that it names, if any
	Took time.Duration // from its arrival to its answer, not yet written
}

func (o *Options) validate() error {
	switch {
	case o.Listener == nil:
		return errors.New("front: Options.Listener is missing")
	case o.Dial == nil || o.Cluster == nil:
		return errors.New("front: Options.Dial or Options.Cluster is missing")
	case o.State == nil || o.Raft == nil || o.Tenure == nil:
		return errors.New("front: Options.State, Options.Raft or Options.Tenure is missing")
	case o.Peer.IsZero():
		return errors.New("front: Options.Peer is missing")
	}
	return nil
}

// nodes returns the nodes as clients are told, at most as many as fit the message.
func (o *Options) nodes() []wire.Node {
	if o.Nodes != nil {
		if nodes := o.Nodes(); len(nodes) > 0 {
			return nodes[:min(len(nodes), wire.MostMax)]
		}
	}
	return []wire.Node{o.Self}
}

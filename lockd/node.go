package lockd

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
	"github.com/lockd/lockd/session"
)

// instrument is the name under which spans are made.
const instrument = "github.com/lockd/lockd/lockd"

// member is the raft.Node, which is known only after its users have been made.
type member struct{ *raft.Node }

// node is a Server while it runs: its parts, in the order in which they come into being.
type node struct {
	config  *Config
	log     *slog.Logger
	metrics *metrics
	boot    uint64
	started time.Time
	fail    context.CancelCauseFunc // ends the life of the node

	home  home
	id    identity
	self  raft.PeerID // of id, which join replaces
	store checkpoint.Store
	state *replica.Replica

	client, http net.Listener

	gossip *membership.Gossip // nil: there is none
	wishes chan wish          // of operators, to found a cluster
	vow    *vow               // from join on
	waits  reason             // until it has joined

	transport *tcp.Transport // once it has joined
	address   string         // of it, for the others

	isAdmitted bool // a configuration names this node, which is saved; used by follow alone

	tenure    *tenure.Tenure
	front     *front.Front
	directory *directory
	raft      member
	standing  standing
	findings  findings
	moves     moves
	disk      disk
	opened    chan struct{} // closed when open has come to its end
	joined    chan struct{} // closed when all of the above are there

	mu        sync.Mutex // guards the fields below
	addresses Addresses
}

func newNode(c *Config, fail context.CancelCauseFunc) *node {
	n := &node{
		config: c, log: c.Logger, boot: random64(), started: time.Now(), fail: fail,
		wishes: make(chan wish), opened: make(chan struct{}), joined: make(chan struct{}),
	}
	n.standing.init()
	n.disk = disk{n: n, free: func() (uint64, error) { return checkpoint.FreeSpace(c.DataDir) }}
	return n
}

// open opens what the node remembers, and listens for clients, so that the others can be told where.
func (n *node) open(ctx context.Context) (err error) {
	if n.metrics, err = newMetrics(n.config.MeterProvider, n.config.LockClasses); err != nil {
		return err
	}
	if n.home, err = openHome(n.config); err != nil {
		return err
	}
	if n.id, err = identify(n.home, n.config); err != nil {
		return err
	}
	n.self = n.id.peer()
	if n.id.Joins { // also when it was not told to join: a recovered node waits for others
		err := errors.Join(checkReachable("AdvertiseRaft", n.config.AdvertiseRaft, n.config.ListenRaft),
			checkReachable("AdvertiseClient", n.config.AdvertiseClient, n.config.ListenClient))
		if err != nil {
			return err
		}
	}
	if n.store, err = n.home.openStore(n.id, n.log); err != nil {
		return err
	}
	n.state, err = replica.Open(replica.Options{
		Store: n.store, Logger: n.log, Events: n.metrics.replicaEvents(), Applied: n.applied, Installed: n.installed,
	})
	if err != nil {
		return err
	}
	if n.client, err = n.config.Listen(ctx, n.config.ListenClient); err != nil {
		return fmt.Errorf("listen on the client port: %w", err)
	}
	if n.config.ListenHTTP != Off {
		if n.http, err = n.config.Listen(ctx, n.config.ListenHTTP); err != nil {
			return fmt.Errorf("listen on the HTTP port: %w", err)
		}
	}
	if err := n.openGossip(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses.Client = n.client.Addr().String()
	if n.gossip != nil {
		n.addresses.Gossip = n.gossip.Address().String()
	}
	if n.http != nil {
		n.addresses.HTTP = n.http.Addr().String()
	}
	close(n.opened)
	return nil
}

func openHome(c *Config) (home, error) {
	if c.Memory {
		return cmp.Or(c.Disk, &MemoryDisk{}).home.open()
	}
	if err := unplaced(c.DataDir); err != nil {
		return nil, err
	}
	dir, err := openDataDir(c.DataDir)
	if err != nil {
		return nil, err
	}
	if err := unplaced(c.DataDir); err != nil { // it may have been moved away meanwhile
		return nil, errors.Join(err, dir.close())
	}
	return dir, nil
}

// close closes what open has opened.
func (n *node) close() error {
	var err error
	for _, l := range []net.Listener{n.client, n.http} {
		if l != nil {
			if e := l.Close(); !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	}
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	if n.home != nil {
		err = errors.Join(err, n.home.close())
	}
	return err
}

// join brings the node into its cluster and starts raft. It blocks while nodes are missing that the cluster cannot begin without.
func (n *node) join(ctx context.Context) error {
	id := n.id
	n.vow = newVow(n.home, &id, n.wishes)
	f := founding{
		config: n.config, home: n.home, id: &id, state: n.state, client: n.advertised(), gossip: n.gossip, vow: n.vow, waits: &n.waits, log: n.log,
		transport: tcp.Options{
			Boot: n.boot, Seed: n.boot, Dial: n.config.Dial, TLS: n.config.RaftTLS, Answer: n.answer, Logger: n.log,
			Events: tcp.Events{Clone: n.sawClone, Refused: n.refused},
		},
	}
	in, err := f.run(ctx)
	if err != nil {
		return err
	}
	n.id, n.transport, n.address, n.isAdmitted = in.id, in.transport, in.address, in.id.Admitted
	if err := n.assemble(in); err != nil {
		return errors.Join(err, in.close())
	}
	self := n.id.peer()
	n.raft.Node, err = raft.Start(raft.NodeOptions{
		Core: raft.Options{
			ID: self, Seed: uint64(self.Node) ^ self.Incarnation ^ n.boot,
			Heartbeat: n.config.Heartbeat, ElectionTimeout: n.config.ElectionTimeout, IgnoreHints: n.config.NoFailureHints,
		},
		Storage: n.metrics.storage(in.log), Transport: in.transport, Machine: n.state,
		Events: raft.Events{Standing: n.stands, Slow: n.slow, Snapshot: n.snapshot},
	})
	if err != nil {
		return errors.Join(err, in.close())
	}
	n.mu.Lock()
	n.addresses.Raft = in.transport.Addr().String()
	n.mu.Unlock()
	close(n.joined)
	return nil
}

// assemble makes the parts that raft drives.
func (n *node) assemble(in *founded) (err error) {
	n.tenure = tenure.New(tenure.Options{
		Raft: &n.raft, State: n.state, Logger: n.log, Events: n.metrics.tenureEvents(),
		Answer: func(clock time.Duration, answers []session.Answer) { n.front.Answers(clock, answers) },
	})
	self := wire.Node{ID: uint64(n.id.ID), Name: n.id.Name, Address: n.advertised(), Voter: !n.id.Joins}
	n.directory = newDirectory(in.transport, self, func() { n.front.Announce() })
	n.directory.setConfig(raft.Config{Voters: in.voters})
	n.disk.report(in)
	n.front, err = front.New(front.Options{
		Listener: wrapTLS(n.client, n.config.ClientTLS), Dial: n.dialPeer, Cluster: n.cluster,
		Self: self, Peer: n.id.peer(), Boot: n.boot, Agent: agent(),
		State: n.state, Raft: &n.raft, Tenure: n.tenure, Nodes: n.directory.nodes, Grow: n.disk.grow, CheckNode: n.checkNode,
		Limits: n.config.Limits, Logger: n.log, Tracer: n.tracer(), Events: n.metrics.frontEvents(),
	})
	return err
}

// applied and installed follow the state. They are called from raft's start on, when all parts are there.
func (n *node) applied(a replica.Applied) {
	n.tenure.Applied(a)
	n.front.Applied(a)
	n.metrics.applied(a)
	if n.config.Applied != nil {
		n.config.Applied(entryOf(a))
	}
}

func entryOf(a replica.Applied) Entry {
	e := Entry{Index: uint64(a.Index), Term: uint64(a.Term), Command: a.Data, Token: a.Table.Counter()}
	hash, _ := a.Table.Hash()
	binary.BigEndian.PutUint64(e.Hash[:8], hash[0])
	binary.BigEndian.PutUint64(e.Hash[8:], hash[1])
	return e
}

func (n *node) installed() { n.front.Installed() }

// stands is told first to who must not serve any more.
func (n *node) stands(s raft.Standing) {
	n.tenure.Standing(s)
	n.front.Standing(s)
	n.metrics.standing(s)
	n.standing.set(s)
}

func (n *node) slow(took time.Duration) {
	n.metrics.slowWrite()
	n.log.Warn("the disk was slow to store the log", slog.Duration("took", took))
}

func (n *node) snapshot(peer raft.PeerID, sent bool, err error) {
	n.metrics.snapshot(sent, err)
	switch name := n.nameOf(peer); {
	case err != nil:
		n.log.Warn("a snapshot was not transferred; it is tried again", slog.String("node", name), slog.Bool("sent", sent), slog.Any("error", err))
	case sent:
		n.log.Info("a snapshot was sent", slog.String("to", name))
	default:
		n.log.Info("a snapshot was received", slog.String("from", name))
	}
}

// sawClone hears that another node is run twice.
func (n *node) sawClone(c tcp.Clone) {
	n.log.Error("two processes run with copies of one data directory; the newer one was refused", slog.String("node", n.nameOf(c.Peer)),
		slog.String("remote", c.Remote))
}

// refused hears that another node holds this one for a copy: both would vote.
func (n *node) refused(r tcp.RefusedError) {
	if r.Code == tcp.CodeClone {
		n.fail(fmt.Errorf("%w: %w", ErrClone, &r))
	}
}

// dialPeer connects to the client port of another node.
func (n *node) dialPeer(ctx context.Context, address string) (net.Conn, error) {
	conn, err := n.config.Dial(ctx, address)
	if err != nil || n.config.PeerTLS == nil {
		return conn, err
	}
	c := n.config.PeerTLS.Clone()
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(address) // has been checked by the dial
	}
	secured := tls.Client(conn, c)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// checkNode asks the configuration whether the other side of a connection is a node.
func (n *node) checkNode(conn net.Conn) error {
	secured, ok := conn.(*tls.Conn)
	if !ok || n.config.CheckNode == nil {
		return nil
	}
	return n.config.CheckNode(secured.ConnectionState())
}

func wrapTLS(l net.Listener, c *tls.Config) net.Listener {
	if c == nil {
		return l
	}
	return tls.NewListener(l, c)
}

// tracer returns nil where nobody would see a span: making none is cheaper than making one for nothing.
func (n *node) tracer() trace.Tracer {
	switch n.config.TracerProvider.(type) {
	case nil, noop.TracerProvider:
		return nil
	}
	return n.config.TracerProvider.Tracer(instrument)
}

// cluster returns what clients compare when they come again.
func (n *node) cluster() (cluster, incarnation [16]byte) {
	n.state.View(func(t *locktable.Table) { incarnation, _ = t.Incarnation() })
	return n.id.cluster(), incarnation
}

func (n *node) advertised() string { return cmp.Or(n.config.AdvertiseClient, n.client.Addr().String()) }

func (n *node) listens() Addresses {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addresses
}

// nameOf returns the name of a node, for people.
func (n *node) nameOf(id raft.PeerID) string {
	if id.IsZero() {
		return ""
	}
	if id.Node == n.id.ID {
		return n.config.Name
	}
	for _, m := range n.config.InitialCluster {
		if nodeIDOf(n.config.ClusterName, m.Name) == id.Node {
			return m.Name
		}
	}
	if known, ok := n.directory.lookup(id.Node); ok {
		return known.Name
	}
	return id.String()
}

// version is that of the program's main module, as its build tells.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func agent() string { return "lockd/" + version() }

func (n *node) save(ctx context.Context, w io.Writer) error {
	if !n.hasJoined() {
		return errJoining
	}
	_, err := n.state.Save(ctx, w)
	return err
}

// admin is the HTTP port.
func (n *node) admin() http.Handler {
	return newAdmin(adminOptions{
		Metrics: n.config.Metrics, Pprof: n.config.Pprof, Status: n.status, Ready: n.ready, Save: n.save, Logger: n.log,
		Cluster: &clusterAdmin{
			Members: func() ([]GossipMember, error) { return n.gossipMembers(), nil }, Health: n.health,
			Init: n.init, Join: n.seekAt, Order: n.obey, Keys: n.rotate, Check: n.check,
		},
	})
}

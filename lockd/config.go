package lockd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// Defaults of Config.
const (
	DefaultName         = "lockd-1" // of a node that is a cluster of its own
	DefaultClusterName  = "lockd"
	DefaultListenClient = "127.0.0.1:7400"
	DefaultListenRaft   = "127.0.0.1:7401"
	DefaultListenGossip = "127.0.0.1:7402"
	DefaultListenHTTP   = "127.0.0.1:7403"
	DefaultReplaceAfter = 10 * time.Minute
	DefaultMinFree      = 512 << 20
	DefaultDrainTimeout = 10 * time.Second
	DefaultHeartbeat    = 60 * time.Millisecond
	DefaultElection     = time.Second
)

// Off as Config.ListenHTTP or Config.ListenGossip leaves that port out.
const Off = "off"

// Limits of Config.
const (
	nameMax    = 64 // bytes of the name of a node or a cluster
	addressMax = raft.MaxAddressBytes
	membersMax = raft.MaxVoters
	tokenMax   = locktable.SeedMax
)

// Member is one node of Config.InitialCluster.
type Member struct {
	Name string
	Raft string // host:port at which the others reach its Raft port
}

// Limits bound what clients and other nodes may ask of a node at one time. A zero field means its default.
type Limits = front.Limits

// Config says which node to run. The zero Config, but for DataDir or Memory, is a cluster of one node that listens on loopback.
type Config struct {
	Name        string // of this node, unique in the cluster; DefaultName for a cluster of one
	ClusterName string // DefaultClusterName
	DataDir     string // where the node keeps what it must not forget; made with mode 0700 if it is missing
	Memory      bool   // keep everything in memory instead of in DataDir; it is gone when the process ends
	// Disk, with Memory, is what outlives the Server, so that the next one in this process goes on with it. Nil: nothing does.
	Disk *MemoryDisk

	// InitialCluster lists all nodes of a new cluster, the same on each of them; empty for a cluster of this one node. It
	// stays as it is for the life of the cluster.
	InitialCluster []Member

	// Join lists seeds, as membership.ParseSeed reads them: gossip ports where nodes of the cluster may be. A node without a log and
	// without InitialCluster waits until it finds a cluster, and asks to become a member; or until Server.Init founds one. With
	// InitialCluster they are further ways to find the others.
	Join []string
	// BootstrapExpect, with Join, founds a cluster once exactly so many nodes that expect as many have found each other and all have
	// promised. It has no effect where there is a cluster.
	BootstrapExpect int
	// NonVoter keeps the node a learner: it serves reads and forwards what clients ask, and counts for no majority.
	NonVoter bool
	// DeclaredSize is how many voters the cluster should have. With it, a leader replaces a voter that has been dead for ReplaceAfter by
	// a learner that is well. 0: nobody is ever replaced.
	DeclaredSize int
	ReplaceAfter time.Duration // default DefaultReplaceAfter
	// LeaveOnTerminate removes the node from the cluster when it stops gracefully, if the others can go on without it.
	LeaveOnTerminate bool

	ListenClient, ListenRaft, ListenHTTP string // host:port; port 0 for any. ListenHTTP may be Off
	// ListenGossip is a UDP and TCP port by which the nodes find each other and notice who is gone. Default: DefaultListenGossip with
	// Join or BootstrapExpect, otherwise Off.
	ListenGossip    string
	AdvertiseGossip string             // where others reach it, an IP address and a port; default: where it listens
	GossipKey       string             // base64 of 16, 24 or 32 bytes: the first key of an empty directory. Later ones come by rotation
	GossipProfile   membership.Profile // default membership.Default
	Zone            string             // where the node stands, for people
	// AdvertiseClient and AdvertiseRaft are where others reach this node. Default: where it listens; for Raft, what
	// InitialCluster says.
	AdvertiseClient, AdvertiseRaft string

	// Listen and Dial replace those of package net, for all ports.
	Listen func(ctx context.Context, address string) (net.Listener, error)
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	// ListenPacket replaces that of package net, for gossip.
	ListenPacket func(ctx context.Context, address string) (net.PacketConn, error)

	ClientTLS *tls.Config // server side of the client port; nil: no TLS
	RaftTLS   *tls.Config // both sides of the Raft port; nil: no TLS
	PeerTLS   *tls.Config // client side of the client port, for node to node; needed with ClientTLS in a cluster of several
	// CheckNode returns why whoever says on the client port that it is a node is none, by its certificate. Nil: it is believed.
	CheckNode func(tls.ConnectionState) error

	Logger         *slog.Logger         // nil: nothing is logged
	TracerProvider trace.TracerProvider // nil: no spans
	MeterProvider  metric.MeterProvider // nil: no metrics
	Metrics        http.Handler         // serves /metrics; nil: it is not there
	Pprof          bool                 // serve /debug/pprof on the HTTP port
	LockClasses    []string             // prefixes of names for wait and hold histograms; all other names are class "other"

	MinFree    uint64 // bytes of free disk below which what grows the state is refused; default DefaultMinFree
	TokenFloor uint64 // the first token of a new incarnation, if the wall clock cannot be trusted; 0: from the clock
	NoWait     bool   // after a restore: grant at once, as the old cluster is known to be dead

	DrainTimeout    time.Duration // longest graceful stop
	Heartbeat       time.Duration // of the leader
	ElectionTimeout time.Duration // at least five heartbeats
	// NoFailureHints leaves it to ElectionTimeout alone when a leader is gone: lost connections, its silence and the gossip bring no
	// election forward. Fail-over then takes one to two ElectionTimeouts. It is for hosts that often stop for longer than seven
	// heartbeats, as overcommitted virtual machines do, where a change of the leader costs more than the wait.
	NoFailureHints bool
	Limits         Limits

	// Ready is called once, when the node knows a leader and serves.
	Ready func(Addresses)

	// Applied is called with every entry that the node applies, in their order, in the goroutine that applies them: for audits. It must not
	// block, and costs the hash of the state after each entry. After a start it may tell entries once more, and what a
	// snapshot brought it never tells. Nil: nothing is told, and it costs nothing.
	Applied func(Entry)
}

// Entry is one entry of the log, and the state after it.
type Entry struct {
	Index, Term uint64
	Command     []byte   // as locktable.Decode reads it; empty for an entry that is no command; valid during the call
	Hash        [16]byte // of the state after the entry, the same on every node
	Token       uint64   // the last token that was granted up to here
}

// Addresses are where a node listens; Gossip and HTTP are empty if they are off.
type Addresses struct {
	Client, Raft, Gossip, HTTP string
}

// Validate reports everything that is wrong with c, one error for each, or nil. New calls it.
func (c *Config) Validate() error {
	f := c.filled()
	errs := []error{
		checkName("Name", f.Name), checkName("ClusterName", f.ClusterName), f.checkStorage(), f.checkMembers(), checkClasses(f.LockClasses),
	}
	errs = append(errs, checkAddress("ListenClient", f.ListenClient), checkAddress("ListenRaft", f.ListenRaft), f.checkMembership())
	if f.ListenHTTP != Off {
		errs = append(errs, checkAddress("ListenHTTP", f.ListenHTTP))
	}
	if f.AdvertiseClient != "" {
		errs = append(errs, checkAddress("AdvertiseClient", f.AdvertiseClient))
	}
	if f.several() {
		errs = append(errs, checkReachable("AdvertiseClient", f.AdvertiseClient, f.ListenClient))
	}
	if f.AdvertiseRaft != "" {
		errs = append(errs, checkAddress("AdvertiseRaft", f.AdvertiseRaft))
	}
	if f.ElectionTimeout < 5*f.Heartbeat {
		errs = append(errs, fmt.Errorf("ElectionTimeout %v is less than five times Heartbeat %v", f.ElectionTimeout, f.Heartbeat))
	}
	if f.Heartbeat < 0 || f.DrainTimeout < 0 {
		errs = append(errs, errors.New("negative Heartbeat or DrainTimeout"))
	}
	if f.TokenFloor > tokenMax {
		errs = append(errs, fmt.Errorf("TokenFloor %d is above %d", f.TokenFloor, uint64(tokenMax)))
	}
	if f.ClientTLS != nil && f.PeerTLS == nil && f.several() {
		errs = append(errs, errors.New("PeerTLS is needed with ClientTLS: the nodes talk to each other over the client port"))
	}
	return errors.Join(errs...)
}

// filled returns c with every default set.
func (c *Config) filled() Config {
	f := *c
	if f.Name == "" && len(f.InitialCluster) == 0 && !f.joins() {
		f.Name = DefaultName
	}
	f.ClusterName = cmp.Or(f.ClusterName, DefaultClusterName)
	f.ListenClient = cmp.Or(f.ListenClient, DefaultListenClient)
	f.ListenRaft = cmp.Or(f.ListenRaft, DefaultListenRaft)
	f.ListenHTTP = cmp.Or(f.ListenHTTP, DefaultListenHTTP)
	f.fillMembership()
	f.MinFree = cmp.Or(f.MinFree, DefaultMinFree)
	f.DrainTimeout = cmp.Or(f.DrainTimeout, DefaultDrainTimeout)
	f.Heartbeat = cmp.Or(f.Heartbeat, DefaultHeartbeat)
	f.ElectionTimeout = cmp.Or(f.ElectionTimeout, DefaultElection)
	f.Logger = cmp.Or(f.Logger, slog.New(slog.DiscardHandler))
	if f.Listen == nil {
		f.Listen = func(ctx context.Context, address string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", address)
		}
	}
	if f.Dial == nil {
		f.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	f.InitialCluster = slices.Clone(f.InitialCluster)
	slices.SortFunc(f.InitialCluster, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return f
}

func (c *Config) checkStorage() error {
	switch {
	case c.Memory && c.DataDir != "":
		return errors.New("DataDir and Memory exclude each other")
	case !c.Memory && c.DataDir == "":
		return errors.New("DataDir is missing; set Memory for a node that keeps nothing")
	case c.Disk != nil && !c.Memory:
		return errors.New("without Memory there is no use for Disk")
	}
	return nil
}

// checkMembers checks the list, which is sorted.
func (c *Config) checkMembers() error {
	list := c.InitialCluster
	if len(list) == 0 {
		return nil
	}
	if len(list) > membersMax {
		return fmt.Errorf("InitialCluster has %d nodes; %d are the most", len(list), membersMax)
	}
	addresses := make(map[string]string, len(list))
	for i, m := range list {
		if err := errors.Join(checkName("InitialCluster: name", m.Name), checkAddress("InitialCluster: "+m.Name, m.Raft)); err != nil {
			return err
		}
		if i > 0 && list[i-1].Name == m.Name {
			return fmt.Errorf("InitialCluster names %q twice", m.Name)
		}
		if other, ok := addresses[m.Raft]; ok {
			return fmt.Errorf("InitialCluster gives %q and %q the same address %s", other, m.Name, m.Raft)
		}
		addresses[m.Raft] = m.Name
	}
	if !slices.ContainsFunc(list, func(m Member) bool { return m.Name == c.Name }) {
		return fmt.Errorf("the name of this node, %q, is not in InitialCluster", c.Name)
	}
	return nil
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is missing", what)
	case len(name) > nameMax:
		return fmt.Errorf("%s %q has %d bytes; %d are the most", what, name, len(name), nameMax)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '=' || r == ',' }):
		return fmt.Errorf("%s %q holds a space, a comma, an equals sign or what cannot be printed", what, name)
	}
	return nil
}

func checkAddress(what, address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("%s %q is not host:port", what, address)
	}
	if len(address) > addressMax {
		return fmt.Errorf("%s has %d bytes; %d are the most", what, len(address), addressMax)
	}
	return nil
}

// everywhere reports whether an address listens on all interfaces, so that it does not tell where to connect to.
func everywhere(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

package testcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/lockd"
)

// patience is how long a node may take to serve; a test that is stuck says so instead of running into its own limit.
const patience = time.Minute

// Cluster is a set of nodes. Its methods are for one goroutine.
type Cluster struct {
	Net *memnet.Network // in a bubble: where node i is the host with its name; else nil

	t     testing.TB
	nodes []*node
}

// node is one place in the cluster, through all its lives.
type node struct {
	config lockd.Config

	mu        sync.Mutex // guards listeners
	listeners map[string]net.Listener

	server  *lockd.Server // nil while it is down
	ready   chan lockd.Addresses
	stop    context.CancelFunc
	stopped chan error
}

// Start runs n nodes and returns when all of them serve. The functions change the configuration of each.
func Start(t testing.TB, n int, with ...func(i int, c *lockd.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for i := range n {
		nd := &node{listeners: map[string]net.Listener{}}
		nd.config = lockd.Config{
			Name: fmt.Sprintf("n%d", i+1), DataDir: filepath.Join(t.TempDir(), "data"), Listen: nd.listen,
			ListenClient: nd.reserve(t), ListenRaft: nd.reserve(t), ListenHTTP: nd.reserve(t),
			Logger: slog.New(slog.DiscardHandler),
		}
		c.nodes = append(c.nodes, nd)
	}
	c.start(with)
	return c
}

// StartBubble runs n nodes inside a testing/synctest bubble, over a network in memory, with disks in memory that outlive their nodes.
// Node i is the host Name(i). Clients dial by Net.Host(anything else).Dial.
func StartBubble(t testing.TB, n int, with ...func(i int, c *lockd.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Net: memnet.New()}
	for i := range n {
		nd := &node{}
		name := fmt.Sprintf("n%d", i+1)
		host := c.Net.Host(name)
		nd.config = lockd.Config{
			Name: name, Memory: true, Disk: &lockd.MemoryDisk{},
			Listen:       func(_ context.Context, address string) (net.Listener, error) { return host.Listen(address) },
			Dial:         host.Dial,
			ListenClient: name + ":7400", ListenRaft: name + ":7401", ListenHTTP: lockd.Off,
			TokenFloor: 1 << 30, // a bubble's clock stands in 2000, which nobody believes
		}
		c.nodes = append(c.nodes, nd)
	}
	c.start(with)
	return c
}

func (c *Cluster) start(with []func(i int, c *lockd.Config)) {
	c.t.Helper()
	var members []lockd.Member
	for _, n := range c.nodes {
		members = append(members, lockd.Member{Name: n.config.Name, Raft: n.config.ListenRaft})
	}
	for i, n := range c.nodes {
		if len(c.nodes) > 1 {
			n.config.InitialCluster = members
		}
		for _, f := range with {
			f(i, &n.config)
		}
	}
	c.t.Cleanup(c.close)
	for i := range c.nodes {
		c.Run(i)
	}
	c.WaitReady()
}

// reserve listens on a free port, so that nobody else takes it before the node starts.
func (n *node) reserve(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	n.listeners[address] = l
	return address
}

// listen is the node's Config.Listen: at its first start the port is there already.
func (n *node) listen(ctx context.Context, address string) (net.Listener, error) {
	n.mu.Lock()
	l := n.listeners[address]
	delete(n.listeners, address)
	n.mu.Unlock()
	if l != nil {
		return l, nil
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// Run starts node i, which is down. WaitReady tells when it serves.
func (c *Cluster) Run(i int) {
	c.t.Helper()
	n := c.nodes[i]
	n.ready, n.stopped = make(chan lockd.Addresses, 1), make(chan error, 1)
	config := n.config
	config.Ready = func(a lockd.Addresses) { n.ready <- a }
	server, err := lockd.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(c.t.Context()))
	n.server, n.stop = server, stop
	go func() { n.stopped <- server.Run(ctx) }()
}

// WaitReady returns when all nodes that run serve.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for _, n := range c.nodes {
		if n.server == nil {
			continue
		}
		select {
		case a := <-n.ready:
			n.ready <- a
		case err := <-n.stopped:
			n.stopped <- err
			c.t.Fatalf("node %s has stopped: %v", n.config.Name, err)
		case <-limit.C:
			c.t.Fatalf("node %s does not serve after %v", n.config.Name, patience)
		}
	}
}

// Stop ends node i gracefully.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	n := c.nodes[i]
	n.stop()
	if err := c.ended(n); err != nil {
		c.t.Errorf("node %s: %v", n.config.Name, err)
	}
}

// Crash ends node i as a crash of its process would.
func (c *Cluster) Crash(i int) {
	c.t.Helper()
	n := c.nodes[i]
	_ = n.server.Close() // what it would say on the way does not matter
	n.stop()
	_ = c.ended(n)
}

func (c *Cluster) ended(n *node) error {
	c.t.Helper()
	n.server = nil
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case err := <-n.stopped:
		return err
	case <-limit.C:
		return errors.New("does not stop")
	}
}

// Name returns the name of node i.
func (c *Cluster) Name(i int) string { return c.nodes[i].config.Name }

// Running reports whether node i runs.
func (c *Cluster) Running(i int) bool { return c.nodes[i].server != nil }

// Addresses returns where node i listens, whether it runs or not.
func (c *Cluster) Addresses(i int) lockd.Addresses {
	n := c.nodes[i].config
	return lockd.Addresses{Client: n.ListenClient, Raft: n.ListenRaft, HTTP: n.ListenHTTP}
}

// Endpoints returns the client addresses of all nodes.
func (c *Cluster) Endpoints() []string {
	var list []string
	for i := range c.nodes {
		list = append(list, c.Addresses(i).Client)
	}
	return list
}

// Server returns node i, nil if it is down.
func (c *Cluster) Server(i int) *lockd.Server { return c.nodes[i].server }

func (c *Cluster) close() {
	for i, n := range c.nodes {
		if n.server != nil {
			c.Stop(i)
		}
		for _, l := range n.listeners {
			_ = l.Close()
		}
	}
}

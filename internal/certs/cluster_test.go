package certs_test

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/certs"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
)

// secured is a cluster whose nodes have certificates, as `lockd serve` sets it up.
type secured struct {
	t      *testing.T
	dir    string
	ca     string // the file of all nodes
	stores []*certs.Store
}

func (s *secured) configure(c *lockd.Config, by *authority) {
	t := s.t
	t.Helper()
	cert, key := by.issue(s.dir, c.Name, nil, certs.NodeName(lockd.DefaultClusterName))
	nodes := open(t, certs.Options{Cert: cert, Key: key, CA: s.ca, Node: certs.NodeName(lockd.DefaultClusterName)})
	clients := open(t, certs.Options{Cert: cert, Key: key})
	s.stores = append(s.stores, nodes, clients)
	c.Memory, c.DataDir, c.Disk = true, "", new(lockd.MemoryDisk)
	c.ClientTLS, c.RaftTLS, c.PeerTLS = must(clients.Server(nodes))(t), must(nodes.Peer())(t), must(nodes.Peer())(t)
	c.CheckNode = nodes.CheckNode
}

func (s *secured) reload() {
	s.t.Helper()
	for _, store := range s.stores {
		if err := store.Reload(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// connect returns a client that trusts these authorities.
func (s *secured) connect(endpoints []string, name string, trusts ...[]byte) *client.Client {
	t := s.t
	t.Helper()
	store := open(t, certs.Options{CA: write(t, filepath.Join(s.dir, name+"-trusts.pem"), trusts...)})
	c, err := client.New(client.Config{Endpoints: endpoints, Identity: name, Dial: store.Dialer(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	return c
}

// TestAClusterChangesItsAuthority while a lock is held, one node restarts after each step, and every connection between nodes and from
// clients is TLS.
func TestAClusterChangesItsAuthority(t *testing.T) {
	s := &secured{t: t, dir: t.TempDir()}
	old, young := newAuthority(t, "ca1"), newAuthority(t, "ca2")
	s.ca = write(t, filepath.Join(s.dir, "ca.pem"), old.pem())
	names := make([]string, 3)
	cluster := testcluster.Start(t, len(names), func(i int, c *lockd.Config) {
		names[i] = c.Name
		s.configure(c, old)
	})
	restart := func(i int) {
		t.Helper()
		cluster.Stop(i)
		cluster.Run(i)
		cluster.WaitReady()
	}
	first := s.connect(cluster.Endpoints(), "first", old.pem(), young.pem())
	held, err := first.Lock(t.Context(), "jobs/nightly")
	if err != nil {
		t.Fatal(err)
	}

	write(t, s.ca, old.pem(), young.pem())
	s.reload()
	restart(0)
	for _, name := range names {
		young.issue(s.dir, name, nil, certs.NodeName(lockd.DefaultClusterName))
	}
	s.reload()
	restart(1)
	write(t, s.ca, young.pem())
	s.reload()
	restart(2)
	restart(0) // now it finds nobody who knows the old authority

	second := s.connect(cluster.Endpoints(), "second", young.pem())
	check, err := second.CheckToken(t.Context(), "jobs/nightly", held.Token())
	if err != nil || check.Validity != client.TokenValid {
		t.Fatalf("the token is %+v, %v; it was held all the time", check, err)
	}
	if err := held.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := second.TryLock(t.Context(), "jobs/nightly"); err != nil {
		t.Fatal(err)
	}
}

// TestAClientIsNoNode though it has a certificate of the nodes' authority and says so.
func TestAClientIsNoNode(t *testing.T) {
	s := &secured{t: t, dir: t.TempDir()}
	ca := newAuthority(t, "ca")
	s.ca = write(t, filepath.Join(s.dir, "ca.pem"), ca.pem())
	cluster := testcluster.Start(t, 1, func(_ int, c *lockd.Config) { s.configure(c, ca) })
	address := cluster.Endpoints()[0]
	cert, key := ca.issue(s.dir, "client", nil, "client.example")
	store := open(t, certs.Options{Cert: cert, Key: key, CA: s.ca})

	greeting := &wire.Hello{Magic: wire.Magic, VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Agent: "test"}
	knock := func(dial dial, role wire.Role) wire.Message {
		t.Helper()
		conn, err := dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		greeting.Role = role
		frame, err := wire.Append(nil, greeting)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		m, err := wire.NewReader(conn, wire.FrameMax).Read()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	welcome, ok := knock(store.Dialer(nil), wire.RoleClient).(*wire.Welcome)
	if !ok {
		t.Fatal("a client is not welcome")
	}
	greeting.Cluster, greeting.Node = welcome.Cluster, 7
	if m, ok := knock(store.Dialer(nil), wire.RoleNode).(*wire.Goodbye); !ok || m.Code != wire.Forbidden || !strings.Contains(m.Text, `the certificate of "client" is no node's`) {
		t.Errorf("a client that says it is a node is answered %+v", m)
	}
	nodeDial := dialWith(must(s.stores[0].Peer())(t))
	if m, ok := knock(nodeDial, wire.RoleNode).(*wire.Welcome); !ok {
		t.Errorf("a node is answered %+v", m)
	}

	plain, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	if err := tls.Client(plain, &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"}).HandshakeContext(t.Context()); err == nil {
		t.Error("a client that trusts the system's authorities accepts the node")
	}
}

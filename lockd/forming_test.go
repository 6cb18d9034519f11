package lockd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/lockd"
)

// wild is some nodes without a list, on hosts of their own in a bubble.
type wild struct {
	t     *testing.T
	net   *memnet.Network
	nodes []*wildNode
}

type wildNode struct {
	config lockd.Config
	server *lockd.Server
	stop   context.CancelFunc
	ended  chan error
	failed error // of a run that did not end as it was told to
}

// wildHost is an address, as gossip goes to addresses only.
func wildHost(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

func inWild(t *testing.T, f func(t *testing.T, w *wild)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &wild{t: t, net: memnet.New()}
		defer time.Sleep(time.Minute) // memberlist's last probes
		defer w.close()
		f(t, w)
	})
}

// add makes node i, which knows those before it.
func (w *wild) add(with ...func(c *lockd.Config)) *wildNode {
	i := len(w.nodes)
	host := w.net.Host(wildHost(i))
	c := lockd.Config{
		Name: fmt.Sprintf("n%d", i+1), Memory: true, Disk: &lockd.MemoryDisk{}, TokenFloor: 1 << 30,
		Listen:       func(_ context.Context, address string) (net.Listener, error) { return host.Listen(address) },
		ListenPacket: func(_ context.Context, address string) (net.PacketConn, error) { return host.ListenPacket(address) },
		Dial:         host.Dial,
		ListenClient: wildHost(i) + ":7400", ListenRaft: wildHost(i) + ":7401", ListenGossip: wildHost(i) + ":7402", ListenHTTP: lockd.Off,
	}
	for j := range max(i, 1) {
		c.Join = append(c.Join, wildHost(j))
	}
	if os.Getenv("LOCKD_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("me", c.Name)
	}
	for _, f := range with {
		f(&c)
	}
	n := &wildNode{config: c}
	w.nodes = append(w.nodes, n)
	return n
}

func (w *wild) run(n *wildNode) {
	w.t.Helper()
	var err error
	if n.server, err = lockd.New(n.config); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.t.Context())
	n.stop, n.ended = stop, make(chan error, 1)
	go func() { n.ended <- n.server.Run(ctx) }()
}

func (n *wildNode) crash() {
	if n.stop == nil {
		return
	}
	_ = n.server.Close()
	if err := <-n.ended; err != nil && !errors.Is(err, lockd.ErrClosed) {
		n.failed = err
	}
	n.stop()
	n.stop = nil
}

func (w *wild) close() {
	var closing sync.WaitGroup
	for _, n := range w.nodes {
		closing.Go(n.crash)
	}
	closing.Wait()
	for _, n := range w.nodes {
		if n.failed != nil {
			w.t.Errorf("%s: %v", n.config.Name, n.failed)
		}
	}
}

func (w *wild) status(n *wildNode) lockd.NodeStatus {
	w.t.Helper()
	s, err := n.server.Status(w.t.Context())
	if err != nil {
		w.t.Fatalf("%s: %v", n.config.Name, err)
	}
	return s
}

// shape returns who is in the cluster of a node, as in "n1 n2 n3 (n4)": learners in brackets.
func (w *wild) shape(n *wildNode) string {
	var list []string
	for _, s := range w.status(n).Nodes {
		if name := s.Name; s.Voter {
			list = append(list, name)
		} else {
			list = append(list, "("+name+")")
		}
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(strings.Trim(a, "()"), strings.Trim(b, "()")) })
	return strings.Join(list, " ")
}

// await lets time pass until all nodes are of one cluster of a shape, with a leader.
func (w *wild) await(shape string, nodes ...*wildNode) {
	w.t.Helper()
	var last string
	for range 600 {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		last = ""
		cluster := ""
		for _, n := range nodes {
			s := w.status(n)
			if got := w.shape(n); got != shape || s.Leader == "" || cluster != "" && s.Cluster != cluster {
				last += fmt.Sprintf("%s: %s of %q led by %q, in %s\n", n.config.Name, s.Role, got, s.Leader, s.Cluster)
			}
			cluster = s.Cluster
		}
		if last == "" {
			return
		}
	}
	w.t.Fatalf("after a minute, want %s:\n%s", shape, last)
}

// clusters returns the clusters that nodes belong to.
func (w *wild) clusters() (list []string) {
	for _, n := range w.nodes {
		if c := w.status(n).Cluster; c != "" && !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
}

func expecting(n int) func(*lockd.Config) {
	return func(c *lockd.Config) { c.BootstrapExpect = n }
}

func TestFiveNodesExpectEachOther(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		for range 5 {
			w.run(w.add(expecting(5)))
		}
		w.await("n1 n2 n3 n4 n5", w.nodes...)
		if c := w.clusters(); len(c) != 1 {
			t.Errorf("clusters: %v", c)
		}
		w.nodes[2].crash()
		w.run(w.nodes[2])
		w.await("n1 n2 n3 n4 n5", w.nodes...)
	})
}

func TestInitFoundsAndOthersJoin(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		for range 5 {
			w.run(w.add())
		}
		time.Sleep(5 * time.Second)
		if c := w.clusters(); len(c) != 0 {
			t.Fatalf("before anybody founds one there is %v", c)
		}
		if err := w.nodes[1].server.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.await("n1 n2 n3 n4 n5", w.nodes...)
		for _, n := range w.nodes {
			if err := n.server.Init(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to a cluster already") {
				t.Errorf("a second cluster on %s: %v", n.config.Name, err)
			}
		}
		late := w.add(func(c *lockd.Config) { c.NonVoter = true })
		w.run(late)
		w.await("n1 n2 n3 n4 n5 (n6)", w.nodes...)
		time.Sleep(time.Minute)
		w.await("n1 n2 n3 n4 n5 (n6)", w.nodes...)
	})
}

// However the starts race, there is one cluster, and never a second one.
func TestRacingStartsFormOneCluster(t *testing.T) {
	races := 20
	if testing.Short() {
		races = 4
	}
	for race := range races {
		t.Run(fmt.Sprint(race), func(t *testing.T) {
			inWild(t, func(t *testing.T, w *wild) {
				const size = 3
				n := size + race%3 // more than are expected: the others join
				for range n {
					w.add(expecting(size), func(c *lockd.Config) { c.Join = []string{wildHost(0), wildHost(1), wildHost(n - 1)} })
				}
				for i, node := range w.nodes {
					w.run(node)
					switch race % 4 {
					case 1:
						time.Sleep(time.Duration(race*137%1500) * time.Millisecond)
					case 2:
						if i == size-1 {
							time.Sleep(time.Second)
						}
					case 3:
						if i == 1 { // crash somebody in the middle
							time.Sleep(time.Duration(race*211%2500) * time.Millisecond)
							w.nodes[0].crash()
							w.run(w.nodes[0])
						}
					}
				}
				if n == size {
					w.await("n1 n2 n3", w.nodes...)
				}
				for range 20 {
					time.Sleep(time.Second)
					if c := w.clusters(); len(c) > 1 {
						t.Fatalf("clusters: %v", c)
					}
				}
			})
		})
	}
}

func TestOrders(t *testing.T) {
	inWild(t, func(t *testing.T, w *wild) {
		for range 3 {
			w.run(w.add(expecting(3)))
		}
		w.await("n1 n2 n3", w.nodes...)
		order := func(i int, kind lockd.OrderKind, node string) error {
			done, err := w.nodes[i].server.Order(t.Context(), lockd.Order{Kind: kind, Node: node})
			if err == nil && done == "" {
				t.Errorf("%s %s says nothing", kind, node)
			}
			return err
		}
		for i := range 3 { // from a follower too
			if err := order(i, lockd.OrderTransfer, fmt.Sprintf("n%d", (i+1)%3+1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := order(0, lockd.OrderRemove, "n9"); !errors.Is(err, lockd.ErrNode) && !strings.Contains(fmt.Sprint(err), "none of n1, n2, n3") {
			t.Errorf("a node that is not there: %v", err)
		}
		w.run(w.add())
		w.await("n1 n2 n3 n4", w.nodes...)
		if err := order(0, lockd.OrderDemote, "n2"); err != nil {
			t.Fatal(err)
		}
		if err := order(1, lockd.OrderPromote, "n2"); err != nil {
			t.Fatal(err)
		}
		if err := order(3, lockd.OrderRemove, "n1"); err != nil {
			t.Fatal(err)
		}
		w.await("n2 n3 n4", w.nodes[1:]...)
		time.Sleep(time.Minute) // who was removed is not let in again
		w.await("n2 n3 n4", w.nodes[1:]...)
		w.nodes[0].crash()
		w.nodes[1].crash()
		time.Sleep(5 * time.Second)
		if err := order(2, lockd.OrderRemove, "n3"); err == nil || !strings.Contains(err.Error(), "2 of 3 voters are healthy and 2 are needed") {
			t.Errorf("a change that loses the quorum: %v", err)
		}
		if err := order(2, lockd.OrderRemove, "n2"); err != nil {
			t.Error(err)
		}
		w.await("n3 n4", w.nodes[2:]...)
	})
}

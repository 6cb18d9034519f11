package lockd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
	"github.com/lockd/lockd/session"
)

// bare is a node without its service: a home, its state, and raft.
type bare struct {
	config  Config
	home    home
	store   checkpoint.Store
	state   *replica.Replica
	founded *founded
	raft    *raft.Node
	stop    context.CancelFunc
	ran     chan error
}

// open opens the home.
func (b *bare) open(c Config, h home) (err error) {
	b.config, b.home = c.filled(), h
	id, err := identify(h, &b.config)
	if err != nil {
		return err
	}
	if b.store, err = h.openStore(id, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	b.state, err = replica.Open(replica.Options{Store: b.store, FlushEvery: 10 * time.Millisecond})
	b.founded = &founded{id: id}
	return err
}

// start brings the node into its cluster.
func (b *bare) start(ctx context.Context) (err error) {
	id := b.founded.id
	f := &founding{
		config: &b.config, home: b.home, id: &id, vow: newVow(b.home, &id, nil), waits: &reason{}, state: b.state, client: b.config.Name + ":7400",
		log: b.config.Logger, transport: tcp.Options{Dial: b.config.Dial},
	}
	if b.founded, err = f.run(ctx); err != nil {
		return err
	}
	b.raft, err = raft.Start(raft.NodeOptions{
		Core:    raft.Options{ID: b.founded.id.peer(), Seed: b.founded.id.Incarnation},
		Storage: b.founded.log, Transport: b.founded.transport, Machine: b.state,
	})
	if err != nil {
		return errors.Join(err, b.founded.close())
	}
	var running context.Context
	running, b.stop = context.WithCancel(context.Background())
	b.ran = make(chan error, 1)
	go func() { b.ran <- b.state.Run(running) }()
	return nil
}

func (b *bare) close(t testing.TB) {
	t.Helper()
	if b.raft != nil {
		if err := b.raft.Close(); err != nil {
			t.Errorf("close %s: %v", b.config.Name, err)
		}
		b.stop()
		if err := <-b.ran; err != nil {
			t.Errorf("state of %s: %v", b.config.Name, err)
		}
	}
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			t.Errorf("close the store of %s: %v", b.config.Name, err)
		}
	}
	if err := b.home.close(); err != nil {
		t.Errorf("leave the home of %s: %v", b.config.Name, err)
	}
}

// do proposes a command where there is a leader, until it is answered. The commands of the tests may be repeated.
func do(t testing.TB, nodes []*bare, cmd locktable.Command) locktable.Reply {
	t.Helper()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		for _, n := range nodes {
			if n.raft == nil {
				continue
			}
			result, err := n.raft.Propose(t.Context(), raft.Proposal{Data: locktable.Encode(cmd)})
			if outcome, ok := result.Value.(*replica.Outcome); err == nil && ok {
				return outcome.Reply
			}
		}
		select {
		case <-pause.C:
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
}

// trio is three nodes in a bubble, with disks that outlive them.
type trio struct {
	net   *memnet.Network
	homes [3]*memoryHome
	list  []Member
}

func newTrio() *trio {
	c := &trio{net: memnet.New()}
	for i := range c.homes {
		c.homes[i] = &memoryHome{}
		name := fmt.Sprintf("n%d", i+1)
		c.list = append(c.list, Member{Name: name, Raft: name + ":7401"})
	}
	return c
}

func (c *trio) config(i int) Config {
	host := c.net.Host(c.list[i].Name)
	return Config{
		Name: c.list[i].Name, Memory: true, InitialCluster: c.list, ListenRaft: c.list[i].Raft, Dial: host.Dial, TokenFloor: 1 << 30,
		Listen: func(_ context.Context, address string) (net.Listener, error) { return host.Listen(address) },
	}
}

// node starts a node and returns at once; what becomes of it comes later.
func (c *trio) node(ctx context.Context, t *testing.T, i int, change ...func(*Config)) (*bare, <-chan error) {
	t.Helper()
	config := c.config(i)
	for _, f := range change {
		f(&config)
	}
	h, err := c.homes[i].open()
	if err != nil {
		t.Fatal(err)
	}
	b := &bare{}
	if err := b.open(config, h); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.start(ctx) }()
	return b, done
}

func mustStart(t *testing.T, done ...<-chan error) {
	t.Helper()
	for _, d := range done {
		if err := <-d; err != nil {
			t.Fatal(err)
		}
	}
}

func closeAll(t *testing.T, nodes ...*bare) {
	t.Helper()
	for _, n := range nodes {
		n.close(t)
	}
}

// Nodes of a new cluster come in any order; the last one completes it. All have the incarnation from the first entry on, and a
// crash of all of them changes nothing.
func TestFoundingInAnyOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}} {
		synctest.Test(t, func(t *testing.T) {
			c := newTrio()
			nodes := make([]*bare, 3)
			started := make([]<-chan error, 3)
			for n, i := range order {
				nodes[i], started[i] = c.node(t.Context(), t, i)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				for j := range started {
					if n < 2 && started[j] != nil && len(started[j]) > 0 {
						t.Fatalf("node %d has started with %d of 3: %v", j, n+1, <-started[j])
					}
				}
			}
			mustStart(t, started...)
			if reply := do(t, nodes, &locktable.Open{ID: session.ID{1}, TTL: time.Minute}); reply.Code != locktable.OK {
				t.Fatalf("open: %+v", reply)
			}
			time.Sleep(time.Second)
			var first [16]byte
			for i, n := range nodes {
				n.state.View(func(table *locktable.Table) {
					incarnation, _ := table.Incarnation()
					if i == 0 {
						first = incarnation
					}
					if _, living, _ := table.Len(); incarnation != first || first == ([16]byte{}) || living != 1 || table.Counter() != 1<<30 {
						t.Errorf("node %d: incarnation %x, %d sessions, token %d", i, incarnation, living, table.Counter())
					}
				})
				if n.founded.id.cluster() != nodes[0].founded.id.cluster() || len(n.founded.detail.voters) != 3 && i == 0 {
					t.Errorf("node %d is of the cluster %x with %v", i, n.founded.id.cluster(), n.founded.detail.voters)
				}
			}
			closeAll(t, nodes...)
			for i := range nodes {
				nodes[i], started[i] = c.node(t.Context(), t, i)
			}
			mustStart(t, started...)
			again := do(t, nodes, &locktable.Open{ID: session.ID{1}, TTL: time.Minute})
			if again.Code != locktable.OK || again.Index > 10 {
				t.Errorf("the session that was opened before all nodes crashed: %+v", again)
			}
			closeAll(t, nodes...)
		})
	}
}

// TestFoundingWaitsForWhoHasOnlyBegun asks a node that listens already and has not said yet what it has: that is no cluster.
func TestFoundingWaitsForWhoHasOnlyBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio()
		nodes := make([]*bare, 3)
		started := make([]<-chan error, 3)
		config := c.config(1)
		config = config.filled()
		h, err := c.homes[1].open()
		if err != nil {
			t.Fatal(err)
		}
		id, err := identify(h, &config)
		if err != nil {
			t.Fatal(err)
		}
		l, err := config.Listen(t.Context(), config.ListenRaft)
		if err != nil {
			t.Fatal(err)
		}
		silent, err := tcp.New(tcp.Options{Cluster: id.cluster(), Self: id.peer(), Listener: l, Dial: config.Dial, Advertise: config.ListenRaft})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 2} {
			nodes[i], started[i] = c.node(t.Context(), t, i)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(started[0]) > 0 {
			t.Fatalf("the first node: %v", <-started[0])
		}
		if err := errors.Join(silent.Close(), h.close()); err != nil {
			t.Fatal(err)
		}
		nodes[1], started[1] = c.node(t.Context(), t, 1)
		mustStart(t, started...)
		closeAll(t, nodes...)
	})
}

// found starts a whole cluster.
func (c *trio) found(t *testing.T) []*bare {
	t.Helper()
	nodes := make([]*bare, 3)
	started := make([]<-chan error, 3)
	for i := range nodes {
		nodes[i], started[i] = c.node(t.Context(), t, i)
	}
	mustStart(t, started...)
	return nodes
}

// TestA10WipedNodesDoNotFound wipes listed nodes. Neither the one that founds, nor others, nor a majority, may begin again beside
// what is left of the cluster.
func TestA10WipedNodesDoNotFound(t *testing.T) {
	t.Run("TheFirst", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTrio()
			nodes := c.found(t)
			nodes[0].close(t)
			c.homes[0] = &memoryHome{}
			n, started := c.node(t.Context(), t, 0)
			if err := <-started; !errors.Is(err, ErrWiped) || !strings.Contains(err.Error(), "cannot found it again") {
				t.Errorf("the wiped first node: %v", err)
			}
			closeAll(t, n, nodes[1], nodes[2])
		})
	})
	t.Run("Another", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTrio()
			nodes := c.found(t)
			nodes[1].close(t)
			c.homes[1] = &memoryHome{}
			n, started := c.node(t.Context(), t, 1)
			if err := <-started; !errors.Is(err, ErrWiped) {
				t.Errorf("the wiped node: %v", err)
			}
			if reply := do(t, []*bare{nodes[0], nodes[2]}, &locktable.Open{ID: session.ID{1}, TTL: time.Minute}); reply.Code != locktable.OK {
				t.Errorf("the others: %+v", reply)
			}
			closeAll(t, n, nodes[0], nodes[2])
		})
	})
	t.Run("AMajorityCutOffFromTheThird", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newTrio()
			nodes := c.found(t)
			nodes[0].close(t)
			nodes[1].close(t)
			c.homes[0], c.homes[1] = &memoryHome{}, &memoryHome{}
			for _, name := range []string{"n1", "n2"} {
				c.net.Cut(name, "n3")
			}
			ctx, cancel := context.WithCancel(t.Context())
			first, started1 := c.node(ctx, t, 0)
			second, started2 := c.node(ctx, t, 1)
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if len(started1)+len(started2) > 0 {
				t.Error("two wiped nodes have founded the cluster again without the third")
			}
			cancel()
			for _, started := range []<-chan error{started1, started2} {
				if err := <-started; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "n") {
					t.Errorf("stopped: %v", err)
				}
			}
			closeAll(t, first, second, nodes[2])
		})
	})
}

// A founding that ends at any step is begun again, and comes to its end.
func TestFoundingBeginsAgainAfterACrash(t *testing.T) {
	for at := 1; at <= 5; at++ {
		synctest.Test(t, func(t *testing.T) {
			c := newTrio()
			nodes := make([]*bare, 3)
			started := make([]<-chan error, 3)
			saves := &failingHome{fails: at}
			config := c.config(0)
			h, err := c.homes[0].open()
			if err != nil {
				t.Fatal(err)
			}
			saves.home = h
			nodes[0] = &bare{}
			first := nodes[0].open(config, saves)
			for i := 1; i < 3; i++ {
				nodes[i], started[i] = c.node(t.Context(), t, i)
			}
			if first == nil {
				first = nodes[0].start(t.Context())
			}
			if first == nil {
				mustStart(t, started[1:]...)
				closeAll(t, nodes...)
				return
			}
			if !errors.Is(first, errBrokenHome) {
				t.Fatalf("step %d: %v", at, first)
			}
			nodes[0].close(t)
			nodes[0], started[0] = c.node(t.Context(), t, 0)
			mustStart(t, started...)
			if reply := do(t, nodes, &locktable.Open{ID: session.ID{1}, TTL: time.Minute}); reply.Code != locktable.OK {
				t.Errorf("step %d: %+v", at, reply)
			}
			closeAll(t, nodes...)
		})
	}
}

var errBrokenHome = errors.New("the process has ended here")

// failingHome fails at the nth thing that makes something durable.
type failingHome struct {
	home
	fails int
}

func (h *failingHome) step() error {
	if h.fails--; h.fails == 0 {
		return errBrokenHome
	}
	return nil
}

func (h *failingHome) save(id identity) error {
	if err := h.step(); err != nil {
		return err
	}
	if err := h.home.save(id); err != nil {
		return err
	}
	return h.step()
}

func (h *failingHome) openLog(id identity) (raft.Storage, error) {
	if err := h.step(); err != nil {
		return nil, err
	}
	return h.home.openLog(id)
}

// A node with another list, another name of the cluster, or the directory of another node is told what is wrong.
func TestFoundingRefusesOtherConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio()
		ctx, cancel := context.WithCancel(t.Context())
		first, started1 := c.node(ctx, t, 0)
		other := func(config *Config) { config.InitialCluster = c.list[:2] }
		second, started2 := c.node(ctx, t, 1, other)
		if err := <-started2; err == nil || !strings.Contains(err.Error(), "another initial cluster") {
			t.Errorf("with another list: %v", err)
		}
		third, started3 := c.node(ctx, t, 2, func(config *Config) { config.ClusterName = "other" })
		if err := <-started3; err == nil || !strings.Contains(err.Error(), "check the names and addresses") {
			t.Errorf("with another name of the cluster: %v", err)
		}
		cancel()
		if err := <-started1; !errors.Is(err, context.Canceled) {
			t.Errorf("the first node: %v", err)
		}
		closeAll(t, first, second, third)
		for name, change := range map[string]func(*Config){
			"another name":    func(config *Config) { config.Name = "n2" },
			"another cluster": func(config *Config) { config.ClusterName = "x" },
			"another list":    func(config *Config) { config.InitialCluster = nil },
		} {
			config := c.config(0)
			change(&config)
			config = config.filled()
			if _, err := identify(c.homes[0], &config); !errors.Is(err, ErrOtherNode) {
				t.Errorf("a directory used with %s: %v", name, err)
			}
		}
	})
}

// A clock that cannot be right founds nothing without a token floor.
func TestS12WrongClockFoundsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in the year 2000
		c := newTrio()
		n, started := c.node(t.Context(), t, 0, func(config *Config) { config.InitialCluster, config.TokenFloor = nil, 0 })
		if err := <-started; !errors.Is(err, locktable.ErrWallClock) || !strings.Contains(err.Error(), "token floor") {
			t.Errorf("founded in the year 2000: %v", err)
		}
		n.close(t)
	})
}

// The directory comes to know all nodes, also those that start late or move, and tells of it.
func TestDirectoryFindsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio()
		nodes := c.found(t)
		told := make(chan struct{}, 100)
		d := newDirectory(nodes[0].founded.transport, wire.Node{ID: uint64(nodes[0].founded.id.ID), Name: "n1", Address: "n1:7400", Voter: true}, func() { told <- struct{}{} })
		nodes[2].close(t)
		d.setConfig(raft.Config{Voters: nodes[0].founded.voters})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := d.run(ctx); err != nil {
				t.Error(err)
			}
		})
		<-told
		names := func() (list []string) {
			for _, n := range d.nodes() {
				list = append(list, fmt.Sprintf("%s %s %v", n.Name, n.Address, n.Voter))
			}
			return list
		}
		if diff := cmp.Diff([]string{"n1 n1:7400 true", "n2 n2:7400 true"}, names()); diff != "" {
			t.Errorf("nodes (-want +got):\n%s", diff)
		}
		var started <-chan error
		nodes[2], started = c.node(t.Context(), t, 2)
		mustStart(t, started)
		<-told
		if n, ok := d.lookup(nodes[2].founded.id.ID); !ok || n.Address != "n3:7400" || len(d.nodes()) != 3 {
			t.Errorf("the late node is %+v of %v", n, names())
		}
		d.setConfig(raft.Config{Voters: nodes[0].founded.voters[:2]})
		if len(d.nodes()) != 2 {
			t.Errorf("a node that was removed is still there: %v", names())
		}
		cancel()
		running.Wait()
		closeAll(t, nodes...)
	})
}

func TestDetailIsWhatWasEncoded(t *testing.T) {
	full := nodeDetail{
		name: strings.Repeat("n", nameMax), client: strings.Repeat("a", detailAddressMax), nonce: nonce{1, 2, 3}, low: true,
		voters: make([]raft.PeerID, raft.MaxVoters),
	}
	for i := range full.voters {
		full.voters[i] = raft.PeerID{Node: raft.NodeID(1<<63 + uint64(i)), Incarnation: ^uint64(i)}
	}
	for _, d := range []nodeDetail{{}, {name: "n1", client: "h:1"}, full} {
		b := d.encode()
		got, err := decodeDetail(b)
		if diff := cmp.Diff(d, got, cmp.AllowUnexported(nodeDetail{})); diff != "" || err != nil || len(b) > tcp.MaxDetailBytes {
			t.Errorf("%d bytes, %v (-want +got):\n%s", len(b), err, diff)
		}
		for n := range b {
			if _, err := decodeDetail(b[:n]); !errors.Is(err, errBadDetail) {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
		if _, err := decodeDetail(append(b, 0)); !errors.Is(err, errBadDetail) {
			t.Errorf("a byte too many: %v", err)
		}
	}
}

// TestDataDirHasOneOwner covers what a directory may be found as.
func TestDataDirHasOneOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made with %v, %v", info.Mode(), err)
	}
	if _, err := openDataDir(dir); !errors.Is(err, ErrDataDirInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second daemon: %v", err)
	}
	config := (&Config{DataDir: dir}).filled()
	id, err := identify(d, &config)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if d, err = openDataDir(dir); err != nil {
		t.Fatal(err)
	}
	again, err := identify(d, &config)
	if diff := cmp.Diff(id, again); diff != "" || err != nil {
		t.Errorf("at the next start %v (-before +after):\n%s", err, diff)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(foreign); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("somebody else's directory: %v", err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if d, err = openDataDir(open); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a directory that all could read is %v now, %v", info.Mode(), err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
}

// An identity that cannot be read, or is of another version, stops the node and leaves the file.
func TestIdentityIsCheckedWhole(t *testing.T) {
	good := newIdentity(&Config{Name: "n1", ClusterName: "lockd", InitialCluster: []Member{{"n1", "h:1"}, {"n2", "h:2"}}})
	dir := t.TempDir()
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := d.save(good); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, identityName))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, bad := range map[string]string{
		"cut":            text[:len(text)/2],
		"empty":          "",
		"unknown field":  strings.Replace(text, `"name"`, `"surname"`, 1),
		"no format":      "{}\n",
		"another name":   strings.Replace(text, `"name": "n1"`, `"name": "n3"`, 1),
		"a short nonce":  strings.Replace(text, `"nonce": "00`, `"nonce": "`, 1),
		"an endless one": strings.Repeat("x", identityBytes+1),
	} {
		if err := os.WriteFile(filepath.Join(dir, identityName), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := d.load(); err == nil {
			t.Errorf("%s: read as %+v", name, id)
		}
	}
	newer := strings.Replace(text, `"format": 1`, `"format": 2`, 1)
	if err := os.WriteFile(filepath.Join(dir, identityName), []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	config := (&Config{Name: "n1", DataDir: dir}).filled()
	if _, err := identify(d, &config); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("a newer format: %v", err)
	}
}

package raft_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/memnet"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

// ledger is a state machine that remembers every command it has applied.
type ledger struct {
	gate func() // called before each batch, if set

	mu       sync.Mutex // guards the fields below
	commands []string
	mark     raft.Mark // of commands
	durable  raft.Mark // told as Mark
	keep     bool      // durable follows mark
}

func (l *ledger) Apply(b raft.Batch) {
	if l.gate != nil {
		l.gate()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range b.Entries {
		if e.Kind() == raft.KindCommand {
			l.commands = append(l.commands, string(e.Data()))
			b.Results[i] = len(l.commands)
		}
	}
	l.mark = raft.Mark{Position: b.Entries[len(b.Entries)-1].Position(), Config: b.Config}
	if l.keep {
		l.durable = l.mark
	}
}

func (l *ledger) Mark() raft.Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

func (l *ledger) applied() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.commands)
}

type ledgerSnapshot struct {
	io.Reader
	mark raft.Mark
}

func (s ledgerSnapshot) Mark() raft.Mark { return s.mark }
func (ledgerSnapshot) Close() error      { return nil }

func (l *ledger) Snapshot() (raft.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	for _, c := range l.commands {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(c))), c...)
	}
	return ledgerSnapshot{bytes.NewReader(b), l.mark}, nil
}

func (l *ledger) Restore(mark raft.Mark, r io.Reader) (raft.Installation, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var commands []string
	for len(b) > 0 {
		n := binary.BigEndian.Uint32(b)
		commands, b = append(commands, string(b[4:4+n])), b[4+n:]
	}
	mark.Installed = true
	return ledgerInstallation{l, commands, mark}, nil
}

type ledgerInstallation struct {
	l        *ledger
	commands []string
	mark     raft.Mark
}

func (i ledgerInstallation) Commit() error {
	i.l.mu.Lock()
	defer i.l.mu.Unlock()
	i.l.commands, i.l.mark, i.l.durable = i.commands, i.mark, i.mark
	return nil
}

func (ledgerInstallation) Discard() {}

// member is one node of a test's cluster with what outlives its runs.
type member struct {
	id      raft.PeerID
	disk    *rafttest.Disk
	machine *ledger
	node    *raft.Node
	storage func(raft.Storage) raft.Storage // wraps the log, if set
	network func(raft.Transport) raft.Transport
	core    raft.Options
	engine  raft.EngineOptions
	events  raft.Events
}

// cluster is a set of real nodes in a bubble: real logs over simulated disks, a network in memory.
type cluster struct {
	t       *testing.T
	net     *memnet.Network
	members []*member
}

// newCluster makes voters; start runs them.
func newCluster(t *testing.T, voters int) *cluster {
	t.Helper()
	c := &cluster{t: t, net: memnet.New(1)}
	var config raft.Config
	for i := range voters {
		config.Voters = append(config.Voters, raft.Peer{ID: raft.PeerID{Node: raft.NodeID(i + 1), Incarnation: 7}})
	}
	for _, p := range config.Voters {
		m := c.add(p.ID)
		log := m.create(t)
		if err := raft.Bootstrap(log, config); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *cluster) add(id raft.PeerID) *member {
	m := &member{id: id, disk: rafttest.NewDisk(uint64(id.Node)), machine: &ledger{}}
	m.core = raft.Options{ID: id, Seed: uint64(id.Node)}
	c.members = append(c.members, m)
	return m
}

func (m *member) options() wal.Options {
	return wal.Options{FS: m.disk, SegmentBytes: 64 << 10, Identity: wal.Identity{Cluster: [16]byte{1}, Peer: m.id}}
}

func (m *member) create(t *testing.T) *wal.Log {
	t.Helper()
	log, err := wal.Create(m.options())
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func (c *cluster) start(m *member) {
	c.t.Helper()
	if err := c.try(m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) try(m *member) error {
	log, err := wal.Open(m.options())
	if err != nil {
		return err
	}
	var storage raft.Storage = log
	if m.storage != nil {
		storage = m.storage(log)
	}
	var transport raft.Transport = c.net.Transport(m.id)
	if m.network != nil {
		transport = m.network(transport)
	}
	m.node, err = raft.Start(raft.NodeOptions{
		Core: m.core, Engine: m.engine, Storage: storage, Transport: transport, Machine: m.machine, Events: m.events,
	})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	return nil
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, m := range c.members {
		c.start(m)
	}
}

func (c *cluster) close() {
	c.t.Helper()
	for _, m := range c.members {
		if m.node != nil && m.node.Err() == nil {
			if err := m.node.Close(); err != nil {
				c.t.Errorf("close %v: %v", m.id, err)
			}
		} else if m.node != nil {
			_ = m.node.Close() // it failed, which its test expects
		}
	}
}

// leader waits until a node leads and returns it.
func (c *cluster) leader() *member {
	c.t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for range 1000 {
		for _, m := range c.members {
			if m.node == nil || m.node.Err() != nil {
				continue
			}
			if s, _, err := m.node.Status(c.t.Context()); err == nil && s.Role == raft.Leader && s.Ready {
				return m
			}
		}
		<-poll.C
	}
	c.t.Fatal("no leader")
	return nil
}

func (c *cluster) others(m *member) []*member {
	return slices.DeleteFunc(slices.Clone(c.members), func(o *member) bool { return o == m })
}

func (m *member) propose(ctx context.Context, s string) (raft.Result, error) {
	return m.node.Propose(ctx, raft.Proposal{Data: []byte(s)})
}

func mustPropose(t *testing.T, m *member, s string) raft.Result {
	t.Helper()
	res, err := m.propose(t.Context(), s)
	if err != nil {
		t.Fatalf("propose %q: %v", s, err)
	}
	return res
}

func (m *member) term(t *testing.T) raft.Term {
	t.Helper()
	s, _, err := m.node.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Term
}

func TestNodeReplicatesAndReadsEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.startAll()
		defer c.close()
		leader := c.leader()
		for i := range 10 {
			if res := mustPropose(t, leader, fmt.Sprint(i)); res.Value != i+1 {
				t.Fatalf("proposal %d got %v", i, res.Value)
			}
		}
		for _, m := range c.members {
			if _, err := m.node.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(m.machine.applied()); got != 10 {
				t.Errorf("%v has applied %d commands when its read returns", m.id, got)
			}
		}
		_, err := c.others(leader)[0].propose(t.Context(), "x")
		if e, ok := errors.AsType[*raft.NotLeaderError](err); !ok || e.Leader != leader.id {
			t.Errorf("a follower answers %v, want the name of %v", err, leader.id)
		}
	})
}

// A user's code that hangs holds up results, and nothing else.
func TestTrap57BlockedUserCodeDelaysNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		release := make(chan struct{})
		for _, m := range c.members {
			m.machine.gate = func() { <-release }
			m.events.Standing = func(raft.Standing) { <-release }
		}
		c.startAll()
		defer c.close()
		var leader *member
		for leader == nil {
			time.Sleep(10 * time.Millisecond)
			for _, m := range c.members {
				if s, _, err := m.node.Status(t.Context()); err == nil && s.Role == raft.Leader {
					leader = m
				}
			}
		}
		term := leader.term(t)
		done := make(chan error, 1)
		go func() {
			_, err := leader.propose(t.Context(), "x")
			done <- err
		}()
		time.Sleep(time.Minute)
		for _, m := range c.members {
			if got := m.term(t); got != term {
				t.Errorf("%v is in term %d after a minute of blocked user code, want %d", m.id, got, term)
			}
		}
		s, applied, err := leader.node.Status(t.Context())
		if err != nil || s.Commit <= applied {
			t.Errorf("commit %d, applied %d, %v: commits must go on without the state machine", s.Commit, applied, err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What a state machine holds durably is not applied to it a second time, and what it lacks is.
func TestTrap42RestartAppliesWhatTheMachineLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		m := c.members[0]
		c.startAll()
		c.leader()
		for i := range 10 {
			mustPropose(t, m, fmt.Sprint(i))
			if i == 4 {
				m.machine.mu.Lock()
				m.machine.durable = m.machine.mark
				m.machine.mu.Unlock()
			}
		}
		c.close()
		m.machine = &ledger{commands: m.machine.commands[:5], durable: m.machine.durable}
		c.start(m)
		mustPropose(t, c.leader(), "10")
		if got := m.machine.applied(); len(got) != 11 || got[10] != "10" || got[5] != "5" {
			t.Errorf("applied %q", got)
		}
		c.close()
		m.machine.durable = raft.Mark{Position: raft.Position{Index: 1000, Term: 2}}
		if err := c.try(m); !errors.Is(err, raft.ErrLogLost) {
			t.Errorf("a state ahead of the log gives %v, want ErrLogLost", err)
		}
		m.node = nil
	})
}

// gatedStorage holds every write until it is let through, and counts them.
type gatedStorage struct {
	raft.Storage
	gate   chan struct{}
	mu     sync.Mutex // guards the field below
	writes int
}

func (g *gatedStorage) Write(ws []raft.Write) error {
	<-g.gate
	g.mu.Lock()
	g.writes++
	g.mu.Unlock()
	return g.Storage.Write(ws)
}

func TestProposalsThatWaitForTheDiskShareOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		m := c.members[0]
		gated := &gatedStorage{gate: make(chan struct{}, 100)}
		m.storage = func(s raft.Storage) raft.Storage { gated.Storage = s; return gated }
		for range 50 {
			gated.gate <- struct{}{}
		}
		c.startAll()
		c.leader()
		for len(gated.gate) > 0 {
			<-gated.gate
		}
		before := gated.writes
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() { mustPropose(t, m, fmt.Sprint(i)) })
		}
		synctest.Wait()
		close(gated.gate)
		wg.Wait()
		if got := gated.writes - before; got > 2 {
			t.Errorf("1000 proposals took %d writes, want the one under way and one for all the others", got)
		}
		c.close()
	})
}

func TestTrap54FailedSyncStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.startAll()
		defer c.close()
		leader := c.leader()
		leader.disk.FailSync(1)
		if _, err := leader.propose(t.Context(), "x"); !errors.Is(err, raft.ErrUnknown) {
			t.Errorf("the proposal got %v, want an unknown outcome", err)
		}
		<-leader.node.Done()
		if err := leader.node.Err(); err == nil {
			t.Error("the node has stopped without an error")
		}
		if _, err := leader.propose(t.Context(), "y"); !errors.Is(err, raft.ErrClosed) {
			t.Errorf("a stopped node answers %v, want ErrClosed", err)
		}
		c.net.Crash(leader.id)
		mustPropose(t, c.leader(), "z")
	})
}

func TestDiskFullRefusesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		m := c.members[0]
		c.startAll()
		defer c.close()
		mustPropose(t, c.leader(), "first")
		m.disk.SetFull(m.disk.Used())
		big := string(make([]byte, 20<<10))
		var err error
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_, err = m.propose(ctx, big)
			cancel()
			if errors.Is(err, raft.ErrDiskFull) {
				break
			}
		}
		if !errors.Is(err, raft.ErrDiskFull) {
			t.Fatalf("a full disk gives %v, want ErrDiskFull", err)
		}
		m.disk.SetFull(0)
		time.Sleep(5 * time.Second)
		mustPropose(t, c.leader(), "last")
		if err := m.node.Err(); err != nil {
			t.Errorf("the node has stopped: %v", err)
		}
	})
}

func TestTrap52OutcomeIsUnknownWhenLeadershipEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.startAll()
		defer c.close()
		leader := c.leader()
		c.net.Isolate(leader.id, true)
		if _, err := leader.propose(t.Context(), "x"); !errors.Is(err, raft.ErrUnknown) {
			t.Errorf("the proposal of a leader that lost its quorum got %v, want ErrUnknown", err)
		}
		c.net.Isolate(leader.id, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := leader.propose(ctx, "y"); errors.Is(err, raft.ErrUnknown) {
			t.Errorf("a node that does not lead must know that it did nothing: %v", err)
		}
	})
}

func TestOverloadIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for _, m := range c.members {
			m.core.MaxUncommittedBytes = 10_000
		}
		c.startAll()
		defer c.close()
		leader := c.leader()
		c.net.Isolate(leader.id, true)
		var wg sync.WaitGroup
		var mu sync.Mutex
		busy := 0
		for range 100 {
			wg.Go(func() {
				if _, err := leader.propose(t.Context(), string(make([]byte, 1000))); errors.Is(err, raft.ErrBusy) {
					mu.Lock()
					busy++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if busy < 90 || busy == 100 {
			t.Errorf("%d of 100 proposals of 1,000 bytes were refused under a bound of 10,000", busy)
		}
		own := raft.Proposal{Term: leader.term(t) + 1, Data: []byte("x")}
		if _, err := leader.node.Propose(t.Context(), own); !errors.Is(err, raft.ErrTermOver) {
			t.Errorf("a proposal decided in another term got %v, want ErrTermOver", err)
		}
	})
}

// A learner gets what was compacted as a snapshot, and everything after it from the log.
func TestNewPeerGetsSnapshotThenLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for _, m := range c.members {
			m.machine.keep = true
			m.engine = raft.EngineOptions{KeepEntries: 10}
		}
		c.startAll()
		defer c.close()
		leader := c.leader()
		for i := range 2000 {
			mustPropose(t, leader, fmt.Sprintf("%060d", i))
		}
		s, _, err := leader.node.Status(t.Context())
		if err != nil || s.Base.Index == 0 {
			t.Fatalf("nothing was compacted: base %v, %v", s.Base, err)
		}
		m := c.add(raft.PeerID{Node: 9, Incarnation: 9})
		if err := m.create(t).Close(); err != nil {
			t.Fatal(err)
		}
		c.start(m)
		next := s.Config
		next.Learners = []raft.Peer{{ID: m.id}}
		if _, err := leader.node.Reconfigure(t.Context(), s.Config.Index, next); err != nil {
			t.Fatal(err)
		}
		if _, err := m.node.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.machine.applied(); !slices.Equal(got, leader.machine.applied()) {
			t.Errorf("the learner has %d commands, the leader %d", len(got), len(leader.machine.applied()))
		}
		if !m.machine.Mark().Installed {
			t.Error("the learner took no snapshot")
		}
	})
}

func TestClosedNodeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.start(c.members[0]) // one of three: there is no leader
		node := c.members[0].node
		errs := make(chan error, 1)
		go func() {
			_, err := node.Read(t.Context())
			errs <- err
		}()
		synctest.Wait()
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, raft.ErrClosed) {
			t.Errorf("a read that waited when the node closed got %v, want ErrClosed", err)
		}
		if _, err := node.Read(t.Context()); !errors.Is(err, raft.ErrClosed) {
			t.Errorf("a read of a closed node got %v, want ErrClosed", err)
		}
		if _, err := node.Propose(t.Context(), raft.Proposal{}); !errors.Is(err, raft.ErrClosed) || errors.Is(err, raft.ErrUnknown) {
			t.Errorf("a proposal to a closed node got %v, want ErrClosed", err)
		}
	})
}

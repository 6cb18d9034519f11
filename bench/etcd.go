package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Settings of an etcd server.
const (
	etcdTick          = 100 * time.Millisecond
	etcdElectionTicks = 10
	etcdMaxMessage    = 512 << 10
	etcdMaxInflight   = 512

	// etcdKeep is how many applied entries stay in memory for followers that lag behind; they are dropped when there
	// are twice as many.
	etcdKeep = 50_000
)

// etcdDriver runs one etcd-io/raft node.
type etcdDriver interface {
	propose(ctx context.Context, data []byte) error
	// receive takes messages of a peer, or of a node's own storage.
	receive(ms []*pb.Message)
	leads() bool
	err() error
	close()
}

// etcdCluster is the library go.etcd.io/raft with a log and a network of ours.
type etcdCluster struct {
	parts   [nodes]*etcdParts
	drivers []etcdDriver
	leader  etcdDriver
	waiting *etcdWaiters
}

// etcdParts are what a driver needs.
type etcdParts struct {
	id      uint64
	log     *etcdLog
	memory  *raft.MemoryStorage
	network *etcdNetwork
	machine *etcdMachine
}

func startEtcd(newDriver func(*etcdParts, *raft.Config) (etcdDriver, error)) func(context.Context, setup) (cluster, error) {
	return func(ctx context.Context, s setup) (cluster, error) {
		c := &etcdCluster{waiting: newEtcdWaiters(s.proposers)}
		err := c.start(s, newDriver)
		if err == nil {
			err = poll(ctx, "leader", c.findLeader)
		}
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		return c, nil
	}
}

func (c *etcdCluster) start(s setup, newDriver func(*etcdParts, *raft.Config) (etcdDriver, error)) error {
	var addresses [nodes]string
	for i := range nodes {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		log, err := openEtcdLog(s.nodeDir(i))
		if err != nil {
			return errors.Join(err, l.Close())
		}
		addresses[i] = l.Addr().String()
		c.parts[i] = &etcdParts{
			id: uint64(i + 1), log: log, memory: raft.NewMemoryStorage(), network: newEtcdNetwork(uint64(i+1), l),
			machine: &etcdMachine{machine: s.machines[i], waiting: c.waiting},
		}
	}
	for _, p := range c.parts {
		first := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
			Index: new(uint64(1)), Term: new(uint64(1)), ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}},
		}}
		if err := p.memory.ApplySnapshot(first); err != nil {
			return err
		}
		p.machine.memory = p.memory
		d, err := newDriver(p, &raft.Config{
			ID: p.id, ElectionTick: etcdElectionTicks, HeartbeatTick: 1, Storage: p.memory, Applied: 1,
			MaxSizePerMsg: etcdMaxMessage, MaxInflightMsgs: etcdMaxInflight,
			PreVote: true, CheckQuorum: true, Logger: silentRaft{},
		})
		if err != nil {
			return err
		}
		c.drivers = append(c.drivers, d)
		p.network.start(addresses, d.receive)
	}
	return nil
}

func (c *etcdCluster) findLeader() (bool, error) {
	for _, d := range c.drivers {
		if err := d.err(); err != nil {
			return false, err
		}
		if d.leads() {
			c.leader = d
			return true, nil
		}
	}
	return false, nil
}

func (c *etcdCluster) propose(ctx context.Context, proposer int, command []byte) error {
	if err := c.leader.propose(ctx, append([]byte(nil), command...)); err != nil {
		return err
	}
	const patience = 10 * time.Second
	timer := c.waiting.timers[proposer]
	timer.Reset(patience)
	select {
	case <-c.waiting.done[proposer]:
		return nil
	case <-timer.C:
		return fmt.Errorf("no answer in %v", patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *etcdCluster) close() error {
	var errs []error
	for _, p := range c.parts {
		if p != nil {
			p.network.close()
		}
	}
	for _, d := range c.drivers {
		d.close()
		errs = append(errs, d.err())
	}
	for _, p := range c.parts {
		if p != nil {
			errs = append(errs, p.log.close())
		}
	}
	return errors.Join(errs...)
}

// etcdWaiters are the proposers; each has one proposal under way, so that nothing needs to be looked up.
type etcdWaiters struct {
	done   []chan struct{}
	timers []*time.Timer
}

func newEtcdWaiters(n int) *etcdWaiters {
	w := &etcdWaiters{}
	for range n {
		w.done = append(w.done, make(chan struct{}, 1))
		w.timers = append(w.timers, time.NewTimer(time.Hour))
	}
	return w
}

// etcdMachine applies entries on one node; on the leader it answers the proposers.
type etcdMachine struct {
	*machine
	memory  *raft.MemoryStorage
	waiting *etcdWaiters
	kept    uint64 // the memory begins here
}

func (m *etcdMachine) apply(entries []*pb.Entry, leader bool) error {
	m.mu.Lock()
	for _, e := range entries {
		if e.GetType() == pb.EntryNormal && len(e.GetData()) > 0 {
			m.add(e.GetData())
		}
	}
	m.mu.Unlock()
	if leader {
		for _, e := range entries {
			if len(e.GetData()) > 0 {
				nudge(m.waiting.done[proposerOf(e.GetData())])
			}
		}
	}
	applied := entries[len(entries)-1].GetIndex()
	if applied < m.kept+2*etcdKeep {
		return nil
	}
	m.kept = applied - etcdKeep
	return m.memory.Compact(m.kept)
}

// closing is the end of a driver: the first reason counts.
type closing struct {
	stop chan struct{}
	once sync.Once
	mu   sync.Mutex // guards the field below
	why  error
}

func newClosing() *closing { return &closing{stop: make(chan struct{})} }

// end stops the driver; a nil error is a deliberate end.
func (c *closing) end(err error) {
	c.once.Do(func() {
		c.mu.Lock()
		c.why = err
		c.mu.Unlock()
		close(c.stop)
	})
}

func (c *closing) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// silentRaft is a raft.Logger that only speaks up to panic.
type silentRaft struct{}

func (silentRaft) Debug(...any)            {}
func (silentRaft) Debugf(string, ...any)   {}
func (silentRaft) Info(...any)             {}
func (silentRaft) Infof(string, ...any)    {}
func (silentRaft) Warning(...any)          {}
func (silentRaft) Warningf(string, ...any) {}
func (silentRaft) Error(...any)            {}
func (silentRaft) Errorf(string, ...any)   {}
func (silentRaft) Fatal(v ...any)          { panic(fmt.Sprint(v...)) }
func (silentRaft) Fatalf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}
func (silentRaft) Panic(v ...any) { panic(fmt.Sprint(v...)) }
func (silentRaft) Panicf(f string, v ...any) {
	panic(fmt.Sprintf(f, v...))
}

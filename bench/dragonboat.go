package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/statemachine"
)

const (
	dragonboatShard   = 1
	dragonboatTimeout = 10 * time.Second
)

// dragonboatCluster is github.com/lni/dragonboat with its own transport and its log in Pebble: one shard on three hosts.
type dragonboatCluster struct {
	hosts   []*dragonboat.NodeHost
	leader  *dragonboat.NodeHost
	session *client.Session
}

// silenceDragonboat is once for a process: the library takes a logger factory only once.
var silenceDragonboat = sync.OnceFunc(func() {
	logger.SetLoggerFactory(func(string) logger.ILogger { return silentDragonboat{} })
})

func startDragonboat(ctx context.Context, s setup) (cluster, error) {
	silenceDragonboat()
	c := &dragonboatCluster{}
	err := c.start(s)
	if err == nil {
		err = poll(ctx, "leader", c.findLeader)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *dragonboatCluster) start(s setup) error {
	addresses, err := freeAddresses()
	if err != nil {
		return err
	}
	members := make(map[uint64]dragonboat.Target)
	for i, a := range addresses {
		members[uint64(i+1)] = a
	}
	for i, a := range addresses {
		host, err := dragonboat.NewNodeHost(config.NodeHostConfig{NodeHostDir: s.nodeDir(i), RaftAddress: a, RTTMillisecond: 100})
		if err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
		c.hosts = append(c.hosts, host)
		create := func(uint64, uint64) statemachine.IConcurrentStateMachine { return dragonboatMachine{s.machines[i]} }
		err = host.StartConcurrentReplica(members, false, create, config.Config{
			ReplicaID: uint64(i + 1), ShardID: dragonboatShard, ElectionRTT: 10, HeartbeatRTT: 1, CheckQuorum: true, PreVote: true,
		})
		if err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return nil
}

// freeAddresses picks ports that are free now; the library cannot listen at a port of the system's choice.
func freeAddresses() (addresses [nodes]string, err error) {
	for i := range addresses {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return addresses, err
		}
		defer func() { _ = l.Close() }()
		addresses[i] = l.Addr().String()
	}
	return addresses, nil
}

func (c *dragonboatCluster) findLeader() (bool, error) {
	id, _, ok, err := c.hosts[0].GetLeaderID(dragonboatShard)
	if err != nil || !ok {
		return false, nil //nolint:nilerr // the shard is not ready yet
	}
	c.leader = c.hosts[id-1]
	c.session = c.leader.GetNoOPSession(dragonboatShard)
	return true, nil
}

func (c *dragonboatCluster) propose(_ context.Context, _ int, command []byte) error {
	r, err := c.leader.Propose(c.session, command, dragonboatTimeout)
	if err != nil {
		return err
	}
	res := <-r.ResultC()
	r.Release()
	if !res.Completed() {
		return fmt.Errorf("not completed: timeout %v, rejected %v, dropped %v, terminated %v", res.Timeout(), res.Rejected(),
			res.Dropped(), res.Terminated())
	}
	return nil
}

func (c *dragonboatCluster) close() error {
	for _, h := range c.hosts {
		h.Close()
	}
	return nil
}

// dragonboatMachine is the kind of state machine that gets whole batches.
type dragonboatMachine struct{ *machine }

func (m dragonboatMachine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		m.add(entries[i].Cmd)
	}
	return entries, nil
}

func (dragonboatMachine) Lookup(any) (any, error)       { return nil, errors.ErrUnsupported }
func (dragonboatMachine) PrepareSnapshot() (any, error) { return nil, errNoSnapshots }
func (dragonboatMachine) Close() error                  { return nil }

func (dragonboatMachine) SaveSnapshot(any, io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return errNoSnapshots
}

func (dragonboatMachine) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return errNoSnapshots
}

// silentDragonboat is a logger that only speaks up to panic.
type silentDragonboat struct{}

func (silentDragonboat) SetLevel(logger.LogLevel)  {}
func (silentDragonboat) Debugf(string, ...any)     {}
func (silentDragonboat) Infof(string, ...any)      {}
func (silentDragonboat) Warningf(string, ...any)   {}
func (silentDragonboat) Errorf(string, ...any)     {}
func (silentDragonboat) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

const (
	hashicorpBatch   = 1024
	hashicorpTimeout = 10 * time.Second
	hashicorpPool    = 3
)

// hashicorpCluster is github.com/hashicorp/raft with its own TCP transport and github.com/hashicorp/raft-wal.
type hashicorpCluster struct {
	nodes  []*raft.Raft
	closes []func() error
	leader *raft.Raft
}

// startHashicorp uses the library's defaults, or lets it form large batches.
func startHashicorp(tuned bool) func(context.Context, setup) (cluster, error) {
	return func(ctx context.Context, s setup) (cluster, error) {
		c := &hashicorpCluster{}
		err := c.start(s, tuned)
		if err == nil {
			err = poll(ctx, "leader", c.findLeader)
		}
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		return c, nil
	}
}

func (c *hashicorpCluster) start(s setup, tuned bool) error {
	var transports [nodes]*raft.NetworkTransport
	var config raft.Configuration
	for i := range nodes {
		t, err := raft.NewTCPTransport("127.0.0.1:0", nil, hashicorpPool, hashicorpTimeout, io.Discard)
		if err != nil {
			return err
		}
		c.closes = append(c.closes, t.Close)
		transports[i] = t
		config.Servers = append(config.Servers, raft.Server{ID: hashicorpID(i), Address: t.LocalAddr()})
	}
	for i, t := range transports {
		log, err := openHashicorpLog(s.nodeDir(i))
		if err != nil {
			return err
		}
		c.closes = append(c.closes, log.Close)
		conf := raft.DefaultConfig()
		conf.LocalID = hashicorpID(i)
		conf.Logger = hclog.NewNullLogger()
		cached := 512 // as in Consul
		if tuned {
			conf.BatchApplyCh, conf.MaxAppendEntries = true, hashicorpBatch
			cached = 8 * hashicorpBatch
		}
		cache, err := raft.NewLogCache(cached, log)
		if err != nil {
			return err
		}
		snapshots := raft.NewDiscardSnapshotStore()
		if err := raft.BootstrapCluster(conf, cache, log, snapshots, t, config); err != nil {
			return err
		}
		n, err := raft.NewRaft(conf, hashicorpMachine{s.machines[i]}, cache, log, snapshots, t)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

func openHashicorpLog(dir string) (*wal.WAL, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
}

func hashicorpID(i int) raft.ServerID { return raft.ServerID(fmt.Sprintf("node%d", i+1)) }

func (c *hashicorpCluster) findLeader() (bool, error) {
	for _, n := range c.nodes {
		if n.State() == raft.Leader {
			c.leader = n
			return true, nil
		}
	}
	return false, nil
}

func (c *hashicorpCluster) propose(_ context.Context, _ int, command []byte) error {
	return c.leader.Apply(append([]byte(nil), command...), hashicorpTimeout).Error()
}

func (c *hashicorpCluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Shutdown().Error())
	}
	for _, f := range c.closes {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// hashicorpMachine is a raft.BatchingFSM.
type hashicorpMachine struct{ *machine }

func (m hashicorpMachine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

func (m hashicorpMachine) ApplyBatch(logs []*raft.Log) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			m.add(l.Data)
		}
	}
	return make([]any, len(logs))
}

func (hashicorpMachine) Snapshot() (raft.FSMSnapshot, error) { return nil, errNoSnapshots }
func (hashicorpMachine) Restore(io.ReadCloser) error         { return errNoSnapshots }

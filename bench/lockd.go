package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
	"github.com/lockd/lockd/raft/wal"
)

// lockdCluster is our own system.
type lockdCluster struct {
	nodes  []*raft.Node
	leader *raft.Node
}

func startLockd(ctx context.Context, s setup) (cluster, error) {
	c := &lockdCluster{}
	err := c.start(s)
	if err == nil {
		err = c.findLeader(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *lockdCluster) start(s setup) error {
	var config raft.Config
	var listeners [nodes]net.Listener
	for i := range nodes {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners[i] = l
		id := raft.PeerID{Node: raft.NodeID(i + 1), Incarnation: 1}
		config.Voters = append(config.Voters, raft.Peer{ID: id, Address: l.Addr().String()})
	}
	for i, p := range config.Voters {
		n, err := startLockdNode(s.nodeDir(i), listeners[i], p.ID, config, s.machines[i])
		if err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
		c.nodes = append(c.nodes, n)
	}
	return nil
}

func startLockdNode(dir string, l net.Listener, id raft.PeerID, config raft.Config, m *machine) (*raft.Node, error) {
	cluster := [16]byte{'b', 'e', 'n', 'c', 'h'}
	network, err := tcp.New(tcp.Options{Cluster: cluster, Self: id, Listener: l})
	if err != nil {
		return nil, err
	}
	disk, err := wal.DirFS(dir)
	if err != nil {
		return nil, errors.Join(err, network.Close())
	}
	log, err := wal.Create(wal.Options{FS: disk, Identity: wal.Identity{Cluster: cluster, Peer: id}})
	if err != nil {
		return nil, errors.Join(err, network.Close())
	}
	err = raft.Bootstrap(log, config)
	if err == nil {
		var n *raft.Node
		n, err = raft.Start(raft.NodeOptions{
			Core:    raft.Options{ID: id, Seed: uint64(id.Node)},
			Storage: log, Transport: network, Machine: &lockdMachine{machine: m},
		})
		if err == nil {
			return n, nil
		}
	}
	return nil, errors.Join(err, network.Close(), log.Close())
}

func (c *lockdCluster) findLeader(ctx context.Context) error {
	return poll(ctx, "leader", func() (bool, error) {
		for _, n := range c.nodes {
			s, _, err := n.Status(ctx)
			if err != nil {
				return false, err
			}
			if s.Role == raft.Leader {
				c.leader = n
				return true, nil
			}
		}
		return false, nil
	})
}

func (c *lockdCluster) propose(ctx context.Context, _ int, command []byte) error {
	_, err := c.leader.Propose(ctx, raft.Proposal{Data: command})
	return err
}

func (c *lockdCluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Err(), n.Close())
	}
	return errors.Join(errs...)
}

// lockdMachine is the state machine that raft drives. It says that each state is durable at once, so that the log is
// compacted and its segments are used again, as in a node that has run for a while.
type lockdMachine struct {
	*machine
	mark raft.Mark // guarded by machine.mu
}

func (m *lockdMachine) Apply(b raft.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range b.Entries {
		if e.Kind() == raft.KindCommand {
			m.add(e.Data())
		}
	}
	m.mark = raft.Mark{Position: b.Entries[len(b.Entries)-1].Position(), Config: b.Config}
}

func (m *lockdMachine) Mark() raft.Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mark
}

func (*lockdMachine) Snapshot() (raft.Snapshot, error) { return nil, errNoSnapshots }

func (*lockdMachine) Restore(raft.Mark, io.Reader) (raft.Installation, error) {
	return nil, errNoSnapshots
}

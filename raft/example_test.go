package raft_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/memnet"
	"github.com/lockd/lockd/raft/wal"
)

// dict is a small map that every node holds. It keeps nothing on disk: at each start the log gives it back.
type dict struct{ sync.Map }

func (d *dict) Apply(b raft.Batch) {
	for i, e := range b.Entries {
		if key, value, ok := strings.Cut(string(e.Data()), "="); ok {
			b.Results[i], _ = d.Swap(key, value) // what the proposer gets: the value before
		}
	}
}

func (*dict) Mark() raft.Mark                  { return raft.Mark{} } // nothing is durable without the log
func (*dict) Snapshot() (raft.Snapshot, error) { return nil, errors.ErrUnsupported }
func (*dict) Restore(raft.Mark, io.Reader) (raft.Installation, error) {
	return nil, errors.ErrUnsupported
}

// Three nodes in one process replicate a small map.
func Example() {
	ctx, network := context.Background(), memnet.New(1)
	dir, _ := os.MkdirTemp("", "example-")
	defer func() { _ = os.RemoveAll(dir) }()
	var config raft.Config
	for id := raft.NodeID(1); id <= 3; id++ {
		config.Voters = append(config.Voters, raft.Peer{ID: raft.PeerID{Node: id}})
	}
	var nodes []*raft.Node
	var dicts []*dict
	for _, peer := range config.Voters {
		disk, _ := wal.DirFS(filepath.Join(dir, peer.ID.String()))
		log, _ := wal.Create(wal.Options{FS: disk, Identity: wal.Identity{Cluster: [16]byte{1}, Peer: peer.ID}})
		_ = raft.Bootstrap(log, config)
		d := new(dict)
		node, err := raft.Start(raft.NodeOptions{
			Core:    raft.Options{ID: peer.ID, Seed: uint64(peer.ID.Node)},
			Storage: log, Transport: network.Transport(peer.ID), Machine: d,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() { _ = node.Close() }()
		nodes, dicts = append(nodes, node), append(dicts, d)
	}

	_, _ = nodes[0].Read(ctx) // returns when there is a leader
	status, _, _ := nodes[0].Status(ctx)
	leader := nodes[status.Leader.Node-1]
	_, err := leader.Propose(ctx, raft.Proposal{Data: []byte("colour=blue")})
	fmt.Println("proposed:", err)
	for i, node := range nodes {
		_, err := node.Read(ctx) // now the node's map holds all that was committed
		value, _ := dicts[i].Load("colour")
		fmt.Println("node", i+1, "reads", value, err)
	}
	// Output:
	// proposed: <nil>
	// node 1 reads blue <nil>
	// node 2 reads blue <nil>
	// node 3 reads blue <nil>
}

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// nodes is the size of every cluster.
const nodes = 3

// cluster is three nodes of one system in this process, with a leader.
type cluster interface {
	// propose replicates a command and returns when the leader has applied it. It is safe for concurrent use by
	// different proposers. The command is the caller's again when it returns.
	propose(ctx context.Context, proposer int, command []byte) error
	close() error
}

// setup is what a system builds its cluster from.
type setup struct {
	dir       string
	proposers int
	machines  [nodes]*machine
}

// nodeDir is where node i keeps its data; its parent exists.
func (s setup) nodeDir(i int) string { return filepath.Join(s.dir, fmt.Sprintf("node%d", i+1)) }

// system is one of those compared.
type system struct {
	name  string
	about string
	start func(ctx context.Context, s setup) (cluster, error)
}

// systems are compared with the first of them.
var systems = []system{
	{"lockd", "lockd/raft, raft/wal, raft/tcp", startLockd},
	{"etcd", "go.etcd.io/raft/v3, Node; log and network of ours", startEtcd(newEtcdSync)},
	{"etcd-async", "the same, RawNode with AsyncStorageWrites and group commit", startEtcd(newEtcdAsync)},
	{"hashicorp", "github.com/hashicorp/raft and raft-wal, defaults", startHashicorp(false)},
	{"hashicorp-tuned", "the same, BatchApplyCh, MaxAppendEntries 1024, larger log cache", startHashicorp(true)},
	{"dragonboat", "github.com/lni/dragonboat/v4, log in Pebble", startDragonboat},
}

// pick returns the systems of a list of names.
func pick(names string) ([]system, error) {
	if names == "" {
		return systems, nil
	}
	var picked []system
	for name := range strings.SplitSeq(names, ",") {
		s, err := systemByName(name)
		if err != nil {
			return nil, err
		}
		picked = append(picked, s)
	}
	return picked, nil
}

func systemByName(name string) (system, error) {
	var known []string
	for _, s := range systems {
		if s.name == name {
			return s, nil
		}
		known = append(known, s.name)
	}
	return system{}, fmt.Errorf("no system %q; there are %s", name, strings.Join(known, ", "))
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lockd/lockd/bench/internal/rig"
	client "github.com/lockd/lockd/client/go"
)

// The ports of a lockd node; each is alone on its host.
const (
	lockdClient = 7400
	lockdRaft   = 7401
	lockdGossip = 7402
	lockdHTTP   = 7403

	gossipKey = "gossip.key"
)

var lockdProgram = rig.Program{Name: "lockd", Package: "github.com/lockd/lockd/cmd/lockd", Module: "github.com/lockd/lockd"}

// lockd is ours, with its defaults and encrypted gossip.
var lockd = system{
	name: "lockd", about: "cmd/lockd with encrypted gossip, and client/go; defaults",
	program: lockdProgram, prepare: makeGossipKey, args: lockdArgs, look: lookAtLockd, connect: connectLockd,
}

// lockdWithoutHints waits for the election timeout.
var lockdWithoutHints = system{
	name: "lockd, no hints", about: "the same with --no-failure-hints",
	program: lockdProgram, prepare: makeGossipKey, look: lookAtLockd, connect: connectLockd,
	args: func(c *cluster, i int) []string { return append(lockdArgs(c, i), "--no-failure-hints") },
}

func makeGossipKey(dir string) error {
	const size = 32
	key := make([]byte, size)
	_, _ = rand.Read(key) // never fails
	return os.WriteFile(filepath.Join(dir, gossipKey), []byte(base64.StdEncoding.EncodeToString(key)), 0o600)
}

func lockdArgs(c *cluster, i int) []string {
	var cluster, seeds []string
	for _, n := range c.nodes {
		cluster = append(cluster, n.name+"="+n.at(lockdRaft))
		seeds = append(seeds, n.at(lockdGossip))
	}
	n := c.nodes[i]
	return []string{
		"serve", "--name=" + n.name, "--data-dir=" + n.dir,
		"--listen-client=" + n.at(lockdClient), "--listen-raft=" + n.at(lockdRaft), "--listen-http=" + n.at(lockdHTTP),
		"--initial-cluster=" + strings.Join(cluster, ","),
		"--join=" + strings.Join(seeds, ","), "--listen-gossip=" + n.at(lockdGossip), "--gossip-key-file=" + filepath.Join(c.dir, gossipKey),
	}
}

func lookAtLockd(ctx context.Context, d dial, n *node) (v view, err error) {
	c, err := client.New(client.Config{Endpoints: []string{n.at(lockdClient)}, Dial: d})
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	s, err := c.Status(ctx, n.at(lockdClient))
	if err != nil {
		return v, err
	}
	// Clients find the leader by its address, which the nodes tell each other in their first moments.
	known, err := c.Nodes(ctx)
	if err != nil {
		return v, err
	}
	if len(known) < size || slices.ContainsFunc(known, func(n client.Node) bool { return n.Address == "" }) {
		return v, fmt.Errorf("it does not know the addresses of all nodes yet: %v", known)
	}
	return view{node: s.Node, leader: s.Leader, term: s.Term, commit: s.Commit, applied: s.Applied}, nil
}

type lockdSession struct {
	client *client.Client
	in     client.Option
	life   context.Context //nolint:containedctx // it is the session's, which this struct stands for
}

func connectLockd(ctx context.Context, d dial, endpoints []string) (session, error) {
	c, err := client.New(client.Config{Endpoints: endpoints, Dial: d, TTL: ttl})
	if err != nil {
		return nil, err
	}
	s, err := c.NewSession(ctx, client.SessionConfig{})
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return &lockdSession{c, client.InSession(s), s.Context()}, nil
}

func (s *lockdSession) lock(ctx context.Context, name string) (grant, error) {
	l, err := s.client.Lock(ctx, name, s.in)
	if err != nil {
		return grant{}, err
	}
	return grant{l.Token(), l.Unlock}, nil
}

func (s *lockdSession) try(ctx context.Context, name string) (grant, error) {
	l, err := s.client.TryLock(ctx, name, s.in)
	if errors.Is(err, client.ErrNotAcquired) {
		return grant{}, errHeld
	}
	if err != nil {
		return grant{}, err
	}
	return grant{l.Token(), l.Unlock}, nil
}

func (s *lockdSession) held(ctx context.Context, prefix string) (names []string, err error) {
	for summary, err := range s.client.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		names = append(names, summary.Name)
	}
	return names, nil
}

func (s *lockdSession) alive() bool { return s.life.Err() == nil }

func (s *lockdSession) close(ctx context.Context) error { return s.client.Close(ctx) }

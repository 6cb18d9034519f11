package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	client "github.com/lockd/lockd/client/go"
)

// lockd is ours, with its defaults.
var lockd = system{
	name:    "lockd",
	about:   "cmd/lockd and client/go, defaults",
	program: "github.com/lockd/lockd/cmd/lockd",
	module:  "github.com/lockd/lockd",
	args:    lockdArgs,
	pprof:   func(n *node) string { return n.http },
	leads:   lockdLeads,
	connect: connectLockd,
}

func lockdArgs(all []*node, i int) []string {
	var cluster []string
	for _, n := range all {
		cluster = append(cluster, n.name+"="+n.peer)
	}
	n := all[i]
	return []string{
		"serve", "--name=" + n.name, "--data-dir=" + n.dir,
		"--listen-client=" + n.client, "--listen-raft=" + n.peer, "--listen-http=" + n.http,
		"--initial-cluster=" + strings.Join(cluster, ","), "--pprof", "--log-level=error",
	}
}

func lockdLeads(ctx context.Context, n *node, size int) (leads bool, err error) {
	c, err := client.New(client.Config{Endpoints: []string{n.client}})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	s, err := c.Status(ctx, n.client)
	if err != nil {
		return false, err
	}
	if s.Leader == 0 {
		return false, errors.New("no leader is known")
	}
	// Clients find the leader by its address, which the nodes tell each other in their first moments.
	known, err := c.Nodes(ctx)
	if err != nil {
		return false, err
	}
	if len(known) < size || slices.ContainsFunc(known, func(n client.Node) bool { return n.Address == "" }) {
		return false, fmt.Errorf("it does not know the addresses of all nodes yet: %v", known)
	}
	return s.Leader == s.Node, nil
}

type lockdSession struct {
	client *client.Client
	in     client.Option
	life   context.Context //nolint:containedctx // it is the session's, which this struct stands for
}

func connectLockd(ctx context.Context, endpoints []string, ttl time.Duration) (session, error) {
	c, err := client.New(client.Config{Endpoints: endpoints, TTL: ttl})
	if err != nil {
		return nil, err
	}
	s, err := c.NewSession(ctx, client.SessionConfig{})
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return &lockdSession{c, client.InSession(s), s.Context()}, nil
}

func (s *lockdSession) lock(ctx context.Context, name string, value []byte) (func(context.Context) error, error) {
	l, err := s.client.Lock(ctx, name, s.in, client.Value(value))
	if err != nil {
		return nil, err
	}
	return l.Unlock, nil
}

func (s *lockdSession) free(ctx context.Context, name string) (bool, error) {
	l, err := s.client.TryLock(ctx, name, s.in)
	if errors.Is(err, client.ErrNotAcquired) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, l.Unlock(ctx)
}

func (s *lockdSession) alive() bool { return s.life.Err() == nil }

func (s *lockdSession) close(ctx context.Context) error { return s.client.Close(ctx) }

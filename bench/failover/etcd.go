package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/lockd/lockd/bench/internal/rig"
)

const (
	etcdClient = 2379
	etcdPeer   = 2380
)

// etcd is its server with its defaults, and the package that its users take locks with, on a client that probes its connections as
// etcdctl does.
var etcd = system{
	name: "etcd", about: "go.etcd.io/etcd/server/v3 and clientv3/concurrency, defaults; the client's keepalive as etcdctl's, 2 s and 6 s",
	program: rig.Program{Name: "etcd", Package: "go.etcd.io/etcd/server/v3"},
	prepare: func(string) error { return nil }, args: etcdArgs, look: lookAtEtcd, connect: connectEtcd,
}

func etcdArgs(c *cluster, i int) []string {
	var cluster []string
	for _, n := range c.nodes {
		cluster = append(cluster, n.name+"=http://"+n.at(etcdPeer))
	}
	n := c.nodes[i]
	return []string{
		"--name=" + n.name, "--data-dir=" + n.dir,
		"--listen-client-urls=http://" + n.at(etcdClient), "--advertise-client-urls=http://" + n.at(etcdClient),
		"--listen-peer-urls=http://" + n.at(etcdPeer), "--initial-advertise-peer-urls=http://" + n.at(etcdPeer),
		"--initial-cluster=" + strings.Join(cluster, ","), "--initial-cluster-token=failover", "--log-level=warn",
	}
}

// dialEtcd makes a client without touching the network.
func dialEtcd(d dial, endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(), DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 6 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(d)},
	})
}

func lookAtEtcd(ctx context.Context, d dial, n *node) (v view, err error) {
	c, err := dialEtcd(d, []string{n.at(etcdClient)})
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s, err := c.Status(ctx, n.at(etcdClient))
	if err != nil {
		return v, err
	}
	return view{node: s.Header.MemberId, leader: s.Leader, term: s.RaftTerm, commit: s.RaftIndex, applied: s.RaftAppliedIndex}, nil
}

type etcdSession struct {
	client  *clientv3.Client
	session *concurrency.Session
}

func connectEtcd(ctx context.Context, d dial, endpoints []string) (session, error) {
	c, err := dialEtcd(d, endpoints)
	if err != nil {
		return nil, err
	}
	lease, err := c.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s, err := concurrency.NewSession(c, concurrency.WithLease(lease.ID), concurrency.WithTTL(int(ttl/time.Second)))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &etcdSession{c, s}, nil
}

func (s *etcdSession) lock(ctx context.Context, name string) (grant, error) {
	m := concurrency.NewMutex(s.session, name)
	return s.got(m, m.Lock(ctx))
}

func (s *etcdSession) try(ctx context.Context, name string) (grant, error) {
	m := concurrency.NewMutex(s.session, name)
	return s.got(m, m.TryLock(ctx))
}

func (s *etcdSession) got(m *concurrency.Mutex, err error) (grant, error) {
	if errors.Is(err, concurrency.ErrLocked) {
		return grant{}, errHeld
	}
	if err != nil {
		return grant{}, err
	}
	return grant{uint64(m.Header().Revision), m.Unlock}, nil
}

// held returns the names of the mutexes: their keys end in the lease.
func (s *etcdSession) held(ctx context.Context, prefix string) (names []string, err error) {
	r, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	for _, kv := range r.Kvs {
		key := string(kv.Key)
		end := strings.LastIndexByte(key, '/')
		if end < 0 {
			return nil, fmt.Errorf("there is a key %q, which is no mutex", key)
		}
		names = append(names, key[:end])
	}
	return names, nil
}

func (s *etcdSession) alive() bool {
	select {
	case <-s.session.Done():
		return false
	default:
		return true
	}
}

func (s *etcdSession) close(ctx context.Context) error {
	s.session.Orphan()
	_, err := s.client.Revoke(ctx, s.session.Lease())
	return errors.Join(err, s.client.Close())
}

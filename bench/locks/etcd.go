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
)

// etcd is its server with its defaults, and the package that its users take locks with.
var etcd = system{
	name:    "etcd",
	about:   "go.etcd.io/etcd/server/v3 and clientv3/concurrency, defaults",
	program: "go.etcd.io/etcd/server/v3",
	args:    etcdArgs,
	pprof:   func(n *node) string { return n.client },
	leads:   etcdLeads,
	connect: connectEtcd,
}

func etcdArgs(all []*node, i int) []string {
	const quota = 8 << 30 // of the database: a million locks and their history do not fit the default of 2 GiB
	var cluster []string
	for _, n := range all {
		cluster = append(cluster, n.name+"=http://"+n.peer)
	}
	n := all[i]
	return []string{
		"--name=" + n.name, "--data-dir=" + n.dir,
		"--listen-client-urls=http://" + n.client, "--advertise-client-urls=http://" + n.client,
		"--listen-peer-urls=http://" + n.peer, "--initial-advertise-peer-urls=http://" + n.peer,
		"--initial-cluster=" + strings.Join(cluster, ","), "--initial-cluster-token=bench",
		fmt.Sprint("--quota-backend-bytes=", quota), "--enable-pprof", "--log-level=error",
	}
}

// dialEtcd makes a client without touching the network.
func dialEtcd(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
}

func etcdLeads(ctx context.Context, n *node, _ int) (leads bool, err error) {
	c, err := dialEtcd([]string{n.client})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	s, err := c.Status(ctx, n.client)
	if err != nil {
		return false, err
	}
	if s.Leader == 0 {
		return false, errors.New("no leader is known")
	}
	return s.Leader == s.Header.MemberId, nil
}

type etcdSession struct {
	client  *clientv3.Client
	session *concurrency.Session
}

func connectEtcd(ctx context.Context, endpoints []string, ttl time.Duration) (session, error) {
	c, err := dialEtcd(endpoints)
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

// lock sets the value, if there is one, by one more write: a mutex has none.
func (s *etcdSession) lock(ctx context.Context, name string, value []byte) (func(context.Context) error, error) {
	m := concurrency.NewMutex(s.session, name)
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	if len(value) > 0 {
		if _, err := s.client.Put(ctx, m.Key(), string(value), clientv3.WithIgnoreLease()); err != nil {
			return nil, errors.Join(err, m.Unlock(ctx))
		}
	}
	return m.Unlock, nil
}

func (s *etcdSession) free(ctx context.Context, name string) (bool, error) {
	m := concurrency.NewMutex(s.session, name)
	err := m.TryLock(ctx)
	if errors.Is(err, concurrency.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, m.Unlock(ctx)
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

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// redlock is what many use in place of consensus: a majority of Redis servers that do not know of each other, each of which syncs every write.
// It knows no sessions and no leader; the first server stands for one.
var redlock = system{
	name:      "redlock",
	about:     "redis-server, appendfsync always, and go-redsync/redsync/v4 over go-redis/v9, defaults",
	installed: "redis-server",
	args:      redisArgs,
	leads:     redisLeads,
	connect:   connectRedlock,
}

func redisArgs(all []*node, i int) []string {
	n := all[i]
	host, port, err := net.SplitHostPort(n.client)
	if err != nil {
		panic(err) // the address is our own
	}
	return []string{
		"--bind", host, "--port", port, "--dir", n.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning",
	}
}

func redisLeads(ctx context.Context, n *node, _ int) (leads bool, err error) {
	c := redis.NewClient(&redis.Options{Addr: n.client})
	defer func() { err = errors.Join(err, c.Close()) }()
	return n.name == nodeName(0), c.Ping(ctx).Err()
}

type redlockSession struct {
	servers []*redis.Client
	locks   *redsync.Redsync
	expiry  redsync.Option
}

func connectRedlock(ctx context.Context, endpoints []string, ttl time.Duration) (session, error) {
	s := &redlockSession{expiry: redsync.WithExpiry(ttl)}
	var pools []redsyncredis.Pool
	for _, e := range endpoints {
		c := redis.NewClient(&redis.Options{Addr: e})
		s.servers = append(s.servers, c)
		pools = append(pools, goredis.NewPool(c))
		if err := c.Ping(ctx).Err(); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", e, err), s.close(ctx))
		}
	}
	s.locks = redsync.New(pools...)
	return s, nil
}

// lock shows no value: the value of such a lock says who may release it.
func (s *redlockSession) lock(ctx context.Context, name string, _ []byte) (func(context.Context) error, error) {
	m := s.locks.NewMutex(name, s.expiry)
	if err := m.LockContext(ctx); err != nil {
		return nil, err
	}
	return unlock(m), nil
}

func (s *redlockSession) free(ctx context.Context, name string) (bool, error) {
	m := s.locks.NewMutex(name, s.expiry)
	err := m.TryLockContext(ctx)
	if taken := new(redsync.ErrTaken); errors.As(err, &taken) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, unlock(m)(ctx)
}

func unlock(m *redsync.Mutex) func(context.Context) error {
	return func(ctx context.Context) error {
		ok, err := m.UnlockContext(ctx)
		if err == nil && !ok {
			err = errors.New("redlock: the lock was not held any more")
		}
		return err
	}
}

// alive is always true: there is nothing that could end.
func (s *redlockSession) alive() bool { return true }

func (s *redlockSession) close(context.Context) error {
	var errs []error
	for _, c := range s.servers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
